package weights

import (
	"math"
	"slices"
)

// Meta is the metadata of a GGUF file: typed values by key, in the file's
// order. A getter's second result is false where the key is absent or its
// value is of another kind; numbers are converted where nothing is lost.
// A Meta is not safe for use while another goroutine calls a setter.
type Meta struct {
	keys   []string
	values map[string]any
}

// NewMeta returns an empty Meta, to be filled with the setters and written.
func NewMeta() *Meta { return &Meta{values: map[string]any{}} }

func (m *Meta) set(key string, v any) {
	if _, old := m.values[key]; !old {
		m.keys = append(m.keys, key)
	}
	m.values[key] = v
}

// Keys lists the keys in the file's order.
func (m *Meta) Keys() []string { return slices.Clone(m.keys) }

// Has tells whether the key is there, whatever its kind.
func (m *Meta) Has(key string) bool {
	_, ok := m.values[key]
	return ok
}

// Value is the value as the file types it: a bool, string, sized integer,
// float32, float64, a slice of one of them, or []any for an array of arrays;
// nil where the key is absent. A slice is the Meta's own and must not be changed.
func (m *Meta) Value(key string) any { return m.values[key] }

// String gets a string.
func (m *Meta) String(key string) (string, bool) {
	s, ok := m.values[key].(string)
	return s, ok
}

// Bool gets a truth value.
func (m *Meta) Bool(key string) (value, ok bool) {
	value, ok = m.values[key].(bool)
	return value, ok
}

// Int gets an integer of any width that fits an int64.
func (m *Meta) Int(key string) (int64, bool) {
	switch v := m.values[key].(type) {
	case uint8:
		return int64(v), true
	case int8:
		return int64(v), true
	case uint16:
		return int64(v), true
	case int16:
		return int64(v), true
	case uint32:
		return int64(v), true
	case int32:
		return int64(v), true
	case int64:
		return v, true
	case uint64:
		return int64(v), v <= math.MaxInt64
	}
	return 0, false
}

// Uint gets an integer of any width that is not negative.
func (m *Meta) Uint(key string) (uint64, bool) {
	if v, ok := m.values[key].(uint64); ok {
		return v, true
	}
	v, ok := m.Int(key)
	return uint64(v), ok && v >= 0
}

// Float gets a floating-point number or an integer.
func (m *Meta) Float(key string) (float64, bool) {
	switch v := m.values[key].(type) {
	case float32:
		return float64(v), true
	case float64:
		return v, true
	}
	v, ok := m.Int(key)
	return float64(v), ok
}

// Strings gets an array of strings. The slice is the Meta's own.
func (m *Meta) Strings(key string) ([]string, bool) {
	v, ok := m.values[key].([]string)
	return v, ok
}

// Floats gets an array of 32-bit floats. The slice is the Meta's own.
func (m *Meta) Floats(key string) ([]float32, bool) {
	v, ok := m.values[key].([]float32)
	return v, ok
}

// Ints gets an array of integers of any width; false too where a value does
// not fit an int64.
func (m *Meta) Ints(key string) ([]int64, bool) {
	switch v := m.values[key].(type) {
	case []uint8:
		return widen(v), true
	case []int8:
		return widen(v), true
	case []uint16:
		return widen(v), true
	case []int16:
		return widen(v), true
	case []uint32:
		return widen(v), true
	case []int32:
		return widen(v), true
	case []int64:
		return slices.Clone(v), true
	case []uint64:
		for _, x := range v {
			if x > math.MaxInt64 {
				return nil, false
			}
		}
		return widen(v), true
	}
	return nil, false
}

func widen[T uint8 | int8 | uint16 | int16 | uint32 | int32 | uint64](v []T) []int64 {
	w := make([]int64, len(v))
	for i, x := range v {
		w[i] = int64(x)
	}
	return w
}

// The setters replace a value or append a new key.

// SetString sets a string.
func (m *Meta) SetString(key, v string) { m.set(key, v) }

// SetBool sets a truth value.
func (m *Meta) SetBool(key string, v bool) { m.set(key, v) }

// SetUint32 sets an unsigned integer, the width that llama.cpp reads.
func (m *Meta) SetUint32(key string, v uint32) { m.set(key, v) }

// SetUint64 sets an unsigned integer of 64 bits.
func (m *Meta) SetUint64(key string, v uint64) { m.set(key, v) }

// SetFloat32 sets a floating-point number.
func (m *Meta) SetFloat32(key string, v float32) { m.set(key, v) }

// SetStrings sets an array of strings; it keeps the slice.
func (m *Meta) SetStrings(key string, v []string) { m.set(key, v) }

// SetFloats sets an array of floating-point numbers; it keeps the slice.
func (m *Meta) SetFloats(key string, v []float32) { m.set(key, v) }

// SetInt32s sets an array of integers; it keeps the slice.
func (m *Meta) SetInt32s(key string, v []int32) { m.set(key, v) }

package dataset

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"
)

// shape turns the flat values of one Parquet record back into nested ones. Each
// node of the schema knows the definition level from which its value is there and
// the repetition level at which its next element begins (Melnik et al., "Dremel",
// section 4.2). Lists and maps follow the backward-compatibility rules of the
// Parquet format's LogicalTypes.md.
type shape struct {
	name     string
	form     form
	optional bool
	repeated bool
	def, rep int // the node's own maximal levels
	leaves   int // columns below the node, itself included
	fields   []*shape
	value    func(parquet.Value) (any, error) // of a leaf
	columns  [][]parquet.Value                // scratch of the root
}

// valueError is one value that is not what its column announces.
type valueError struct {
	column string
	err    error
}

func (e *valueError) Error() string { return fmt.Sprintf("column %q: %v", e.column, e.err) }

type form int

const (
	formLeaf form = iota
	formGroup
	formList // a group whose one child is repeated: a list of that child's elements
	formMap  // a group whose one child repeats (key, value)
)

func shapeOf(file *parquet.File) (*shape, error) {
	half := make(map[int]bool) // leaves of the type Float16, which the library leaves as bytes
	leaf := 0
	for i, e := range file.Metadata().Schema {
		if i == 0 || e.NumChildren.Valid && e.NumChildren.V > 0 {
			continue
		}
		if _, ok := e.LogicalType.Value.(*format.Float16Type); ok {
			half[leaf] = true
		}
		leaf++
	}
	root, err := newShape(file.Root(), half)
	if err != nil {
		return nil, err
	}
	if root.form != formGroup {
		return nil, errors.New("the schema has no columns")
	}
	if len(file.Root().Columns()) != len(root.fields) {
		return nil, errors.New("the schema names a column twice")
	}
	root.columns = make([][]parquet.Value, root.leaves)
	return root, nil
}

func newShape(c *parquet.Column, half map[int]bool) (*shape, error) {
	s := &shape{
		name:     c.Name(),
		optional: c.Optional(),
		repeated: c.Repeated(),
		def:      c.MaxDefinitionLevel(),
		rep:      c.MaxRepetitionLevel(),
	}
	if c.Leaf() {
		s.leaves = 1
		s.value = leafValue(c, half[c.Index()])
		return s, nil
	}
	s.form = formGroup
	for _, child := range c.Columns() {
		f, err := newShape(child, half)
		if err != nil {
			return nil, err
		}
		for _, other := range s.fields {
			if other.name == f.name {
				return nil, fmt.Errorf("the schema names the column %q twice", f.name)
			}
		}
		s.fields = append(s.fields, f)
		s.leaves += f.leaves
	}
	lt := c.Type().LogicalType()
	if lt == nil || len(s.fields) != 1 || !s.fields[0].repeated {
		return s, nil
	}
	inner := s.fields[0]
	switch lt.Value.(type) {
	case *format.ListType:
		s.form = formList
	case *format.MapType:
		if len(inner.fields) == 2 && inner.fields[0].form == formLeaf {
			s.form = formMap
		}
	}
	return s, nil
}

// row assembles one record.
func (s *shape) row(values parquet.Row) (Row, error) {
	for i := range s.columns {
		s.columns[i] = nil
	}
	for i := 0; i < len(values); {
		column, j := values[i].Column(), i+1
		for j < len(values) && values[j].Column() == column {
			j++
		}
		if column < 0 || column >= len(s.columns) || s.columns[column] != nil {
			return nil, errors.New("a value belongs to no column")
		}
		s.columns[column] = values[i:j]
		i = j
	}
	for i, column := range s.columns {
		if len(column) == 0 {
			return nil, fmt.Errorf("column %d has no value", i)
		}
	}
	return s.group(s.columns)
}

func (s *shape) group(columns [][]parquet.Value) (map[string]any, error) {
	m := make(map[string]any, len(s.fields)+2)
	at := 0
	for _, f := range s.fields {
		v, err := f.field(columns[at : at+f.leaves])
		if err != nil {
			return nil, err
		}
		m[f.name] = v
		at += f.leaves
	}
	return m, nil
}

// field assembles a node within one instance of its parent.
func (s *shape) field(columns [][]parquet.Value) (any, error) {
	switch {
	case s.repeated:
		return s.elements(columns, s.once)
	case s.optional && columns[0][0].DefinitionLevel() < s.def:
		return nil, nil
	}
	return s.once(columns)
}

// once assembles one instance of a node that is known to be there.
func (s *shape) once(columns [][]parquet.Value) (any, error) {
	switch s.form {
	case formLeaf:
		v := columns[0][0]
		if v.IsNull() {
			return nil, nil
		}
		out, err := s.value(v)
		if err != nil {
			return nil, &valueError{s.name, err}
		}
		return out, nil
	case formList:
		inner := s.fields[0]
		element := inner.once
		// A repeated group of one field is a mere wrapper, unless its name says
		// that it is the element of an old two-level list.
		if inner.form == formGroup && len(inner.fields) == 1 && inner.name != "array" && inner.name != s.name+"_tuple" {
			element = inner.fields[0].field
		}
		return inner.elements(columns, element)
	case formMap:
		inner := s.fields[0]
		key, value := inner.fields[0], inner.fields[1]
		m := make(map[string]any)
		_, err := inner.elements(columns, func(columns [][]parquet.Value) (any, error) {
			k, err := key.field(columns[:1])
			if err != nil {
				return nil, err
			}
			v, err := value.field(columns[1:])
			if err != nil {
				return nil, err
			}
			m[fmt.Sprint(k)] = v
			return nil, nil
		})
		return m, err
	}
	return s.group(columns)
}

// elements divides the values of a repeated node into its instances.
func (s *shape) elements(columns [][]parquet.Value, one func([][]parquet.Value) (any, error)) ([]any, error) {
	out := []any{}
	if columns[0][0].DefinitionLevel() < s.def {
		return out, nil
	}
	rest := append([][]parquet.Value(nil), columns...)
	part := make([][]parquet.Value, len(columns))
	for len(rest[0]) > 0 {
		for i, column := range rest {
			n := 1
			for n < len(column) && column[n].RepetitionLevel() > s.rep {
				n++
			}
			if len(column) == 0 {
				return nil, errors.New("the columns of a list differ in length")
			}
			part[i], rest[i] = column[:n], column[n:]
		}
		v, err := one(part)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

// leafValue chooses how the values of one column are read.
func leafValue(c *parquet.Column, half bool) func(parquet.Value) (any, error) {
	t := c.Type()
	var logical any
	if lt := t.LogicalType(); lt != nil {
		logical = lt.Value
	}
	kind := t.Kind()
	switch l := logical.(type) {
	case *format.DecimalType:
		scale := int(l.Scale)
		return func(v parquet.Value) (any, error) { return decimal(v, kind, scale), nil }
	case *format.DateType:
		return func(v parquet.Value) (any, error) {
			return time.Unix(int64(v.Int32())*86400, 0).UTC().Format(time.DateOnly), nil
		}
	case *format.TimestampType:
		unit, zone := unitOf(l.Unit), ""
		if l.IsAdjustedToUTC {
			zone = "+00:00"
		}
		return func(v parquet.Value) (any, error) { return instant(v.Int64(), unit) + zone, nil }
	case *format.TimeType:
		unit := unitOf(l.Unit)
		return func(v parquet.Value) (any, error) {
			n := int64(v.Int32())
			if kind == parquet.Int64 {
				n = v.Int64()
			}
			return strings.TrimPrefix(instant(n, unit), "1970-01-01 "), nil
		}
	case *format.IntType:
		if !l.IsSigned {
			return func(v parquet.Value) (any, error) {
				n := uint64(v.Uint32())
				if kind == parquet.Int64 {
					n = v.Uint64()
				}
				if n > math.MaxInt64 {
					return json.Number(strconv.FormatUint(n, 10)), nil
				}
				return int64(n), nil
			}
		}
	case *format.UUIDType:
		return func(v parquet.Value) (any, error) { return v.String(), nil }
	case *format.StringType, *format.EnumType, *format.JsonType:
		return func(v parquet.Value) (any, error) {
			if b := v.ByteArray(); utf8.Valid(b) {
				return string(b), nil
			}
			return nil, errors.New("the text is not valid UTF-8")
		}
	}
	switch kind {
	case parquet.Boolean:
		return func(v parquet.Value) (any, error) { return v.Boolean(), nil }
	case parquet.Int32:
		return func(v parquet.Value) (any, error) { return int64(v.Int32()), nil }
	case parquet.Int64:
		return func(v parquet.Value) (any, error) { return v.Int64(), nil }
	case parquet.Float:
		return func(v parquet.Value) (any, error) { return widen(v.Float()), nil }
	case parquet.Double:
		return func(v parquet.Value) (any, error) { return v.Double(), nil }
	case parquet.Int96:
		return func(v parquet.Value) (any, error) {
			// Eight bytes of nanoseconds within the day, four of the Julian day.
			w := v.Int96()
			nanos := int64(w[1])<<32 | int64(w[0])
			day := int64(w[2]) - 2440588
			return clock(time.Unix(day*86400, nanos)), nil
		}
	}
	if half {
		return func(v parquet.Value) (any, error) {
			b := v.ByteArray()
			return halfFloat(uint16(b[0]) | uint16(b[1])<<8), nil
		}
	}
	return func(v parquet.Value) (any, error) {
		b := v.ByteArray()
		if utf8.Valid(b) {
			return string(b), nil
		}
		return append([]byte(nil), b...), nil
	}
}

// widen gives the float64 whose shortest decimal form is that of f: a label that
// was written as 3.8 and stored in 32 bits is 3.8 again, not 3.799999952316284.
func widen(f float32) float64 {
	d, err := strconv.ParseFloat(strconv.FormatFloat(float64(f), 'g', -1, 32), 64)
	if err != nil {
		return float64(f)
	}
	return d
}

// halfFloat reads IEEE 754 binary16: sign 1 bit, exponent 5 (bias 15), fraction 10.
func halfFloat(h uint16) float64 {
	sign := 1.0
	if h&0x8000 != 0 {
		sign = -1
	}
	exponent, fraction := int(h>>10&31), float64(h&1023)
	switch exponent {
	case 0:
		return sign * math.Ldexp(fraction, -24)
	case 31:
		if fraction != 0 {
			return math.NaN()
		}
		return math.Inf(int(sign))
	}
	return sign * math.Ldexp(1024+fraction, exponent-25)
}

// unitOf gives the length of one tick.
func unitOf(u format.TimeUnit) time.Duration {
	switch u.Value.(type) {
	case *format.MilliSeconds:
		return time.Millisecond
	case *format.MicroSeconds:
		return time.Microsecond
	}
	return time.Nanosecond
}

func instant(ticks int64, unit time.Duration) string {
	perSecond := int64(time.Second / unit)
	return clock(time.Unix(ticks/perSecond, ticks%perSecond*int64(unit)))
}

// clock writes an instant as Python's str of a datetime does.
func clock(t time.Time) string {
	t = t.UTC()
	s := t.Format(time.DateTime)
	switch n := t.Nanosecond(); {
	case n == 0:
		return s
	case n%1000 == 0:
		return fmt.Sprintf("%s.%06d", s, n/1000)
	default:
		return fmt.Sprintf("%s.%09d", s, n)
	}
}

// decimal writes unscaled × 10^−scale with all its digits.
func decimal(v parquet.Value, kind parquet.Kind, scale int) string {
	n := new(big.Int)
	switch kind {
	case parquet.Int32:
		n.SetInt64(int64(v.Int32()))
	case parquet.Int64:
		n.SetInt64(v.Int64())
	default: // two's complement, most significant byte first
		b := v.ByteArray()
		n.SetBytes(b)
		if len(b) > 0 && b[0]&0x80 != 0 {
			n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(len(b))*8))
		}
	}
	digits, sign := n.String(), ""
	if n.Sign() < 0 {
		digits, sign = digits[1:], "-"
	}
	if scale <= 0 || scale > 1000 {
		return sign + digits
	}
	if pad := scale + 1 - len(digits); pad > 0 {
		digits = strings.Repeat("0", pad) + digits
	}
	return sign + digits[:len(digits)-scale] + "." + digits[len(digits)-scale:]
}

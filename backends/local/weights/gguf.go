package weights

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"unicode/utf8"
)

// The GGUF format (github.com/ggml-org/ggml, docs/gguf.md), little-endian:
//
//	"GGUF"  version u32 (2 or 3)  tensors u64  pairs u64
//	pairs    key string, type u32, value (an array: type u32, count u64, values)
//	tensors  name string, dimensions u32, each u64, type u32, offset u64
//	padding  to general.alignment (32 where it is not given)
//	values   offsets count from here; each is a multiple of the alignment
//
// A string is a length u64 and as many bytes. The first dimension is the one
// that runs fastest, so shapes are turned round on reading.
const (
	ggufMagic     = "GGUF"
	ggufAlignment = 32
	ggufMaxDims   = 4 // GGML_MAX_DIMS
	ggufMaxKey    = 1 << 16
	ggufMaxDepth  = 4 // arrays within arrays
)

// The types of a metadata value.
const (
	ggufU8 = iota
	ggufI8
	ggufU16
	ggufI16
	ggufU32
	ggufI32
	ggufF32
	ggufBool
	ggufString
	ggufArray
	ggufU64
	ggufI64
	ggufF64
)

var ggufWidth = [...]int{ggufU8: 1, ggufI8: 1, ggufU16: 2, ggufI16: 2, ggufU32: 4, ggufI32: 4, ggufF32: 4, ggufBool: 1, ggufString: 8, ggufArray: 12, ggufU64: 8, ggufI64: 8, ggufF64: 8}

// parseGGUF reads the header in data and checks every number in it against
// len(data). The tensors come in the file's order; their Data are slices of data.
func parseGGUF(data []byte) ([]Tensor, *Meta, error) {
	c := &cursor{data: data}
	if magic := c.bytes(4); c.err != nil || string(magic) != ggufMagic {
		return nil, nil, fmt.Errorf("not a GGUF file: it does not begin with %q", ggufMagic)
	}
	version := c.u32()
	switch {
	case c.err != nil:
	case version == 1:
		return nil, nil, errors.New("GGUF version 1 is not supported, want 2 or 3: convert the model again")
	case version >= 1<<24 && bits.ReverseBytes32(version) <= 3:
		return nil, nil, errors.New("the file is big-endian GGUF, want little-endian")
	case version != 2 && version != 3:
		return nil, nil, fmt.Errorf("GGUF version %d is not supported, want 2 or 3", version)
	}
	tensorCount, pairCount := c.u64(), c.u64()
	// The least that an entry takes: an empty string, its types, one value.
	if c.err == nil && pairCount > uint64(c.left())/(8+4+1) {
		return nil, nil, fmt.Errorf("header names %d metadata pairs, more than %d bytes can hold", pairCount, c.left())
	}
	if c.err == nil && tensorCount > uint64(c.left())/(8+4+4+8) {
		return nil, nil, fmt.Errorf("header names %d tensors, more than %d bytes can hold", tensorCount, c.left())
	}
	if c.err != nil {
		return nil, nil, fmt.Errorf("header: %w", c.err)
	}
	meta, err := parsePairs(c, int(pairCount))
	if err != nil {
		return nil, nil, err
	}
	align := uint64(ggufAlignment)
	if meta.Has("general.alignment") {
		a, ok := meta.Uint("general.alignment")
		if !ok || a == 0 || a&(a-1) != 0 || a > 1<<20 {
			return nil, nil, fmt.Errorf("general.alignment is %v, want a power of two up to %d", meta.Value("general.alignment"), 1<<20)
		}
		align = a
	}
	tensors, err := parseTensors(c, int(tensorCount), align)
	if err != nil {
		return nil, nil, err
	}
	return tensors, meta, nil
}

func parsePairs(c *cursor, count int) (*Meta, error) {
	meta := NewMeta()
	for i := range count {
		key := c.str(ggufMaxKey)
		if c.err != nil {
			return nil, fmt.Errorf("metadata pair %d: key: %w", i, c.err)
		}
		if meta.Has(key) {
			return nil, fmt.Errorf("metadata %q stands there twice", key)
		}
		v := c.value(c.u32(), 0)
		if c.err != nil {
			return nil, fmt.Errorf("metadata %q: %w", key, c.err)
		}
		meta.set(key, v)
	}
	return meta, nil
}

func parseTensors(c *cursor, count int, align uint64) ([]Tensor, error) {
	tensors := make([]Tensor, 0, count)
	offsets := make([]uint64, 0, count)
	sizes := make([]int, 0, count)
	seen := make(map[string]bool, count)
	for i := range count {
		name := c.str(ggufMaxKey)
		if c.err != nil {
			return nil, fmt.Errorf("tensor %d: name: %w", i, c.err)
		}
		if seen[name] {
			return nil, fmt.Errorf("tensor %q stands there twice", name)
		}
		seen[name] = true
		dims := c.u32()
		if c.err == nil && dims > ggufMaxDims {
			return nil, fmt.Errorf("tensor %q: %d dimensions, want at most %d", name, dims, ggufMaxDims)
		}
		shape := make([]uint64, min(dims, ggufMaxDims))
		for d := range shape {
			shape[len(shape)-1-d] = c.u64()
		}
		id, offset := c.u32(), c.u64()
		if c.err != nil {
			return nil, fmt.Errorf("tensor %q: %w", name, c.err)
		}
		e, ok := ggmlElements[id]
		if !ok {
			return nil, fmt.Errorf("tensor %q: element type %d is not known", name, id)
		}
		sh, size, err := e.size(shape)
		if err != nil {
			return nil, fmt.Errorf("tensor %q: %w", name, err)
		}
		if offset%align != 0 {
			return nil, fmt.Errorf("tensor %q: offset %d is not a multiple of the alignment %d", name, offset, align)
		}
		tensors = append(tensors, Tensor{Name: name, Type: e.typ(), Stored: e.name, Shape: sh})
		offsets, sizes = append(offsets, offset), append(sizes, size)
	}
	begin := (uint64(c.at) + align - 1) / align * align
	var values []byte
	if begin < uint64(len(c.data)) {
		values = c.data[begin:]
	}
	spans := make([]span, len(tensors))
	for i := range tensors {
		off, size := offsets[i], uint64(sizes[i])
		if off > uint64(len(values)) || size > uint64(len(values))-off {
			return nil, fmt.Errorf("tensor %q: bytes %d to %d of the values, but the file has %d: truncated", tensors[i].Name, off, off+size, len(values))
		}
		spans[i] = span{off, off + size}
		tensors[i].Data = values[off : off+size : off+size]
	}
	if a, b, bad := overlap(spans); bad {
		return nil, fmt.Errorf("tensor %q: bytes %d to %d overlap tensor %q, which ends at %d", tensors[b].Name, spans[b].begin, spans[b].end, tensors[a].Name, spans[a].end)
	}
	return tensors, nil
}

// cursor reads little-endian values from a byte slice and remembers the first
// error; after it every read gives zero.
type cursor struct {
	data []byte
	at   int
	err  error
}

func (c *cursor) left() int { return len(c.data) - c.at }

// bytes takes the next n bytes, without copying them.
func (c *cursor) bytes(n int) []byte {
	if c.err != nil {
		return nil
	}
	if n < 0 || n > c.left() {
		c.err = fmt.Errorf("byte %d: want %d bytes, the file has %d more: truncated", c.at, n, c.left())
		return nil
	}
	b := c.data[c.at : c.at+n]
	c.at += n
	return b
}

func (c *cursor) u32() uint32 {
	if b := c.bytes(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (c *cursor) u64() uint64 {
	if b := c.bytes(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

// str takes a string of at most limit bytes (0: no limit but the file's end)
// and checks that it is UTF-8 where it names something.
func (c *cursor) str(limit int) string {
	n := c.u64()
	if c.err == nil && limit > 0 && n > uint64(limit) {
		c.err = fmt.Errorf("byte %d: a name of %d bytes, limit %d", c.at, n, limit)
	}
	if c.err == nil && n > uint64(c.left()) {
		c.err = fmt.Errorf("byte %d: a string of %d bytes, the file has %d more: truncated", c.at, n, c.left())
	}
	if c.err != nil {
		return ""
	}
	b := c.bytes(int(n))
	if limit > 0 && !utf8.Valid(b) {
		c.err = fmt.Errorf("byte %d: a name that is not UTF-8", c.at)
		return ""
	}
	return string(b)
}

// value reads one metadata value of the given type. Numbers keep their own Go
// type, arrays become slices of it.
func (c *cursor) value(typ uint32, depth int) any {
	if c.err != nil {
		return nil
	}
	switch typ {
	case ggufString:
		return c.str(0)
	case ggufArray:
		return c.array(depth + 1)
	case ggufBool:
		b := c.bytes(1)
		if c.err == nil && b[0] > 1 {
			c.err = fmt.Errorf("byte %d: a truth value of %d", c.at-1, b[0])
		}
		return c.err == nil && b[0] == 1
	}
	if typ >= uint32(len(ggufWidth)) {
		c.err = fmt.Errorf("byte %d: value type %d is not known", c.at, typ)
		return nil
	}
	b := c.bytes(ggufWidth[typ])
	if c.err != nil {
		return nil
	}
	le := binary.LittleEndian
	switch typ {
	case ggufU8:
		return b[0]
	case ggufI8:
		return int8(b[0])
	case ggufU16:
		return le.Uint16(b)
	case ggufI16:
		return int16(le.Uint16(b))
	case ggufU32:
		return le.Uint32(b)
	case ggufI32:
		return int32(le.Uint32(b))
	case ggufF32:
		return math.Float32frombits(le.Uint32(b))
	case ggufU64:
		return le.Uint64(b)
	case ggufI64:
		return int64(le.Uint64(b))
	default: // ggufF64
		return math.Float64frombits(le.Uint64(b))
	}
}

func (c *cursor) array(depth int) any {
	typ, n := c.u32(), c.u64()
	if c.err != nil {
		return nil
	}
	if depth > ggufMaxDepth {
		c.err = fmt.Errorf("byte %d: arrays nested more than %d deep", c.at, ggufMaxDepth)
		return nil
	}
	if typ >= uint32(len(ggufWidth)) {
		c.err = fmt.Errorf("byte %d: array of values of type %d, which is not known", c.at, typ)
		return nil
	}
	if n > uint64(c.left()/ggufWidth[typ]) {
		c.err = fmt.Errorf("byte %d: an array of %d values, more than the %d bytes left can hold", c.at, n, c.left())
		return nil
	}
	switch count := int(n); typ {
	case ggufU8:
		return many[uint8](c, typ, count, depth)
	case ggufI8:
		return many[int8](c, typ, count, depth)
	case ggufU16:
		return many[uint16](c, typ, count, depth)
	case ggufI16:
		return many[int16](c, typ, count, depth)
	case ggufU32:
		return many[uint32](c, typ, count, depth)
	case ggufI32:
		return many[int32](c, typ, count, depth)
	case ggufF32:
		return many[float32](c, typ, count, depth)
	case ggufBool:
		return many[bool](c, typ, count, depth)
	case ggufString:
		return many[string](c, typ, count, depth)
	case ggufU64:
		return many[uint64](c, typ, count, depth)
	case ggufI64:
		return many[int64](c, typ, count, depth)
	case ggufF64:
		return many[float64](c, typ, count, depth)
	default: // ggufArray
		return many[any](c, typ, count, depth)
	}
}

func many[T any](c *cursor, typ uint32, count, depth int) []T {
	list := make([]T, 0, count)
	for range count {
		v := c.value(typ, depth)
		if c.err != nil {
			return nil
		}
		list = append(list, v.(T))
	}
	return list
}

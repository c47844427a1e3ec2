// Package format describes how numbers lie in memory: the types of checkpoint
// files and of device buffers, with their block layout and the reference way
// to decode and encode them.
//
// It is the one place that knows these layouts. Readers of checkpoint files
// ask it how many bytes a tensor has, the reference device decodes with it,
// and fast kernels are tested against it. All multi-byte values are little
// endian, as in safetensors and GGUF.
//
// A type stores values in blocks: BlockSize values lie in BlockBytes bytes.
// Plain number types have blocks of one value. A row of a matrix always
// starts on a block border, so the row length of a blocked type is a multiple
// of its block size.
package format

import "fmt"

// A Type names one layout. The zero Type is no layout: its methods report it
// as invalid instead of guessing one.
type Type uint8

// The types that are known. Their numbers are private to a process: files
// carry names (safetensors) or GGML's own numbers.
const (
	Invalid Type = iota
	F32          // IEEE 754 binary32
	F16          // IEEE 754 binary16
	BF16         // the upper half of a binary32
	F64          // IEEE 754 binary64
	I8           // two's complement integers
	I16
	I32
	I64
	U8   // unsigned integers; 4-bit checkpoint codes travel in them
	Bool // one byte, 0 or 1
	Q8_0 // GGML: 32 values, binary16 scale and 32 signed bytes
	Q4_0 // GGML: 32 values, binary16 scale and 32 offset nibbles
	Q4_1 // GGML: 32 values, scale, minimum and 32 nibbles
	Q5_0 // GGML: as Q4_0 with a fifth bit
	Q5_1 // GGML: as Q4_1 with a fifth bit
	Q2_K // GGML: 256 values in sub-blocks of 16, 2 bits each
	Q3_K // GGML: 256 values in sub-blocks of 16, 3 bits each
	Q4_K // GGML: 256 values in sub-blocks of 32 with 6-bit scales and minima
	Q5_K // GGML: as Q4_K with a fifth bit
	Q6_K // GGML: 256 values in sub-blocks of 16 with 8-bit scales

	count
)

// layout is what the package knows about one type.
type layout struct {
	name       string
	blockSize  int
	blockBytes int
	decode     func(dst []float32, src []byte)
	encode     func(dst []byte, src []float32)
}

var layouts = [count]layout{
	F32:  {"F32", 1, 4, decodeF32, encodeF32},
	F16:  {"F16", 1, 2, decodeF16, encodeF16},
	BF16: {"BF16", 1, 2, decodeBF16, encodeBF16},
	F64:  {"F64", 1, 8, decodeF64, encodeF64},
	I8:   {"I8", 1, 1, decodeI8, encodeI8},
	I16:  {"I16", 1, 2, decodeI16, encodeI16},
	I32:  {"I32", 1, 4, decodeI32, encodeI32},
	I64:  {"I64", 1, 8, decodeI64, encodeI64},
	U8:   {"U8", 1, 1, decodeU8, encodeU8},
	Bool: {"BOOL", 1, 1, decodeBool, encodeBool},
	Q8_0: {"Q8_0", 32, 34, decodeQ8_0, encodeQ8_0},
	Q4_0: {"Q4_0", 32, 18, decodeQ4_0, encodeQ4_0},
	Q4_1: {"Q4_1", 32, 20, decodeQ4_1, nil},
	Q5_0: {"Q5_0", 32, 22, decodeQ5_0, nil},
	Q5_1: {"Q5_1", 32, 24, decodeQ5_1, nil},
	Q2_K: {"Q2_K", 256, 84, decodeQ2_K, nil},
	Q3_K: {"Q3_K", 256, 110, decodeQ3_K, nil},
	Q5_K: {"Q5_K", 256, 176, decodeQ5_K, nil},
	Q4_K: {"Q4_K", 256, 144, decodeQ4_K, nil},
	Q6_K: {"Q6_K", 256, 210, decodeQ6_K, nil},
}

// Types lists every valid type in a fixed order.
func Types() []Type {
	all := make([]Type, 0, count-1)
	for t := Invalid + 1; t < count; t++ {
		all = append(all, t)
	}
	return all
}

// Parse returns the type called name, in the spelling of safetensors and GGML
// ("F32", "BF16", "Q8_0").
func Parse(name string) (Type, error) {
	for t := Invalid + 1; t < count; t++ {
		if layouts[t].name == name {
			return t, nil
		}
	}
	return Invalid, fmt.Errorf("number format %q is not known", name)
}

// GGML returns the type that GGML numbers id in its files.
func GGML(id uint32) (Type, bool) {
	t, ok := ggml[id]
	return t, ok
}

// GGMLID returns the number of t in GGML's files.
func (t Type) GGMLID() (uint32, bool) {
	for id, u := range ggml {
		if u == t {
			return id, true
		}
	}
	return 0, false
}

// ggml maps enum ggml_type; gaps are types that are not known here.
var ggml = map[uint32]Type{
	0: F32, 1: F16, 2: Q4_0, 3: Q4_1, 6: Q5_0, 7: Q5_1, 8: Q8_0,
	10: Q2_K, 11: Q3_K, 12: Q4_K, 13: Q5_K, 14: Q6_K,
	24: I8, 25: I16, 26: I32, 27: I64, 28: F64, 30: BF16,
}

// Valid reports whether t is one of the known types.
func (t Type) Valid() bool { return t > Invalid && t < count }

// String is the name of the type, "F32".
func (t Type) String() string {
	if !t.Valid() {
		return fmt.Sprintf("format.Type(%d)", uint8(t))
	}
	return layouts[t].name
}

// Name is the spelling that Parse accepts.
func (t Type) Name() string { return t.String() }

// BlockSize is the number of values in a block; 0 for an invalid type.
func (t Type) BlockSize() int {
	if !t.Valid() {
		return 0
	}
	return layouts[t].blockSize
}

// BlockBytes is the number of bytes of a block; 0 for an invalid type.
func (t Type) BlockBytes() int {
	if !t.Valid() {
		return 0
	}
	return layouts[t].blockBytes
}

// Quantized reports whether values share a scale within a block.
func (t Type) Quantized() bool { return t.BlockSize() > 1 }

// CanEncode reports whether Encode knows the type; K-quants are only read.
func (t Type) CanEncode() bool { return t.Valid() && layouts[t].encode != nil }

// Bytes is the size of n values. It is false if n is negative, not a whole
// number of blocks, or if the size would not fit an int64.
func (t Type) Bytes(n int64) (int64, bool) {
	if !t.Valid() || n < 0 || n%int64(t.BlockSize()) != 0 {
		return 0, false
	}
	blocks, size := n/int64(t.BlockSize()), int64(t.BlockBytes())
	if blocks > (1<<63-1)/size {
		return 0, false
	}
	return blocks * size, true
}

// Decode writes the len(dst) values held by src to dst. len(dst) is a
// multiple of BlockSize and src holds at least Bytes(len(dst)) bytes; anything
// else is a broken invariant of the caller.
func (t Type) Decode(dst []float32, src []byte) {
	t.check("decode", len(dst), len(src))
	layouts[t].decode(dst, src)
}

// Encode writes the values of src to dst, rounding to the nearest value that
// the type has (ties to even for number types; GGML's own rule for its blocks).
// Sizes are as in Decode.
//
// Integers saturate and NaN becomes 0. The scale of a GGML block is a binary16:
// values beyond 127 (Q8_0) or 8 (Q4_0) times 65504 have no finite encoding.
// Types that are only read (CanEncode is false) are a broken invariant.
func (t Type) Encode(dst []byte, src []float32) {
	t.check("encode", len(src), len(dst))
	layouts[t].encode(dst, src)
}

func (t Type) check(what string, values, bytes int) {
	need, ok := t.Bytes(int64(values))
	if !ok || int64(bytes) < need {
		panic(fmt.Sprintf("BUG: %s %d values of %v in %d bytes", what, values, t, bytes))
	}
}

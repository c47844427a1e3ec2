package format

import "fmt"

// QuantKind names a format whose codes and scales lie in arrays of their own.
type QuantKind uint8

const (
	// NF4 is 4-bit NormalFloat (Dettmers et al., 2023, QLoRA): codes of a map of
	// normal quantiles, one scale a block of the flattened matrix.
	NF4 QuantKind = iota + 1
	// FP4 is bitsandbytes' 4-bit float: sign, two bits of exponent, one of
	// fraction.
	FP4
	// Int8 is LLM.int8's weight format (Dettmers et al., 2022): signed bytes, one
	// scale a row.
	Int8
)

// String is the name that bitsandbytes gives it, in capitals.
func (k QuantKind) String() string {
	switch k {
	case NF4:
		return "NF4"
	case FP4:
		return "FP4"
	case Int8:
		return "INT8"
	}
	return fmt.Sprintf("format.QuantKind(%d)", uint8(k))
}

// FourBit reports whether two codes share a byte.
func (k QuantKind) FourBit() bool { return k == NF4 || k == FP4 }

// Quant is a quantised array in the layout of bitsandbytes' checkpoints. Value
// i is
//
//	Map[code i] · scale(block of i)       for 4-bit kinds
//	code i · scale(row of i) / 127        for Int8
//
// taken in float32 and rounded to the type Round. Blocks run along the
// flattened matrix, across its rows.
type Quant struct {
	Kind  QuantKind
	Codes []byte // 4-bit: two a byte, the first in the high half; Int8: one a byte
	Block int    // values that share a scale; for Int8 the length of a row
	Map   []float32

	// Absmax holds the scales, one a block, unless Nested does.
	Absmax []float32
	Nested *Nested

	Round Type // F32, BF16 or F16: that of the array which was quantised
	First int  // where value 0 lies among the codes; not 0 in a part of a matrix
}

// Nested are scales that have been quantised themselves ("double
// quantisation"): scale i is Map[Codes[i]] · Absmax[i/Block] + Offset.
type Nested struct {
	Codes  []byte
	Map    []float32 // 256 values
	Block  int
	Absmax []float32
	Offset float32
}

// Scale is the scale of a block, counted from the start of Codes.
func (q *Quant) Scale(block int) float32 {
	if n := q.Nested; n != nil {
		return float32(n.Map[n.Codes[block]]*n.Absmax[block/n.Block]) + n.Offset
	}
	return q.Absmax[block]
}

// From is the same array without its first n values.
func (q *Quant) From(n int) Quant {
	part := *q
	part.First += n
	return part
}

// Check reports whether the arrays are as long as n values need.
func (q *Quant) Check(n int64) error {
	all := int64(q.First) + n
	codes, maps := all, 0
	if q.Kind.FourBit() {
		codes, maps = (all+1)/2, 16
	}
	switch {
	case q.Kind != NF4 && q.Kind != FP4 && q.Kind != Int8:
		return fmt.Errorf("%v is no quantised format", q.Kind)
	case n < 0 || q.First < 0:
		return fmt.Errorf("%d values from %d on", n, q.First)
	case q.Block <= 0:
		return fmt.Errorf("%v blocks of %d values", q.Kind, q.Block)
	case int64(len(q.Codes)) < codes:
		return fmt.Errorf("%d bytes of %v codes for %d values, want %d", len(q.Codes), q.Kind, all, codes)
	case len(q.Map) != maps:
		return fmt.Errorf("a map of %d values for %v, want %d", len(q.Map), q.Kind, maps)
	case q.Round != F32 && q.Round != BF16 && q.Round != F16:
		return fmt.Errorf("%v values rounded to %v, want F32, BF16 or F16", q.Kind, q.Round)
	}
	blocks := (all + int64(q.Block) - 1) / int64(q.Block)
	d := q.Nested
	if d == nil {
		if int64(len(q.Absmax)) < blocks {
			return fmt.Errorf("%d scales for %d blocks of %d values", len(q.Absmax), blocks, q.Block)
		}
		return nil
	}
	switch {
	case d.Block <= 0:
		return fmt.Errorf("scales in blocks of %d", d.Block)
	case int64(len(d.Codes)) < blocks:
		return fmt.Errorf("%d quantised scales for %d blocks of %d values", len(d.Codes), blocks, q.Block)
	case len(d.Map) != 256:
		return fmt.Errorf("a map of %d values for quantised scales, want 256", len(d.Map))
	case int64(len(d.Absmax)) < (blocks+int64(d.Block)-1)/int64(d.Block):
		return fmt.Errorf("%d scales of scales for %d blocks of %d", len(d.Absmax), blocks, d.Block)
	}
	return nil
}

// Bytes is the memory of n values: codes and scales. Maps are shared.
func (q *Quant) Bytes(n int64) int64 {
	codes := n
	if q.Kind.FourBit() {
		codes = (n + 1) / 2
	}
	blocks := (n + int64(q.Block) - 1) / int64(q.Block)
	if d := q.Nested; d != nil {
		return codes + blocks + 4*((blocks+int64(d.Block)-1)/int64(d.Block))
	}
	return codes + 4*blocks
}

// Int8Unit is 1/127 as bitsandbytes multiplies with it.
const Int8Unit = 7.874015718698502e-3

// Decode writes values from, from+1, ... to dst.
func (q *Quant) Decode(dst []float32, from int) {
	at := q.First + from
	for len(dst) > 0 {
		block := at / q.Block
		n := min(len(dst), (block+1)*q.Block-at)
		scale := q.Scale(block)
		switch out := dst[:n]; {
		case q.Kind == Int8:
			for i, c := range q.Codes[at : at+n] {
				out[i] = float32(float32(int8(c))*scale) * Int8Unit
			}
			RoundTo(out, q.Round)
		default:
			var table [16]float32
			for i, v := range q.Map {
				table[i] = v * scale
			}
			RoundTo(table[:], q.Round)
			decode4(out, q.Codes, at, &table)
		}
		dst, at = dst[n:], at+n
	}
}

// decode4 looks up the values from number at on.
func decode4(out []float32, codes []byte, at int, table *[16]float32) {
	if at%2 == 1 {
		out[0] = table[codes[at/2]&15]
		out, at = out[1:], at+1
	}
	in := codes[at/2:]
	for i := range len(out) / 2 {
		c, two := in[i], out[2*i:2*i+2]
		two[0], two[1] = table[c>>4], table[c&15]
	}
	if n := len(out); n%2 == 1 {
		out[n-1] = table[in[n/2]>>4]
	}
}

// RoundTo rounds x in place to the nearest values of type t, ties to even. t is
// F32, BF16 or F16.
func RoundTo(x []float32, t Type) {
	switch t {
	case F32:
	case BF16:
		for i, v := range x {
			x[i] = BF16ToF32(F32ToBF16(v))
		}
	case F16:
		for i, v := range x {
			x[i] = F16ToF32(F32ToF16(v))
		}
	default:
		panic(fmt.Sprintf("BUG: values rounded to %v", t))
	}
}

package format

import (
	"encoding/binary"
	"math"
)

// saturate rounds f to the nearest integer, ties to even, and clamps it to
// [lo, hi]. NaN becomes 0.
func saturate(f float32, lo, hi float64) int64 {
	r := math.RoundToEven(float64(f))
	switch {
	case math.IsNaN(r):
		return 0
	case r <= lo:
		return int64(lo)
	case r >= hi:
		if hi >= 1<<63 {
			return math.MaxInt64
		}
		return int64(hi)
	}
	return int64(r)
}

func decodeI8(dst []float32, src []byte) {
	for i := range dst {
		dst[i] = float32(int8(src[i]))
	}
}

func encodeI8(dst []byte, src []float32) {
	for i, f := range src {
		dst[i] = byte(saturate(f, math.MinInt8, math.MaxInt8))
	}
}

func decodeI16(dst []float32, src []byte) {
	for i := range dst {
		dst[i] = float32(int16(binary.LittleEndian.Uint16(src[2*i:])))
	}
}

func encodeI16(dst []byte, src []float32) {
	for i, f := range src {
		binary.LittleEndian.PutUint16(dst[2*i:], uint16(saturate(f, math.MinInt16, math.MaxInt16)))
	}
}

func decodeI32(dst []float32, src []byte) {
	for i := range dst {
		dst[i] = float32(int32(binary.LittleEndian.Uint32(src[4*i:])))
	}
}

func encodeI32(dst []byte, src []float32) {
	for i, f := range src {
		binary.LittleEndian.PutUint32(dst[4*i:], uint32(saturate(f, math.MinInt32, math.MaxInt32)))
	}
}

func decodeI64(dst []float32, src []byte) {
	for i := range dst {
		dst[i] = float32(int64(binary.LittleEndian.Uint64(src[8*i:])))
	}
}

func encodeI64(dst []byte, src []float32) {
	for i, f := range src {
		binary.LittleEndian.PutUint64(dst[8*i:], uint64(saturate(f, math.MinInt64, 1<<63)))
	}
}

func decodeU8(dst []float32, src []byte) {
	for i := range dst {
		dst[i] = float32(src[i])
	}
}

func encodeU8(dst []byte, src []float32) {
	for i, f := range src {
		dst[i] = byte(saturate(f, 0, math.MaxUint8))
	}
}

func decodeBool(dst []float32, src []byte) {
	for i := range dst {
		dst[i] = 0
		if src[i] != 0 {
			dst[i] = 1
		}
	}
}

func encodeBool(dst []byte, src []float32) {
	for i, f := range src {
		dst[i] = 0
		if f != 0 {
			dst[i] = 1
		}
	}
}

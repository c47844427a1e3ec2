package weights

import (
	"encoding/binary"
	"math"

	"github.com/evalrun/evalrun/kernels/format"
)

// NotFinite gives the index of the first value that is a NaN or an infinity,
// -1 where all are numbers. Plain types are looked at as they lie, without
// decoding; in blocks of a quantised type the scales decide.
func NotFinite(t Tensor) int {
	switch t.Type {
	case format.F32:
		for i := 0; i+4 <= len(t.Data); i += 4 {
			if binary.LittleEndian.Uint32(t.Data[i:])&0x7f800000 == 0x7f800000 {
				return i / 4
			}
		}
	case format.BF16:
		return halves(t.Data, 0x7f80)
	case format.F16:
		return halves(t.Data, 0x7c00)
	case format.F64:
		for i := 0; i+8 <= len(t.Data); i += 8 {
			if binary.LittleEndian.Uint64(t.Data[i:])>>52&0x7ff == 0x7ff {
				return i / 8
			}
		}
	default:
		return decoded(t)
	}
	return -1
}

// halves looks at 16-bit numbers, four at a time: all bits of the exponent are
// set in one that is none.
func halves(data []byte, exponent uint16) int {
	all := uint64(exponent) * 0x0001000100010001
	low := all & (-all) & 0xffff * 0x0001000100010001 // the exponent's lowest bit in each
	i := 0
	for ; i+8 <= len(data); i += 8 {
		// A sum carries into the sign's place exactly where the exponent is full.
		e := binary.LittleEndian.Uint64(data[i:]) & all
		if (e+low)&0x8000800080008000 != 0 {
			break
		}
	}
	for ; i+2 <= len(data); i += 2 {
		if binary.LittleEndian.Uint16(data[i:])&exponent == exponent {
			return i / 2
		}
	}
	return -1
}

func decoded(t Tensor) int {
	if t.Type == format.Invalid {
		return -1
	}
	const blocks = 64
	size, bytes := t.Type.BlockSize(), t.Type.BlockBytes()
	row := make([]float32, blocks*size)
	for i := 0; i*bytes < len(t.Data); i += blocks {
		n := min(blocks, len(t.Data)/bytes-i)
		if n <= 0 {
			break
		}
		t.Type.Decode(row[:n*size], t.Data[i*bytes:])
		for k, x := range row[:n*size] {
			if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
				return i*size + k
			}
		}
	}
	return -1
}

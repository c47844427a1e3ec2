package kernels

import (
	"fmt"

	"github.com/evalrun/evalrun/kernels/format"
)

// A Weight is a matrix [N, K] as a checkpoint stores it: row-major, each of the
// N rows holding the K factors of one output.
type Weight struct {
	Name string // for messages
	Type format.Type
	N, K int
	Data []byte // stays owned by the caller, valid until the device is closed

	// Quant holds codes and scales that lie apart, as in bitsandbytes'
	// checkpoints; Type and Data are not looked at where it is set.
	Quant *format.Quant
}

// FormatName is what a user calls the weight's format: "BF16", "NF4".
func (w Weight) FormatName() string {
	if w.Quant != nil {
		return w.Quant.Kind.String()
	}
	return w.Type.Name()
}

// Decode writes values from, from+1, ... of the flattened weight to dst. Where
// Type has blocks, from and len(dst) are multiples of their size.
func (w Weight) Decode(dst []float32, from int) {
	if w.Quant != nil {
		w.Quant.Decode(dst, from)
		return
	}
	size, bytes := w.Type.BlockSize(), w.Type.BlockBytes()
	w.Type.Decode(dst, w.Data[from/size*bytes:])
}

// Rows is the weight of rows from to to-1 alone, sharing the memory: one part
// of a fused projection.
func (w Weight) Rows(from, to int) Weight {
	part := w
	part.Name = fmt.Sprintf("%s[%d:%d]", w.Name, from, to)
	part.N = to - from
	if w.Quant != nil {
		q := w.Quant.From(from * w.K)
		part.Quant = &q
		return part
	}
	row, _ := w.Type.Bytes(int64(w.K))
	part.Data = w.Data[int64(from)*row : int64(to)*row]
	return part
}

// CheckWeight reports whether the data of w fit its shape and type; devices
// call it at the start of Prepare.
func CheckWeight(w Weight) error {
	if w.N <= 0 || w.K <= 0 {
		return fmt.Errorf("weight %s: shape [%d, %d] is empty", w.Name, w.N, w.K)
	}
	if w.Quant != nil {
		if err := w.Quant.Check(int64(w.N) * int64(w.K)); err != nil {
			return fmt.Errorf("weight %s: %w", w.Name, err)
		}
		return nil
	}
	row, ok := w.Type.Bytes(int64(w.K))
	if !ok {
		return fmt.Errorf("weight %s: rows of %d values are no whole number of %v blocks of %d",
			w.Name, w.K, w.Type, w.Type.BlockSize())
	}
	if int64(len(w.Data))/row < int64(w.N) {
		return fmt.Errorf("weight %s: %d bytes hold fewer than %d rows of %d %v values",
			w.Name, len(w.Data), w.N, w.K, w.Type)
	}
	return nil
}

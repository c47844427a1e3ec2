package nn

import (
	"fmt"
	"math"

	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/format"
)

// Rope is the table of rotary position angles (Su et al., 2021): position p
// turns pair i by p·freq[i].
type Rope struct {
	Cos, Sin kernels.Buffer // [context, half]
	Half     int
	Style    kernels.RopeStyle
}

// maxRope bounds a table's values: 128 Mi, two GiB of angles in both tables
// while they are made. A context of a million tokens has half of it.
const maxRope = 1 << 27

// NewRope makes the table for positions below context. The products are taken
// in float32, as transformers does, and only then the sine and cosine.
func NewRope(dev kernels.Device, freqs []float32, context int, style kernels.RopeStyle) (*Rope, error) {
	half := len(freqs)
	if int64(context)*int64(half) > maxRope {
		return nil, fmt.Errorf("rotary table of %d positions with %d angles each: more than %d values", context, half, maxRope)
	}
	cos, sin := make([]float32, context*half), make([]float32, context*half)
	for p := range context {
		for i, f := range freqs {
			s, c := math.Sincos(float64(float32(p) * f))
			cos[p*half+i], sin[p*half+i] = float32(c), float32(s)
		}
	}
	r := &Rope{Half: half, Style: style}
	for _, t := range []struct {
		at     *kernels.Buffer
		values []float32
	}{{&r.Cos, cos}, {&r.Sin, sin}} {
		buf, err := dev.Alloc(format.F32, len(t.values))
		if err != nil {
			return nil, err
		}
		dev.Write(buf, t.values)
		*t.at = buf
	}
	return r, nil
}

// Forward rotates the heads of each row of x in place.
func (r *Rope) Forward(dev kernels.Device, x kernels.Buffer, heads, dim int, pos []int32) {
	dev.Rope(x, heads, dim, r.Cos, r.Sin, r.Half, pos, r.Style)
}

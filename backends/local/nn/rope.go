package nn

import (
	"fmt"
	"math"

	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/format"
)

// Rope is the table of rotary position angles (Su et al., 2021): position p
// turns pair i by p·freq[i]. A table may have a second part with the angles of
// long sequences.
type Rope struct {
	Cos, Sin kernels.Buffer // [context, half], twice that with long angles
	Half     int
	Context  int
	Long     bool
	Style    kernels.RopeStyle
}

// Angles describe a table.
type Angles struct {
	Freqs []float32
	Long  []float32 // of long sequences; nil where they have the same
	Scale float32   // factor of cosine and sine; 0 is 1
	Style kernels.RopeStyle
}

// maxRope bounds a table's values: 128 Mi, two GiB of angles in both tables
// while they are made. A context of a million tokens has half of it.
const maxRope = 1 << 27

// NewRope makes the table for positions below context. The products are taken
// in float32, as transformers does, and only then the sine and cosine.
func NewRope(dev kernels.Device, a Angles, context int) (*Rope, error) {
	half := len(a.Freqs)
	parts := [][]float32{a.Freqs}
	if a.Long != nil {
		parts = append(parts, a.Long)
	}
	if int64(context)*int64(half)*int64(len(parts)) > maxRope {
		return nil, fmt.Errorf("rotary table of %d positions with %d angles each: more than %d values", context, half, maxRope)
	}
	scale := a.Scale
	if scale == 0 {
		scale = 1
	}
	cos, sin := make([]float32, 0, len(parts)*context*half), make([]float32, 0, len(parts)*context*half)
	for _, freqs := range parts {
		for p := range context {
			for _, f := range freqs {
				s, c := math.Sincos(float64(float32(p) * f))
				cos, sin = append(cos, float32(c)*scale), append(sin, float32(s)*scale)
			}
		}
	}
	r := &Rope{Half: half, Context: context, Long: a.Long != nil, Style: a.Style}
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

// Forward rotates the heads of each row of x in place; rows are those of the
// table.
func (r *Rope) Forward(dev kernels.Device, x kernels.Buffer, heads, dim int, rows []int32) {
	dev.Rope(x, heads, dim, r.Cos, r.Sin, r.Half, rows, r.Style)
}

// store rotates q and k of an attention layer and brings k and v to the cache.
func (r *Rope) store(dev kernels.Device, q, k, v kernels.Buffer, a *Attention, b *Batch, cache kernels.KV) {
	kernels.RopeStoreKV(dev, q, k, v, a.Heads, a.KVHeads, kernels.Rotation{Dim: a.Dim, Cos: r.Cos, Sin: r.Sin, Half: r.Half, Style: r.Style}, b.Pos, cache, b.Spans)
}

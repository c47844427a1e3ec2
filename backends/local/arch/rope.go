package arch

import (
	"encoding/json"
	"fmt"
	"math"

	"github.com/evalrun/evalrun/kernels"
)

// ropeParams is rope_scaling, or an entry of rope_parameters.
type ropeParams struct {
	Theta        *float64  `json:"rope_theta"`
	Kind         string    `json:"rope_type"`
	OldKind      string    `json:"type"`
	Factor       *float64  `json:"factor"`
	Partial      *float64  `json:"partial_rotary_factor"`
	LowFactor    float64   `json:"low_freq_factor"`
	HighFactor   float64   `json:"high_freq_factor"`
	FirstContext *float64  `json:"original_max_position_embeddings"`
	Attention    *float64  `json:"attention_factor"`
	Short        []float64 `json:"short_factor"`
	Long         []float64 `json:"long_factor"`
	BetaFast     *float64  `json:"beta_fast"`
	BetaSlow     *float64  `json:"beta_slow"`
	MScale       *float64  `json:"mscale"`
	MScaleAll    *float64  `json:"mscale_all_dim"`
	Truncate     *bool     `json:"truncate"`

	empty bool // {}
}

func (p *ropeParams) UnmarshalJSON(text []byte) error {
	type plain ropeParams
	if err := json.Unmarshal(text, (*plain)(p)); err != nil {
		return err
	}
	var keys map[string]json.RawMessage
	err := json.Unmarshal(text, &keys)
	p.empty = len(keys) == 0
	return err
}

func (p *ropeParams) kind() string {
	if p.Kind != "" {
		return p.Kind
	}
	if p.OldKind != "" {
		return p.OldKind
	}
	return "default"
}

// ropeSet is rope_parameters: one set, or one a kind of layer.
type ropeSet struct {
	one           ropeParams
	full, sliding *ropeParams
}

func (s *ropeSet) UnmarshalJSON(text []byte) error {
	var nested struct {
		Full    *ropeParams `json:"full_attention"`
		Sliding *ropeParams `json:"sliding_attention"`
	}
	if err := json.Unmarshal(text, &nested); err != nil {
		return err
	}
	s.full, s.sliding = nested.Full, nested.Sliding
	return json.Unmarshal(text, &s.one)
}

// rope is the table of a model whose layers share one.
func (h *hfConfig) rope(c *Config) (RopeConfig, error) {
	p := ropeParams{}
	if h.Rope != nil {
		if h.Rope.full != nil || h.Rope.sliding != nil {
			return RopeConfig{}, fmt.Errorf("rope_parameters has a set for each kind of layer: %s models have one for all", c.Family)
		}
		p = h.Rope.one
	}
	if s := h.RopeScaling; s != nil && !s.empty { // as transformers: the old key wins
		if p.Theta != nil && s.Theta == nil && h.RopeTheta == nil {
			return RopeConfig{}, fmt.Errorf("rope_scaling and rope_parameters are both there, and rope_theta %g stands in the one that does not count: put all of it in rope_parameters", *p.Theta)
		}
		p = *s
	}
	theta := c.family.defaults.theta
	if h.RopeTheta != nil {
		theta = *h.RopeTheta
	}
	if p.Theta != nil {
		theta = *p.Theta
	}
	if p.Partial == nil {
		p.Partial = h.PartialRotary
	}
	if h.FirstContext != nil {
		p.FirstContext = h.FirstContext
	}
	return p.table(c, theta)
}

// table computes the angles.
func (p *ropeParams) table(c *Config, theta float64) (RopeConfig, error) {
	r := RopeConfig{Style: kernels.RopeHalves}
	if !(theta > 0) || math.IsInf(theta, 0) {
		return r, fmt.Errorf("rope_theta is %g", theta)
	}
	dim, kind := c.HeadDim, p.kind()
	if p.Partial != nil && !c.family.partial && *p.Partial != 1 && kind != "default" {
		return r, fmt.Errorf("partial_rotary_factor is %g with rope scaling %s: %s models rotate whole heads", *p.Partial, kind, c.Family)
	}
	if p.Partial != nil && c.family.partial {
		if !(*p.Partial > 0 && *p.Partial <= 1) {
			return r, fmt.Errorf("partial_rotary_factor is %g, want more than 0 and at most 1", *p.Partial)
		}
		dim = int(float64(c.HeadDim) * *p.Partial)
	}
	if dim%2 != 0 || dim == 0 {
		return r, fmt.Errorf("%d values of a head of %d are to be rotated: rotary positions want an even number", dim, c.HeadDim)
	}
	r.Freqs = baseFreqs(theta, dim)
	first := float64(c.Context)
	if p.FirstContext != nil {
		first = *p.FirstContext
	}
	if kind == "su" {
		kind = "longrope" // Phi-3's first name for it
	}
	switch kind {
	case "default":
	case "linear", "llama3", "dynamic":
		if p.Factor == nil || !(*p.Factor >= 1) || math.IsInf(*p.Factor, 0) {
			return r, fmt.Errorf("rope scaling %s: factor is %s, want at least 1", kind, number(p.Factor))
		}
		if kind == "linear" {
			for i := range r.Freqs {
				r.Freqs[i] /= float32(*p.Factor)
			}
			break
		}
		// Dynamic scaling changes the base for sequences beyond the context alone.
		if r.Within = kind == "dynamic"; r.Within {
			break
		}
		if !(first > 0 && p.LowFactor > 0 && p.HighFactor > p.LowFactor) {
			return r, fmt.Errorf("rope scaling llama3: original_max_position_embeddings %g, low_freq_factor %g, high_freq_factor %g do not fit",
				first, p.LowFactor, p.HighFactor)
		}
		for i, f := range r.Freqs {
			r.Freqs[i] = p.llama3(f, first)
		}
	case "yarn":
		return r, p.yarn(&r, theta, first)
	case "longrope":
		return r, p.longrope(&r, theta, first, float64(c.Context))
	default:
		return r, fmt.Errorf("rope scaling %q is not supported; supported are: default, dynamic, linear, llama3, longrope, yarn", kind)
	}
	return r, nil
}

func number(x *float64) string {
	if x == nil {
		return "missing"
	}
	return fmt.Sprintf("%g", *x)
}

// baseFreqs is theta^(-2i/dim), in float32 as transformers computes it.
func baseFreqs(theta float64, dim int) []float32 {
	freqs := make([]float32, dim/2)
	for i := range freqs {
		freqs[i] = 1 / basePower(theta, dim, i)
	}
	return freqs
}

func basePower(theta float64, dim, i int) float32 {
	return float32(math.Pow(theta, float64(float32(2*i)/float32(dim))))
}

// llama3 is Llama 3.1's change of a frequency: slow waves, longer than
// first/LowFactor, are slowed down by Factor, fast ones stay, and those
// between are blended.
func (p *ropeParams) llama3(f float32, first float64) float32 {
	wave := 2 * math.Pi / float64(f)
	switch {
	case wave < first/p.HighFactor:
		return f
	case wave > first/p.LowFactor:
		return float32(float64(f) / *p.Factor)
	}
	smooth := (first/wave - p.LowFactor) / (p.HighFactor - p.LowFactor)
	return float32((1-smooth)*float64(f) / *p.Factor + smooth*float64(f))
}

// longrope (Ding et al., 2024) divides each frequency by a factor of its own,
// from another list for sequences longer than the first context, and scales
// cosine and sine by sqrt(1 + ln(factor)/ln(first)).
func (p *ropeParams) longrope(r *RopeConfig, theta, first, context float64) error {
	half := len(r.Freqs)
	for _, l := range []struct {
		name    string
		factors []float64
	}{{"short_factor", p.Short}, {"long_factor", p.Long}} {
		if len(l.factors) != half {
			return fmt.Errorf("rope scaling longrope: %s has %d values, want %d", l.name, len(l.factors), half)
		}
		for i, f := range l.factors {
			if !(f > 0) || math.IsInf(f, 0) {
				return fmt.Errorf("rope scaling longrope: %s[%d] is %g", l.name, i, f)
			}
		}
	}
	if !(first >= 2 && first < maxContext) {
		return fmt.Errorf("rope scaling longrope: original_max_position_embeddings is %g", first)
	}
	r.Long, r.Switch = make([]float32, half), int(first)
	for i := range half {
		power := basePower(theta, 2*half, i)
		r.Freqs[i] = 1 / (float32(p.Short[i]) * power)
		r.Long[i] = 1 / (float32(p.Long[i]) * power)
	}
	factor := context / first
	if p.Factor != nil {
		factor = *p.Factor
	}
	scale := 1.0
	if factor > 1 {
		scale = math.Sqrt(1 + math.Log(factor)/math.Log(first))
	}
	if p.Attention != nil {
		scale = *p.Attention
	}
	if !(scale > 0) || math.IsInf(scale, 0) {
		return fmt.Errorf("rope scaling longrope: factor %g and attention_factor do not fit", factor)
	}
	r.Scale = float32(scale)
	return nil
}

// yarn (Peng et al., 2023) slows down slow waves by factor, leaves fast ones,
// and goes over linearly between the dimensions that turn beta_fast and
// beta_slow times within the first context.
func (p *ropeParams) yarn(r *RopeConfig, theta, first float64) error {
	if p.Factor == nil || !(*p.Factor >= 1) || math.IsInf(*p.Factor, 0) || !(first > 0) || !(theta > 1) {
		return fmt.Errorf("rope scaling yarn: factor is %s, original_max_position_embeddings %g, rope_theta %g", number(p.Factor), first, theta)
	}
	factor, half := *p.Factor, len(r.Freqs)
	or := func(v *float64, def float64) float64 {
		if v == nil || *v == 0 {
			return def
		}
		return *v
	}
	dim := float64(2 * half)
	turns := func(n float64) float64 { return dim * math.Log(first/(n*2*math.Pi)) / (2 * math.Log(theta)) }
	low, high := turns(or(p.BetaFast, 32)), turns(or(p.BetaSlow, 1))
	if p.Truncate == nil || *p.Truncate {
		low, high = math.Floor(low), math.Ceil(high)
	}
	low, high = max(low, 0), min(high, dim-1)
	if low == high {
		high += 0.001
	}
	for i := range half {
		power := basePower(theta, 2*half, i)
		ramp := float32(min(max((float64(i)-low)/(high-low), 0), 1))
		keep := 1 - ramp
		slow, fast := 1/(float32(factor)*power), 1/power
		r.Freqs[i] = float32(slow*(1-keep)) + fast*keep
	}
	mscale := func(m float64) float64 {
		if factor <= 1 {
			return 1
		}
		return 0.1*m*math.Log(factor) + 1
	}
	scale := mscale(1)
	if p.MScale != nil && p.MScaleAll != nil && *p.MScale != 0 && *p.MScaleAll != 0 {
		scale = mscale(*p.MScale) / mscale(*p.MScaleAll)
	}
	if p.Attention != nil {
		scale = *p.Attention
	}
	if !(scale > 0) || math.IsInf(scale, 0) {
		return fmt.Errorf("rope scaling yarn: attention_factor is %g", scale)
	}
	r.Scale = float32(scale)
	return nil
}

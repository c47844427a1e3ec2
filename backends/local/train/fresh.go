package train

import (
	"hash/fnv"
	"math"

	"github.com/evalrun/evalrun/backends/local/arch"
	"github.com/evalrun/evalrun/backends/local/lora"
	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/format"
)

// Settings are what adapter_config.json says of the recipe's adapter.
func (r *Recipe) Settings(base string) lora.Settings {
	return lora.Settings{Base: base, Rank: r.Rank, Alpha: r.Alpha, Dropout: r.Dropout, Targets: r.Targets, Pattern: r.pattern(), RSLoRA: r.RSLoRA, DoRA: r.DoRA}
}

// pattern tells whether the one target is no name of a module but "all-linear"
// or a regular expression.
func (r *Recipe) pattern() bool {
	if len(r.Targets) != 1 {
		return false
	}
	for _, c := range r.Targets[0] {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '_', c == '.':
		default:
			return true
		}
	}
	return false
}

// Fresh gives the model a new adapter: A is drawn evenly from ±1/√K, as PEFT
// does (Kaiming's rule with a = √5), B is zero, and DoRA's magnitudes are the
// lengths of the base's rows. The draws are counted by the recipe's seed, the
// tensor's name and the value's place, so that nothing else changes them.
func Fresh(dev kernels.TrainDevice, m *arch.Model, r *Recipe) (*Tuned, error) {
	text, err := r.Settings("").JSON()
	if err != nil {
		return nil, err
	}
	c, err := lora.ParseConfig(text)
	if err != nil {
		return nil, err
	}
	targets, err := c.Targets(m.LoRAModules())
	if err != nil {
		return nil, err
	}
	scale := r.Alpha / float64(r.Rank)
	if r.RSLoRA {
		scale = r.Alpha / math.Sqrt(float64(r.Rank))
	}
	t := newTuned(dev, m)
	_, planned := dev.(kernels.Outline) // has no use for values
	for _, i := range targets {
		x := &m.Modules[i]
		a := make([]float32, r.Rank*x.K)
		if !planned {
			draw(a, r.Seed, "base_model.model."+x.Path+".lora_A.weight", 1/math.Sqrt(float64(x.K)))
		}
		var magnitude []float32
		if r.DoRA {
			norms, err := dev.Alloc(format.F32, x.N)
			if err != nil {
				return nil, err
			}
			dev.RowNorms(norms, x.Linear.Weight, kernels.LowRank{})
			magnitude = make([]float32, x.N)
			dev.Read(magnitude, norms)
		}
		if err := t.adapt(i, r.Rank, float32(scale), a, make([]float32, x.N*r.Rank), magnitude, r.Dropout); err != nil {
			return nil, err
		}
	}
	return t, t.Refresh()
}

// draw fills out with numbers drawn evenly from ±bound.
func draw(out []float32, seed uint64, name string, bound float64) {
	h := fnv.New64a()
	h.Write([]byte(name))
	for i := range out {
		group := uint64(i / 4)
		words := kernels.Philox([4]uint32{uint32(group), uint32(group >> 32), uint32(h.Sum64()), uint32(h.Sum64() >> 32)}, seed)
		out[i] = float32((float64(words[i%4])/(1<<31) - 1) * bound)
	}
}

package train

import (
	"errors"

	"github.com/evalrun/evalrun/backends/local/arch"
	"github.com/evalrun/evalrun/backends/local/nn"
	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/format"
)

// A Plan is the memory that a training takes, in bytes, reckoned from the
// model's shape before anything is loaded.
type Plan struct {
	Weights int64
	// Adapter is the trained values and their gradients, Optimiser its means.
	Adapter, Optimiser  int64
	Activations, Logits int64
	Parameters          int64 // trained
	// Recompute says that activations are not held, to fit the limit.
	Recompute bool
}

// Total is all of it.
func (p *Plan) Total() int64 {
	return p.Weights + p.Adapter + p.Optimiser + p.Activations + p.Logits
}

// PlanOf reckons the plan for windows of up to tokens tokens with judged
// judged labels. Activations are held where limit (0: none) allows it.
func PlanOf(c *arch.Config, r *Recipe, o arch.Options, tokens, judged int, limit int64) (*Plan, error) {
	m, err := arch.Sketch(c, o)
	if err != nil {
		return nil, err
	}
	t, err := Fresh(&dry{}, m, r)
	if err != nil {
		return nil, err
	}
	p := &Plan{Weights: m.Bytes()}
	for _, x := range t.params {
		p.Parameters += int64(x.N)
	}
	p.Adapter, p.Optimiser = 8*p.Parameters, 8*p.Parameters
	pass := nn.PassOptions{Rows: tokens, LossRows: judged, LogitRows: logitRows(c.Vocab, judged), Keep: true, BF16: r.Compute == "bf16"}
	p.Activations, p.Logits = nn.PassBytes(m.Decoder, t.nn, pass)
	if limit > 0 && p.Total() > limit {
		pass.Keep, p.Recompute = false, true
		p.Activations, p.Logits = nn.PassBytes(m.Decoder, t.nn, pass)
	}
	return p, nil
}

// dry is a device that holds nothing: what is asked of it is counted elsewhere.
type dry struct{ kernels.TrainDevice }

type length int

func (n length) Type() format.Type                 { return format.F32 }
func (n length) Len() int                          { return int(n) }
func (n length) Slice(from, to int) kernels.Buffer { return length(to - from) }
func (dry) Alloc(_ format.Type, n int) (kernels.Buffer, error) {
	if n < 0 {
		return nil, errors.New("a negative length")
	}
	return length(n), nil
}
func (dry) Write(kernels.Buffer, []float32)                            {}
func (dry) Read([]float32, kernels.Buffer)                             {}
func (dry) Refresh(kernels.Prepared)                                   {}
func (dry) RowNorms(kernels.Buffer, kernels.Prepared, kernels.LowRank) {}
func (dry) Divide(dst, x, y kernels.Buffer, n int)                     {}
func (dry) PrepareTrained(_ kernels.Buffer, n, k int, _ kernels.Use) (kernels.Prepared, error) {
	return matrix{n, k}, nil
}

type matrix struct{ n, k int }

func (m matrix) Shape() (n, k int) { return m.n, m.k }
func (m matrix) Bytes() int64      { return 0 }

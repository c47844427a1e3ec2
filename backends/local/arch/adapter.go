package arch

import (
	"fmt"

	"github.com/evalrun/evalrun/backends/local/lora"
	"github.com/evalrun/evalrun/backends/local/nn"
	"github.com/evalrun/evalrun/backends/local/weights"
	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/format"
)

// Adapter puts an adapter's parts on the model's device, beside the base and
// never merged into it. The adapter stays open for as long as it is used.
func (m *Model) Adapter(a *lora.Adapter) (*nn.Adapter, error) {
	parts, err := a.Bind(m.LoRAModules())
	if err != nil {
		return nil, err
	}
	out := &nn.Adapter{Parts: make([]*nn.Part, len(m.Modules))}
	for _, p := range parts {
		part, err := m.part(p, out)
		if err != nil {
			return nil, fmt.Errorf("adapter %s: %s: %w", a.Path, m.Modules[p.Module].Path, err)
		}
		out.Parts[p.Module] = part
	}
	return out, nil
}

func (m *Model) part(p lora.Part, sum *nn.Adapter) (*nn.Part, error) {
	mod, out := m.Modules[p.Module], &nn.Part{}
	var err error
	prepare := func(t weights.Tensor, paired bool, use kernels.Use) (w kernels.Prepared) {
		if err != nil {
			return nil
		}
		if paired && mod.PairedHeads > 0 {
			t = pairRows(t, mod.PairedHeads)
		}
		if w, err = m.dev.Prepare(kernels.Weight{Name: t.Name, Type: t.Type, N: t.Shape[0], K: t.Shape[1], Data: t.Data}, use); err == nil {
			sum.Bytes += w.Bytes()
		}
		return w
	}
	vector := func(values []float32) (b kernels.Buffer) {
		if values == nil || err != nil {
			return nil
		}
		if b, err = m.dev.Alloc(format.F32, len(values)); err == nil {
			m.dev.Write(b, values)
			sum.Bytes += 4 * int64(len(values))
		}
		return b
	}
	rows := func(values []float32) []float32 {
		if mod.PairedHeads > 0 && values != nil {
			return Pair(values, 1, mod.PairedHeads)
		}
		return values
	}
	if p.Rank > 0 {
		out.LowRank = kernels.LowRank{A: prepare(p.A, false, kernels.ForMatMul), B: prepare(p.B, true, kernels.ForMatMul), Scale: p.Scale}
	}
	if p.Weight != nil {
		switch mod.Kind {
		case lora.Linear:
			out.Weight = prepare(*p.Weight, true, kernels.ForMatMul)
		case lora.Embedding:
			out.Weight = prepare(*p.Weight, false, kernels.ForEmbed)
		case lora.Norm:
			var values []float32
			if values, err = p.Weight.Floats(); err != nil {
				return nil, err
			}
			if mod.Plus1 {
				for i := range values {
					values[i]++
				}
			}
			out.Norm = vector(values)
		}
	}
	if mod.Kind == lora.Norm && out.Norm == nil && err == nil {
		return nil, fmt.Errorf("a bias without a weight")
	}
	out.Shift, out.Bias = vector(rows(p.Shift)), vector(rows(p.Bias))
	if p.Magnitude != nil && err == nil {
		// DoRA divides each row of W + scale·B·A by its length; the lengths do
		// not depend on what is asked, so the factors are made once.
		weight := mod.Linear.Weight
		if out.Weight != nil {
			weight = out.Weight
		}
		out.Columns = vector(make([]float32, mod.N))
		if err == nil {
			m.dev.RowNorms(out.Columns, weight, out.LowRank)
			norms := make([]float32, mod.N)
			m.dev.Read(norms, out.Columns)
			for i, by := range rows(p.Magnitude) {
				norms[i] = by / norms[i]
				if x := norms[i]; x-x != 0 {
					return nil, fmt.Errorf("row %d of the changed weight has length 0", i)
				}
			}
			m.dev.Write(out.Columns, norms)
		}
	}
	return out, err
}

// pairRows reorders the rows of each head as llama.cpp's converter does with q
// and k, so that an adapter trained on the original fits such a file: row
// j·half + i of a head becomes row 2i + j.
func pairRows(t weights.Tensor, dim int) weights.Tensor {
	row := len(t.Data) / t.Shape[0]
	out := make([]byte, 0, len(t.Data))
	for r := range t.Shape[0] {
		from := unpaired(r, dim)
		out = append(out, t.Data[from*row:(from+1)*row]...)
	}
	t.Data = out
	return t
}

// Pair reorders the rows, each width values, of a file's matrix or vector into
// those of a module with PairedHeads of dim; Unpair goes back.
func Pair(values []float32, width, dim int) []float32 {
	out := make([]float32, len(values))
	for r := range len(values) / width {
		copy(out[r*width:(r+1)*width], values[unpaired(r, dim)*width:])
	}
	return out
}

// Unpair is the inverse of Pair.
func Unpair(values []float32, width, dim int) []float32 {
	out := make([]float32, len(values))
	for r := range len(values) / width {
		at := unpaired(r, dim) * width
		copy(out[at:at+width], values[r*width:(r+1)*width])
	}
	return out
}

// unpaired is the original row of row r of a file with pairs.
func unpaired(r, dim int) int {
	head, at := r/dim, r%dim
	return head*dim + at%2*(dim/2) + at/2
}

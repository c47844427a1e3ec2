package arch

import (
	"fmt"

	"github.com/evalrun/evalrun/backends/local/lora"
	"github.com/evalrun/evalrun/backends/local/nn"
	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/format"
)

// Adapter puts an adapter's parts on the model's device, beside the base and
// never merged into it.
func (m *Model) Adapter(a *lora.Adapter) (*nn.Adapter, error) {
	im, err := m.Image(a)
	if err != nil {
		return nil, err
	}
	mem := make([]byte, im.Bytes)
	if err := im.Fill(mem); err != nil {
		return nil, err
	}
	s, err := kernels.Stage(m.dev, mem)
	if err != nil {
		return nil, err
	}
	s.Join()
	return m.Place(im, mem, s)
}

// Place makes an adapter of its image on the device, which has been joined; mem is
// the same on the host. DoRA's factors are computed then: what is written to mem
// spares it the next time.
func (m *Model) Place(im *Image, mem []byte, s kernels.Staged) (*nn.Adapter, error) {
	out, err := im.parts(s, len(m.Modules))
	if err != nil {
		return nil, err
	}
	if im.factors {
		return out, nil
	}
	for _, p := range im.pieces {
		if p.columns.n == 0 {
			continue
		}
		if err := m.factor(p, mem, out.Parts[p.module]); err != nil {
			return nil, fmt.Errorf("adapter %s: %s: %w", im.path, m.Modules[p.module].Path, err)
		}
	}
	im.factors = true
	return out, nil
}

// factor divides DoRA's magnitudes by the lengths of the rows of W + scale·B·A,
// which do not depend on what is asked.
func (m *Model) factor(p piece, mem []byte, part *nn.Part) error {
	weight := m.Modules[p.module].Linear.Weight
	if part.Weight != nil {
		weight = part.Weight
	}
	norms := make([]float32, p.columns.n)
	lengths, err := m.dev.Alloc(format.F32, len(norms))
	if err != nil {
		return err
	}
	m.dev.RowNorms(lengths, weight, part.LowRank)
	m.dev.Read(norms, lengths)
	factors := p.columns.of(mem)
	for i, by := range factors {
		factors[i] = by / norms[i]
		if x := factors[i]; x-x != 0 {
			return fmt.Errorf("row %d of the changed weight has length 0", i)
		}
	}
	m.dev.Write(part.Columns, factors)
	p.columns.put(mem, factors)
	return nil
}

// AdapterBytes is the memory of the device that an image takes.
func (m *Model) AdapterBytes(im *Image) (int64, error) {
	if s, ok := m.dev.(kernels.Stager); ok {
		return s.Takes(im.Bytes), nil
	}
	a, err := im.parts(kernels.StageShape(kernels.OutlineOf(m.dev)), len(m.Modules))
	if err != nil {
		return 0, err
	}
	return a.Bytes, nil
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

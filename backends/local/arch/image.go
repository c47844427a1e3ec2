package arch

import (
	"fmt"

	"github.com/evalrun/evalrun/backends/local/lora"
	"github.com/evalrun/evalrun/backends/local/nn"
	"github.com/evalrun/evalrun/backends/local/weights"
	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/format"
)

// An Image is an adapter as it lies in memory on its way to a device (see
// kernels.Stager): which part of a module begins where. The same bytes serve
// again and again.
type Image struct {
	// Bytes is its length.
	Bytes int64

	path    string
	pieces  []piece
	factors bool // the columns hold DoRA's factors, no longer its magnitudes
}

// piece is what an image holds of one module.
type piece struct {
	module                     int
	scale                      float32
	a, b, weight               matrix
	norm, shift, bias, columns vector
}

// matrix is a place for a matrix, whose values stand in t until they are filled in.
type matrix struct {
	at     int64
	t      weights.Tensor // no Name: there is none
	typ    format.Type    // in the image
	paired int            // size of heads whose rows come in pairs
	use    kernels.Use
}

// vector is a place for n values.
type vector struct {
	at     int64
	n      int
	values []float32
}

// Image lays the parts of an adapter out for this model.
func (m *Model) Image(a *lora.Adapter) (*Image, error) {
	parts, err := a.Bind(m.LoRAModules())
	if err != nil {
		return nil, err
	}
	return m.image(a.Path, parts)
}

// ImageShape is Image by the adapter's configuration and header alone, for its
// size: no value is read, and none can be filled in.
func (m *Model) ImageShape(a *lora.Adapter) (*Image, error) {
	parts, err := a.Shapes(m.LoRAModules())
	if err != nil {
		return nil, err
	}
	return m.image(a.Path, parts)
}

func (m *Model) image(path string, parts []lora.Part) (*Image, error) {
	im := &Image{path: path}
	for _, p := range parts {
		mod, out := m.Modules[p.Module], piece{module: p.Module, scale: p.Scale}
		matrixOf := func(t weights.Tensor, paired int, use kernels.Use) matrix {
			typ := t.Type
			if typ != format.F16 && typ != format.BF16 {
				typ = format.F32 // what float64 is computed with
			}
			x := matrix{im.Bytes, t, typ, paired, use}
			im.add(x.size())
			return x
		}
		vectorOf := func(values []float32) vector {
			v := vector{im.Bytes, len(values), values}
			im.add(4 * int64(v.n))
			return v
		}
		rows := func(values []float32) vector {
			if mod.PairedHeads > 0 && values != nil {
				values = Pair(values, 1, mod.PairedHeads)
			}
			return vectorOf(values)
		}
		if p.Rank > 0 {
			out.a, out.b = matrixOf(p.A, 0, kernels.ForMatMul), matrixOf(p.B, mod.PairedHeads, kernels.ForMatMul)
		}
		if p.Weight != nil {
			switch mod.Kind {
			case lora.Linear:
				out.weight = matrixOf(*p.Weight, mod.PairedHeads, kernels.ForMatMul)
			case lora.Embedding:
				out.weight = matrixOf(*p.Weight, 0, kernels.ForEmbed)
			case lora.Norm:
				values, err := p.Weight.Floats()
				if err != nil {
					return nil, err
				}
				if mod.Plus1 {
					for i := range values {
						values[i]++
					}
				}
				out.norm = vectorOf(values)
			}
		}
		out.shift, out.bias, out.columns = rows(p.Shift), rows(p.Bias), rows(p.Magnitude)
		im.pieces = append(im.pieces, out)
	}
	return im, nil
}

// add takes room for so many bytes.
func (im *Image) add(bytes int64) {
	im.Bytes += (bytes + kernels.ImageAlign - 1) / kernels.ImageAlign * kernels.ImageAlign
}

// Fill writes the values to mem, after which the adapter may be closed. It is
// called once.
func (im *Image) Fill(mem []byte) error {
	for i := range im.pieces {
		p := &im.pieces[i]
		for _, x := range []*matrix{&p.a, &p.b, &p.weight} {
			if err := x.fill(mem); err != nil {
				return err
			}
		}
		for _, v := range []*vector{&p.norm, &p.shift, &p.bias, &p.columns} {
			v.put(mem, v.values)
			v.values = nil
		}
	}
	return nil
}

func (x *matrix) size() int64 {
	if x.t.Name == "" {
		return 0
	}
	bytes, _ := x.typ.Bytes(int64(x.t.Len()))
	return bytes
}

func (x *matrix) fill(mem []byte) error {
	if x.t.Name == "" {
		return nil
	}
	dst, src := mem[x.at:x.at+x.size()], x.t.Data
	if x.typ != x.t.Type {
		values, err := x.t.Floats()
		if err != nil {
			return err
		}
		src = make([]byte, len(dst))
		x.typ.Encode(src, values)
	}
	x.t.Data = nil
	if x.paired == 0 {
		copy(dst, src)
		return nil
	}
	// The rows of each head as llama.cpp's converter does with q and k, so that an
	// adapter trained on the original fits such a file.
	row := len(dst) / x.t.Shape[0]
	for r := range x.t.Shape[0] {
		copy(dst[r*row:(r+1)*row], src[unpaired(r, x.paired)*row:])
	}
	return nil
}

func (v vector) put(mem []byte, values []float32) {
	if v.n > 0 {
		format.F32.Encode(mem[v.at:], values)
	}
}

func (v vector) of(mem []byte) []float32 {
	values := make([]float32, v.n)
	format.F32.Decode(values, mem[v.at:])
	return values
}

// parts makes the parts of an image on a device, of so many modules.
func (im *Image) parts(s kernels.Staged, modules int) (*nn.Adapter, error) {
	out := &nn.Adapter{Parts: make([]*nn.Part, modules)}
	var err error
	weight := func(x matrix) (w kernels.Prepared) {
		if err != nil || x.t.Name == "" {
			return nil
		}
		if w, err = s.Weight(x.at, kernels.Weight{Name: x.t.Name, Type: x.typ, N: x.t.Shape[0], K: x.t.Shape[1]}, x.use); err == nil {
			out.Bytes += w.Bytes() + kernels.Reads(w)
			if x.use == kernels.ForEmbed {
				out.Bytes += x.size() // rows are looked up where they lie
			}
		}
		return w
	}
	values := func(v vector) (b kernels.Buffer) {
		if err != nil || v.n == 0 {
			return nil
		}
		if b, err = s.Vector(v.at, v.n); err == nil {
			out.Bytes += 4 * int64(v.n)
		}
		return b
	}
	for _, p := range im.pieces {
		part := &nn.Part{Weight: weight(p.weight), Norm: values(p.norm), Shift: values(p.shift), Bias: values(p.bias), Columns: values(p.columns)}
		if p.a.t.Name != "" {
			part.LowRank = kernels.LowRank{A: weight(p.a), B: weight(p.b), Scale: p.scale}
		}
		if err != nil {
			return nil, fmt.Errorf("adapter %s: %w", im.path, err)
		}
		out.Parts[p.module] = part
	}
	return out, nil
}

package ref

import (
	"fmt"
	"math"

	"github.com/evalrun/evalrun/kernels"
)

// cache is a layer's keys and values, both [pages, heads, PageTokens, dim].
type cache struct {
	pages, heads, dim int
	k, v              []float32
}

func (c *cache) Bytes() int64 { return 4 * int64(len(c.k)+len(c.v)) }

// at is where head h of a position starts.
func (c *cache) at(page int32, h, place int) int {
	return ((int(page)*c.heads+h)*kernels.PageTokens + place) * c.dim
}

func (*Device) AllocKV(pages, heads, dim int) (kernels.KV, error) {
	if pages <= 0 || heads <= 0 || dim <= 0 {
		return nil, fmt.Errorf("allocate key-value cache: %d pages of %d heads of size %d", pages, heads, dim)
	}
	n := pages * heads * kernels.PageTokens * dim
	return &cache{pages, heads, dim, make([]float32, n), make([]float32, n)}, nil
}

func (*Device) StoreKV(kv kernels.KV, k, v kernels.Buffer, spans []kernels.Span) {
	c := kv.(*cache)
	width := c.heads * c.dim
	kernels.CheckSpans(spans, k.Len()/width, c.pages)
	ks, vs := kernels.Host(k, k.Len(), "k"), kernels.Host(v, v.Len(), "v")
	for _, s := range spans {
		for i := range s.N {
			p, row := s.Pos+i, (s.Row+i)*width
			page, place := s.Pages[p/kernels.PageTokens], p%kernels.PageTokens
			for h := range c.heads {
				copy(c.k[c.at(page, h, place):], ks[row+h*c.dim:][:c.dim])
				copy(c.v[c.at(page, h, place):], vs[row+h*c.dim:][:c.dim])
			}
		}
	}
}

func (*Device) CopyPage(kv kernels.KV, dst, src int32, n int) {
	c := kv.(*cache)
	for h := range c.heads {
		copy(c.k[c.at(dst, h, 0):], c.k[c.at(src, h, 0):][:n*c.dim])
		copy(c.v[c.at(dst, h, 0):], c.v[c.at(src, h, 0):][:n*c.dim])
	}
}

func (*Device) Attention(dst, q kernels.Buffer, kv kernels.KV, spans []kernels.Span, heads int, scale float32) {
	c := kv.(*cache)
	width := heads * c.dim
	kernels.CheckSpans(spans, q.Len()/width, c.pages)
	qs, out := kernels.Host(q, q.Len(), "q"), kernels.Host(dst, q.Len(), "dst")
	group := heads / c.heads
	for _, s := range spans {
		for i := range s.N {
			for h := range heads {
				at := (s.Row+i)*width + h*c.dim
				c.attend(out[at:][:c.dim], qs[at:][:c.dim], s.Pages, s.Pos+i+1, h/group, scale)
			}
		}
	}
}

// attend is attention of one head of one token over the first n positions.
// The softmax is taken block by block (Milakov and Gimelshein, 2018): when a
// block brings a new maximum, what was summed so far is scaled down to it.
func (c *cache) attend(out, q []float32, pages []int32, n, h int, scale float32) {
	clear(out)
	top, total := float32(math.Inf(-1)), float32(0)
	var p [kernels.PageTokens]float32
	for from := 0; from < n; from += kernels.PageTokens {
		count := min(kernels.PageTokens, n-from)
		base := c.at(pages[from/kernels.PageTokens], h, 0)
		before := top
		for j := range count {
			p[j] = 0
			for d := range c.dim {
				p[j] = float32(float32(q[d]*scale)*c.k[base+j*c.dim+d]) + p[j]
			}
			top = max(top, p[j])
		}
		var sum float32
		for j := range count {
			p[j] = exp(p[j] - top)
			sum += p[j]
		}
		shrink := exp(before - top)
		total = float32(total*shrink) + sum
		for d := range out {
			var add float32
			for j := range count {
				add = float32(p[j]*c.v[base+j*c.dim+d]) + add
			}
			out[d] = float32(out[d]*shrink) + add
		}
	}
	for d := range out {
		out[d] /= total
	}
}

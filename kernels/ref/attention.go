package ref

import (
	"fmt"
	"math"

	"github.com/evalrun/evalrun/kernels"
)

// cache is a layer's keys and values, both [pages, heads, PageTokens, dim].
type cache[F float32 | float64] struct {
	pages, heads, dim int
	k, v              []F
}

func (c *cache[F]) Bytes() int64 { return 4 * int64(len(c.k)+len(c.v)) }

// at is where head h of a position starts.
func (c *cache[F]) at(page int32, h, place int) int {
	return ((int(page)*c.heads+h)*kernels.PageTokens + place) * c.dim
}

func (*Device[F]) AllocKV(pages, heads, dim int) (kernels.KV, error) {
	if pages <= 0 || heads <= 0 || dim <= 0 {
		return nil, fmt.Errorf("allocate key-value cache: %d pages of %d heads of size %d", pages, heads, dim)
	}
	n := pages * heads * kernels.PageTokens * dim
	return &cache[F]{pages, heads, dim, make([]F, n), make([]F, n)}, nil
}

func (*Device[F]) StoreKV(kv kernels.KV, k, v kernels.Buffer, spans []kernels.Span) {
	c := kv.(*cache[F])
	width := c.heads * c.dim
	kernels.CheckSpans(spans, k.Len()/width, c.pages, 0)
	ks, vs := host[F](k, k.Len(), "k"), host[F](v, v.Len(), "v")
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

func (*Device[F]) CopyPage(kv kernels.KV, dst, src int32, n int) {
	c := kv.(*cache[F])
	for h := range c.heads {
		copy(c.k[c.at(dst, h, 0):], c.k[c.at(src, h, 0):][:n*c.dim])
		copy(c.v[c.at(dst, h, 0):], c.v[c.at(src, h, 0):][:n*c.dim])
	}
}

func (*Device[F]) Attention(dst, q kernels.Buffer, kv kernels.KV, spans []kernels.Span, heads int, o kernels.AttentionOptions) {
	c := kv.(*cache[F])
	width := heads * c.dim
	kernels.CheckSpans(spans, q.Len()/width, c.pages, o.Window)
	qs, out := host[F](q, q.Len(), "q"), host[F](dst, q.Len(), "dst")
	group := heads / c.heads
	for _, s := range spans {
		for i := range s.N {
			for h := range heads {
				at := (s.Row+i)*width + h*c.dim
				c.attend(out[at:][:c.dim], qs[at:][:c.dim], s.Pages, s.Pos+i, h/group, o)
			}
		}
	}
}

// attend is attention of one head of the token at position pos over the
// positions that it sees. The softmax is taken block by block (Milakov and
// Gimelshein, 2018): when a block brings a new maximum, what was summed so far
// is scaled down to it.
func (c *cache[F]) attend(out, q []F, pages []int32, pos, h int, o kernels.AttentionOptions) {
	clear(out)
	top, total := F(math.Inf(-1)), F(0)
	var p [kernels.PageTokens]F
	seen := kernels.FirstSeen(pos, o.Window)
	for b := seen / kernels.PageTokens; b*kernels.PageTokens <= pos; b++ {
		from := max(0, seen-b*kernels.PageTokens)
		to := min(kernels.PageTokens, pos+1-b*kernels.PageTokens)
		base := c.at(pages[b], h, 0)
		before := top
		for j := from; j < to; j++ {
			p[j] = F(o.Scale) * dot(q, c.k[base+j*c.dim:][:c.dim])
			if o.SoftCap > 0 {
				p[j] = softCap(p[j], o.SoftCap)
			}
			top = max(top, p[j])
		}
		var sum F
		for j := from; j < to; j++ {
			p[j] = exp(p[j] - top)
			sum += p[j]
		}
		shrink := exp(before - top)
		total = F(total*shrink) + sum
		for d := range out {
			var add F
			for j := from; j < to; j++ {
				add = F(p[j]*c.v[base+j*c.dim+d]) + add
			}
			out[d] = F(out[d]*shrink) + add
		}
	}
	for d := range out {
		out[d] /= total
	}
}

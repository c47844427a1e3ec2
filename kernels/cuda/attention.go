package cuda

import (
	"fmt"

	"github.com/evalrun/evalrun/kernels"
)

const page = kernels.PageTokens

// largestHead is what attention's registers hold; see src/attention.cu.
const largestHead = 512

// cache is a layer's keys and values; src/attention.cu has the layout.
type cache struct {
	pages, heads, dim int
	k, v              *block
}

func (c *cache) Bytes() int64 { return c.k.bytes + c.v.bytes }

func (d *Device) newCache(pages, heads, dim int) (*cache, error) {
	if pages <= 0 || heads <= 0 || dim <= 0 {
		return nil, fmt.Errorf("allocate key-value cache: %d pages of %d heads of size %d", pages, heads, dim)
	}
	if dim > largestHead {
		return nil, fmt.Errorf("allocate key-value cache: heads of size %d are larger than the %d that the GPU's attention takes", dim, largestHead)
	}
	c := &cache{pages: pages, heads: heads, dim: dim}
	var err error
	bytes := 4 * int64(pages) * int64(heads) * page * int64(dim)
	if c.k, err = d.heap.take(bytes); err != nil {
		return nil, fmt.Errorf("keys of %d pages: %w", pages, err)
	}
	if c.v, err = d.heap.take(bytes); err != nil {
		return nil, fmt.Errorf("values of %d pages: %w", pages, err)
	}
	return c, nil
}

func (d *Device) AllocKV(pages, heads, dim int) (kernels.KV, error) {
	c, err := d.newCache(pages, heads, dim)
	if err != nil {
		return nil, err
	}
	for _, b := range []*block{c.k, c.v} {
		if err := d.driver.Clear(b.at, b.bytes); err != nil {
			return nil, &Fault{"clear memory", err}
		}
	}
	return c, nil
}

func (d *Device) StoreKV(kv kernels.KV, k, v kernels.Buffer, spans []kernels.Span) {
	c := kv.(*cache)
	width := c.heads * c.dim
	place := c.places(spans, k.Len()/width)
	n := len(place) / 2
	d.each("storeKV", n*width, c.k.at, c.v.at, on(k, 0, "k"), on(v, 0, "v"), d.table(place), num(n), num(c.heads), num(c.dim))
}

// places are for each row of the spans its number and its place in the cache.
func (c *cache) places(spans []kernels.Span, rows int) (place []int32) {
	kernels.CheckSpans(spans, rows, c.pages, 0)
	for _, s := range spans {
		for i := range s.N {
			p := s.Pos + i
			place = append(place, int32(s.Row+i), s.Pages[p/page]*page+int32(p%page))
		}
	}
	return place
}

// RopeStoreKV is one kernel; see src/ropestore.cu. Every row is one of a span.
func (d *Device) RopeStoreKV(q, k, v kernels.Buffer, heads int, r kernels.Rotation, pos []int32, kv kernels.KV, spans []kernels.Span) bool {
	c := kv.(*cache)
	rows, width := len(pos), c.heads*c.dim
	place := c.places(spans, k.Len()/width)
	if len(place) != 2*rows || r.Dim != c.dim {
		return false
	}
	last := int32(-1)
	for _, p := range pos {
		last = max(last, p)
	}
	angles := (int(last) + 1) * r.Half
	n := rows * (heads*r.Half + c.heads*(c.dim-r.Half) + width)
	d.each("ropeStoreKV", n, on(q, rows*heads*c.dim, "q"), on(k, rows*width, "k"), on(v, rows*width, "v"), on(r.Cos, angles, "cos"), on(r.Sin, angles, "sin"),
		d.table(pos), c.k.at, c.v.at, d.table(place), num(rows), num(heads), num(c.heads), num(c.dim), num(r.Half), num(int(r.Style)))
	return true
}

func (d *Device) CopyPage(kv kernels.KV, dst, src int32, _ int) {
	c := kv.(*cache) // the places from n on hold nothing yet
	size := c.heads * page * c.dim
	d.each("copyPage", size, c.k.at, c.v.at, num(int(dst)), num(int(src)), num(size))
}

func (d *Device) Attention(dst, q kernels.Buffer, kv kernels.KV, spans []kernels.Span, heads int, o kernels.AttentionOptions) {
	n := q.Len()
	d.attention(on(dst, n, "dst"), 0, on(q, n, "q"), n, kv.(*cache), spans, heads, o)
}

// attention starts a block for each row and head; lse is 0 or where the
// logarithms of the sums go.
func (d *Device) attention(dst, lse, q uint64, n int, c *cache, spans []kernels.Span, heads int, o kernels.AttentionOptions) {
	if heads%c.heads != 0 {
		panic(fmt.Sprintf("BUG: %d query heads on %d key heads", heads, c.heads))
	}
	kernels.CheckSpans(spans, n/(heads*c.dim), c.pages, o.Window)
	var rows, pages []int32
	walk := 0 // the most pages that a row goes through
	for _, s := range spans {
		first := int32(len(pages))
		pages = append(pages, s.Pages...)
		for i := range s.N {
			rows = append(rows, int32(s.Row+i), int32(s.Pos+i), first, 0)
			walk = max(walk, (s.Pos+i)/page+1-kernels.FirstSeen(s.Pos+i, o.Window)/page)
		}
	}
	count := len(rows) / 4 * heads
	warps := 1
	for warps < 8 && warps < walk && warps*count < 132*32 {
		warps *= 2
	}
	d.launch("attention", count, 1, 32*warps, 4*(c.dim+warps*(c.dim+2)), dst, lse, q, c.k.at, c.v.at, d.table(rows), d.table(pages),
		num(heads), num(c.heads), num(c.dim), real32(o.Scale), num(o.Window), real32(o.SoftCap))
}

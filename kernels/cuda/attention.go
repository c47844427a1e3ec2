package cuda

import (
	"fmt"
	"math/bits"
	"slices"

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

// half is the bytes of the keys, or of the values.
func (c *cache) half() int64 { return 4 * int64(c.pages) * int64(c.heads) * page * int64(c.dim) }

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
	bytes := c.half()
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
		d.check("clear memory", d.driver.Clear(b.at, c.half()))
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

// decodeShape is that of attention's blocks of one row, as src/attention.cu has
// them: the kernel, heads it takes in 128 values, warps, pieces of 2 KiB a warp.
type decodeShape struct {
	name               string
	wide, warps, depth int
}

// part is the values that a group of pages leaves.
func (s decodeShape) part() int { return 8 + 512*s.wide }

func (s decodeShape) bytes() int {
	return 4 * (512*s.wide + s.warps*(s.part()+512*s.depth))
}

// decodeShapeOf is for heads of a size on a number of blocks.
func (d *Device) decodeShapeOf(dim, blocks int) decodeShape {
	deep := decodeShape{"attention_128deep", 1, 8, 8}
	switch {
	case dim == 128 && blocks <= d.driver.Processors() && deep.bytes() <= d.driver.Shared():
		return deep
	case dim == 128:
		return decodeShape{"attention_128", 1, 8, 4}
	case dim < 128:
		return decodeShape{"attention_1", 1, 8, 5}
	case dim <= 256:
		return decodeShape{"attention_2", 2, 8, 3}
	}
	return decodeShape{"attention_4", 4, 4, 3}
}

// promptShape is that of blocks that share the keys of many rows, as src/prompt.cu
// has them: the kernel's number, rows, and bytes of shared memory. There are none
// for heads of more than 256 values.
type promptShape struct{ number, rows, bytes int }

func promptShapeOf(dim int) promptShape {
	shape := func(number int) promptShape {
		wide, each := 128*number, 16/number
		return promptShape{number, 4 * each, 4 * (wide*4*each + 2*wide*page + 4*34*each)}
	}
	switch {
	case dim <= 128:
		return shape(1)
	case dim <= 256:
		return shape(2)
	}
	return promptShape{}
}

// leastPrompt is the number of blocks a processor, each with a row, that take as
// long as one block with many rows.
const leastPrompt = 4

// pageGroup is the number of pages that are joined before what came before
// joins them.
const pageGroup = 8

// attention computes spans of a few tokens, and those that a prompt brings, each
// with kernels of its own, to the same bits. lse is 0 or where the logarithms of
// the sums go.
func (d *Device) attention(dst, lse, q uint64, n int, c *cache, spans []kernels.Span, heads int, o kernels.AttentionOptions) {
	if heads%c.heads != 0 {
		panic(fmt.Sprintf("BUG: %d query heads on %d key heads", heads, c.heads))
	}
	kernels.CheckSpans(spans, n/(heads*c.dim), c.pages, o.Window)
	var rows, pages []int32
	var tiles [][6]int32
	most := 0 // groups that a row goes through
	each := heads / c.heads
	prompt, blocks := promptShapeOf(c.dim), 0
	long := func(s kernels.Span) bool { return 2*s.N*each >= prompt.rows } // fills half of a block
	for _, s := range spans {
		if long(s) {
			blocks += s.N * c.heads * ((each + 3) / 4)
		}
	}
	tiled := prompt.rows > 0 && prompt.bytes <= d.driver.Shared() && blocks >= leastPrompt*d.driver.Processors()
	for _, s := range spans {
		first := int32(len(pages))
		pages = append(pages, s.Pages...)
		if tiled && long(s) {
			for own := 0; own < s.N*each; own += prompt.rows {
				tiles = append(tiles, [6]int32{int32(s.Row), int32(s.Pos), first, int32(s.N * each), int32(own)})
			}
			continue
		}
		for i := range s.N {
			pos, from := s.Pos+i, kernels.FirstSeen(s.Pos+i, o.Window)/page/pageGroup
			entry := [4 + pageGroup]int32{int32(s.Row + i), int32(pos), first}
			copy(entry[4:], s.Pages[from*pageGroup:pos/page+1])
			rows = append(rows, entry[:]...)
			most = max(most, pos/page/pageGroup-from+1)
		}
	}
	at := []uint64{q, c.k.at, c.v.at}
	options := []uint64{num(heads), num(c.heads), num(c.dim), real32(o.Scale), num(o.Window), real32(o.SoftCap)}
	if len(tiles) > 0 {
		// Those that see most come first, so that none of them is alone at the end.
		slices.SortStableFunc(tiles, func(a, b [6]int32) int { return int(b[1] + b[4]/int32(each) - a[1] - a[4]/int32(each)) })
		var table []int32
		for _, t := range tiles {
			table = append(table, t[:]...)
		}
		d.launch(fmt.Sprint("attentionPrompt_", prompt.number), len(tiles)*c.heads, 1, 128, prompt.bytes,
			slices.Concat([]uint64{dst, lse}, at, []uint64{d.table(table), d.table(pages)}, options)...)
	}
	if len(rows) > 0 {
		d.decode(dst, lse, at, rows, pages, most, options, c, each)
	}
}

// decode takes a block for each row and up to four query heads that share a head
// of keys; where these are few, the groups of pages are shared out.
func (d *Device) decode(dst, lse uint64, at []uint64, rows, pages []int32, most int, options []uint64, c *cache, each int) {
	count := len(rows) / (4 + pageGroup) * c.heads * ((each + 3) / 4)
	shares := d.shares(count, most)
	shape, table := d.decodeShapeOf(c.dim, count*shares), d.table(rows)
	var partial uint64
	if shares > 1 {
		most = 1 << bits.Len(uint(most-1))
		mem := d.scratch(count * most * shape.part())
		defer d.release(mem)
		partial = mem.at
	}
	d.launch(shape.name, count, shares, 32*shape.warps, shape.bytes(),
		slices.Concat([]uint64{dst, lse, partial}, at, []uint64{table, d.table(pages)}, options, []uint64{num(shares), num(most)})...)
	if shares > 1 {
		d.launch("attentionJoin", 4*count, 1, 128, 0,
			slices.Concat([]uint64{dst, lse, partial, table}, options[:3], []uint64{num(128 * shape.wide), options[4], num(most)})...)
	}
}

// shares is among how many blocks those groups are shared out that would be work
// for one, a power of two so that it rarely changes as sequences grow. The kernel
// that joins them costs as much as two groups.
func (d *Device) shares(blocks, groups int) int {
	if groups < 3 || blocks == 0 {
		return 1
	}
	n := 1
	for n < groups && 2*n*blocks <= 2*d.driver.Processors() {
		n *= 2
	}
	return n
}

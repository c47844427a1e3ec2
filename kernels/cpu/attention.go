package cpu

import (
	"fmt"
	"math"

	"github.com/evalrun/evalrun/kernels"
)

const page = kernels.PageTokens

// cache is a layer's keys and values in the form of packed weights: within a
// page and head the keys are two panels of 16 positions, [2][dim][16], so that
// scores are a product with them, and the values are panels of 16 dimensions,
// [wide/16][page][16], wide being dim rounded up, for the sum over positions.
type cache struct {
	pages, heads, dim, wide int
	k, v                    []float32
}

func (c *cache) Bytes() int64 { return 4 * int64(len(c.k)+len(c.v)) }

func (c *cache) keys(p int32, h int) []float32 {
	size := page * c.dim
	return c.k[(int(p)*c.heads+h)*size:][:size]
}

func (c *cache) values(p int32, h int) []float32 {
	size := page * c.wide
	return c.v[(int(p)*c.heads+h)*size:][:size]
}

func (d *Device) AllocKV(pages, heads, dim int) (kernels.KV, error) {
	if pages <= 0 || heads <= 0 || dim <= 0 {
		return nil, fmt.Errorf("allocate key-value cache: %d pages of %d heads of size %d", pages, heads, dim)
	}
	c := &cache{pages: pages, heads: heads, dim: dim, wide: (dim + lanes - 1) / lanes * lanes}
	c.k = make([]float32, pages*heads*page*c.dim)
	c.v = make([]float32, pages*heads*page*c.wide)
	return c, nil
}

func (d *Device) StoreKV(kv kernels.KV, k, v kernels.Buffer, spans []kernels.Span) {
	c := kv.(*cache)
	width := c.heads * c.dim
	kernels.CheckSpans(spans, k.Len()/width, c.pages, 0)
	ks, vs := kernels.Host(k, k.Len(), "k"), kernels.Host(v, v.Len(), "v")
	total := 0
	for _, s := range spans {
		total += s.N
	}
	d.pool.do(len(spans)*c.heads, total*width > 2*chunkFloats, func(task, _ int) {
		s, h := spans[task/c.heads], task%c.heads
		for i := range s.N {
			p := s.Pos + i
			at, place := (s.Row+i)*width+h*c.dim, p%page
			keys := c.keys(s.Pages[p/page], h)[place/lanes*lanes*c.dim+place%lanes:]
			for j, x := range ks[at:][:c.dim] {
				keys[j*lanes] = x
			}
			values := c.values(s.Pages[p/page], h)[place*lanes:]
			row := vs[at:][:c.dim]
			j := 0
			for ; j+lanes <= len(row); j += lanes {
				*(*[lanes]float32)(values[j*page:]) = [lanes]float32(row[j:])
			}
			if j < len(row) {
				copy(values[j*page:], row[j:])
			}
		}
	})
}

func (d *Device) CopyPage(kv kernels.KV, dst, src int32, n int) {
	c := kv.(*cache)
	for h := range c.heads { // the places from n on hold nothing yet
		copy(c.keys(dst, h), c.keys(src, h))
		copy(c.values(dst, h), c.values(src, h))
	}
}

// queryTokens is the number of tokens whose heads go through a page together.
const queryTokens = 32

// partRows is the number of rows that go through a part of a page together.
const partRows = 12

func (d *Device) Attention(dst, q kernels.Buffer, kv kernels.KV, spans []kernels.Span, heads int, o kernels.AttentionOptions) {
	n := q.Len()
	d.attention(kernels.Host(dst, n, "dst"), nil, kernels.Host(q, n, "q"), kv.(*cache), spans, heads, o)
}

// attention is cut into tasks of up to 32 tokens of one sequence and one head
// of the cache with all the query heads that share it. lse is filled where it
// is not nil; see kernels.TrainDevice.
func (d *Device) attention(out, lse, qs []float32, c *cache, spans []kernels.Span, heads int, o kernels.AttentionOptions) {
	width := heads * c.dim
	if heads%c.heads != 0 {
		panic(fmt.Sprintf("BUG: %d query heads on %d key heads", heads, c.heads))
	}
	kernels.CheckSpans(spans, len(qs)/width, c.pages, o.Window)

	type part struct {
		span kernels.Span
		head int
	}
	var parts []part
	work := 0
	for _, s := range spans {
		work += s.N * (s.Pos + s.N) * width
		for from := 0; from < s.N; {
			n := min(s.N-from, queryTokens-(s.Pos+from)%queryTokens)
			for h := range c.heads {
				parts = append(parts, part{kernels.Span{Row: s.Row + from, N: n, Pos: s.Pos + from, Pages: s.Pages}, h})
			}
			from += n
		}
	}
	d.pool.do(len(parts), work > smallWork, func(task, thread int) {
		p := parts[task]
		d.attend(out, lse, qs, c, p.span, p.head, heads, o, &d.work[thread])
	})
}

// attend computes the rows of span s for the query heads of cache head h. Row
// r = i·group + g of its tiles is token i, head h·group + g.
func (d *Device) attend(dst, lse, q []float32, c *cache, s kernels.Span, h, heads int, o kernels.AttentionOptions, w *scratch) {
	group := heads / c.heads
	rows := s.N * group
	mem := w.take(rows * (c.dim + page + 2*c.wide + 3))
	cut := func(n int) (part []float32) { part, mem = mem[:n:n], mem[n:]; return part }
	qt, scores := cut(rows*c.dim), cut(rows*page)
	add, acc := cut(rows*c.wide), cut(rows*c.wide)
	top, total, shrink := cut(rows), cut(rows), cut(rows)

	at := func(i int) int { return ((s.Row+i)*heads + h*group) * c.dim }
	for i := range s.N {
		for j, x := range q[at(i):][:group*c.dim] {
			qt[i*group*c.dim+j] = x * o.Scale
		}
	}
	clear(acc)
	clear(total)
	for r := range top {
		top[r] = float32(math.Inf(-1))
	}

	last, step := s.Pos+s.N-1, max(1, partRows/group)
	for b := kernels.FirstSeen(s.Pos, o.Window) / page; b <= last/page; b++ {
		keys, values := c.keys(s.Pages[b], h), c.values(s.Pages[b], h)
		// The tokens below first see nothing of this block, it lies behind them;
		// those from whole on see it up to its end; those from end on have left
		// it behind their window.
		first, end := max(0, b*page-s.Pos), s.N
		if o.Window > 0 {
			end = min(end, b*page+page-1+o.Window-s.Pos)
		}
		whole := min(end, max(first, b*page+page-1-s.Pos))
		from := first * group
		d.path.tile(scores[from*page:], page, qt[from*c.dim:], c.dim, end*group-from, keys, c.dim*lanes, c.dim, page/lanes, false)
		for i := first; i < end; i++ {
			seen := max(0, kernels.FirstSeen(s.Pos+i, o.Window)-b*page)
			count := min(page, s.Pos+i+1-b*page)
			for r := i * group; r < (i+1)*group; r++ {
				row := scores[r*page : (r+1)*page]
				if o.SoftCap > 0 {
					softCap(row[seen:count], row[seen:count], o.SoftCap)
				}
				shrink[r] = d.path.softmaxFrom(row, seen, count, &top[r], &total[r])
			}
		}
		for i := first; i < whole; i += step {
			// Rows that see less than their last neighbour have zeros there.
			to := min(whole, i+step)
			d.sumValues(acc, add, shrink, scores, values, c, i*group, to*group, s.Pos+to-b*page)
		}
		d.sumValues(acc, add, shrink, scores, values, c, whole*group, end*group, page)
	}
	for i := range s.N {
		for g := range group {
			r := i*group + g
			if lse != nil {
				lse[(s.Row+i)*heads+h*group+g] = top[r] + float32(math.Log(float64(total[r])))
			}
			out, inv := dst[at(i)+g*c.dim:][:c.dim], 1/total[r]
			for j, x := range acc[r*c.wide:][:c.dim] {
				out[j] = x * inv
			}
		}
	}
}

// sumValues adds the weighted values of the first count positions of a block
// to rows from to to-1 of acc: the block's sum first, from zero, then acc =
// acc·shrink + sum. A row that sees fewer positions has weights of zero behind
// them, which change no sum of finite values.
func (d *Device) sumValues(acc, add, shrink, p, values []float32, c *cache, from, to, count int) {
	if from >= to {
		return
	}
	d.path.tile(add[from*c.wide:], c.wide, p[from*page:], page, to-from, values, page*lanes, count, c.wide/lanes, false)
	for r := from; r < to; r++ {
		d.path.scaleAdd(acc[r*c.wide:(r+1)*c.wide], add[r*c.wide:], shrink[r])
	}
}

// softmaxFrom is softmax over the scores from seen up to count: what lies
// before them is taken out with a score that weighs nothing, and its weight
// made zero.
func (p *path) softmaxFrom(s []float32, seen, count int, top, total *float32) float32 {
	for i := range seen {
		s[i] = float32(math.Inf(-1))
	}
	shrink := p.softmax(s, count, top, total)
	clear(s[:seen])
	return shrink
}

// softmaxGo turns the first count of a block's scores into exp(score - top),
// the rest into 0, where top is the largest score so far, and adds them to
// total. It returns the factor by which what was summed before shrinks.
func softmaxGo(s []float32, count int, top, total *float32) (shrink float32) {
	m := *top
	for _, x := range s[:count] {
		if x > m {
			m = x
		}
	}
	shrink = 1
	if m > *top {
		shrink = exp32(*top - m)
		if math.IsInf(float64(*top), -1) {
			shrink = 0
		}
	}
	var sum [8]float32
	for i, x := range s[:count] {
		e := exp32(x - m)
		s[i] = e
		sum[i%8] += e
	}
	clear(s[count:])
	*total = float32(*total*shrink) + sum8(&sum)
	*top = m
	return shrink
}

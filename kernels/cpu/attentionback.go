package cpu

import (
	"github.com/evalrun/evalrun/kernels"
)

// AttentionTrain goes through pages as Attention does, with one cache for all
// layers that are alike.
func (d *Device) AttentionTrain(dst, lse, q, k, v kernels.Buffer, runs []kernels.Run, s kernels.AttentionShape) {
	rows := q.Len() / (s.Heads * s.Dim)
	kernels.CheckRuns(runs, rows)
	spans, pages := kernels.Pages(runs)
	if pages == 0 {
		return
	}
	c := d.runs
	if c == nil || c.heads != s.KVHeads || c.dim != s.Dim || c.pages < pages {
		made, err := d.AllocKV(pages, s.KVHeads, s.Dim)
		if err != nil {
			panic("BUG: " + err.Error())
		}
		c = made.(*cache)
		d.runs = c
	}
	d.StoreKV(c, k, v, spans)
	n := rows * s.Heads * s.Dim
	d.attention(kernels.Host(dst, n, "dst"), kernels.Host(lse, rows*s.Heads, "lse"), kernels.Host(q, n, "q"), c, spans, s.Heads, s.AttentionOptions)
}

// backTokens is the number of queries that AttentionBack takes together.
const backTokens = 32

// AttentionBack gives a thread one run and one head of k and v. All products go
// through the tile: scores and dy·vᵀ with the positions across the lanes, the
// others with the dimensions across them.
func (d *Device) AttentionBack(dq, dk, dv, dy, y, lse, q, k, v kernels.Buffer, runs []kernels.Run, s kernels.AttentionShape) {
	rows := q.Len() / (s.Heads * s.Dim)
	kernels.CheckRuns(runs, rows)
	wide, narrow := rows*s.Heads*s.Dim, rows*s.KVHeads*s.Dim
	b := attentionBack{
		AttentionShape: s, path: d.path,
		dq: kernels.Host(dq, wide, "dq"), dy: kernels.Host(dy, wide, "dy"), y: kernels.Host(y, wide, "y"), q: kernels.Host(q, wide, "q"),
		dk: kernels.Host(dk, narrow, "dk"), dv: kernels.Host(dv, narrow, "dv"), k: kernels.Host(k, narrow, "k"), v: kernels.Host(v, narrow, "v"),
		lse: kernels.Host(lse, rows*s.Heads, "lse"),
	}
	work := 0
	for _, r := range runs {
		work += r.N * r.N * s.Heads * s.Dim
	}
	d.pool.do(len(runs)*s.KVHeads, work > smallWork/4, func(task, thread int) {
		if r := runs[task/s.KVHeads]; r.N > 0 {
			b.run(r, task%s.KVHeads, &d.work[thread])
		}
	})
}

// attentionBack holds the operands; all are rows of heads.
type attentionBack struct {
	kernels.AttentionShape
	path                            *path
	dq, dk, dv, dy, y, lse, q, k, v []float32
}

// backMemory is the working memory of one run and head.
type backMemory struct {
	n, w                   int       // positions and dimensions, rounded up to whole panels
	keys, values           []float32 // [n/16][dim][16]
	keyRows                []float32 // [w/16][n][16]
	dk, dv                 []float32 // [n][w]
	queries                []float32 // [32][dim], scaled
	queryRows, dyRows      []float32 // [w/16][32][16]
	p, ds, turnedP, turned []float32 // [32][n], and [n][32]
	product                []float32 // [n][w]
}

// backPart is a part of a backMemory and the values that it has.
type backPart struct {
	at   *[]float32
	size int
}

// parts sets the sizes for a run of so many tokens and tells what it needs.
func (m *backMemory) parts(tokens, dim int) (parts [13]backPart, total int) {
	m.n, m.w = padded(tokens), padded(dim)
	parts = [13]backPart{
		{&m.keys, m.n * dim}, {&m.values, m.n * dim}, {&m.keyRows, m.w * m.n}, {&m.dk, m.n * m.w}, {&m.dv, m.n * m.w},
		{&m.queries, backTokens * dim}, {&m.queryRows, m.w * backTokens}, {&m.dyRows, m.w * backTokens},
		{&m.p, backTokens * m.n}, {&m.ds, backTokens * m.n}, {&m.turnedP, m.n * backTokens}, {&m.turned, m.n * backTokens},
		{&m.product, max(m.n, backTokens) * m.w},
	}
	for _, p := range parts {
		total += p.size
	}
	return parts, total
}

func newBackMemory(tokens, dim int, s *scratch) (m backMemory) {
	parts, total := m.parts(tokens, dim)
	mem := s.take(total)
	for _, p := range parts {
		*p.at, mem = mem[:p.size:p.size], mem[p.size:]
	}
	return m
}

// run does all queries of a run whose heads share head h of k and v.
func (b *attentionBack) run(r kernels.Run, h int, s *scratch) {
	m := newBackMemory(r.N, b.Dim, s)
	narrow, group := b.KVHeads*b.Dim, b.Heads/b.KVHeads
	k, v := b.k[r.Row*narrow+h*b.Dim:], b.v[r.Row*narrow+h*b.Dim:]
	packPositions(m.keys, k, narrow, r.N, b.Dim)
	packPositions(m.values, v, narrow, r.N, b.Dim)
	packRows(m.keyRows, k, narrow, m.n, r.N, b.Dim)
	clear(m.dk)
	clear(m.dv)
	for head := h * group; head < (h+1)*group; head++ {
		for from := 0; from < r.N; from += backTokens {
			b.block(&m, r, head, from, min(backTokens, r.N-from))
		}
	}
	for t := range r.N {
		at := (r.Row+t)*narrow + h*b.Dim
		copy(b.dk[at:at+b.Dim], m.dk[t*m.w:])
		copy(b.dv[at:at+b.Dim], m.dv[t*m.w:])
	}
}

// block does the count queries from position from on.
func (b *attentionBack) block(m *backMemory, r kernels.Run, head, from, count int) {
	width, dim := b.Heads*b.Dim, b.Dim
	at := (r.Row+from)*width + head*dim
	q, dy := b.q[at:], b.dy[at:]
	for i := range count {
		for j, x := range q[i*width:][:dim] {
			m.queries[i*dim+j] = x * b.Scale
		}
	}
	first := kernels.FirstSeen(from, b.Window) / lanes * lanes // the keys that some query sees
	keys := from + count - first
	n := (keys + lanes - 1) / lanes * lanes
	b.path.tile(m.p, n, m.queries, dim, count, m.keys[first*dim:], dim*lanes, dim, n/lanes, false)
	b.path.tile(m.ds, n, dy, width, count, m.values[first*dim:], dim*lanes, dim, n/lanes, false)
	for i := range count {
		t := from + i
		lo, hi := kernels.FirstSeen(t, b.Window)-first, t+1-first
		b.scores(m.p[i*n:(i+1)*n], m.ds[i*n:(i+1)*n], lo, hi, (r.Row+t)*width+head*dim, (r.Row+t)*b.Heads+head)
	}

	packRows(m.queryRows, q, width, count, count, dim)
	packRows(m.dyRows, dy, width, count, count, dim)
	transpose(m.turnedP, count, m.p, n, count, keys)
	transpose(m.turned, count, m.ds, n, count, keys)
	b.path.tile(m.product, m.w, m.turnedP, count, keys, m.dyRows, count*lanes, count, m.w/lanes, false)
	b.path.scaleAdd(m.dv[first*m.w:][:keys*m.w], m.product, 1)
	b.path.tile(m.product, m.w, m.turned, count, keys, m.queryRows, count*lanes, count, m.w/lanes, false)
	b.path.scaleAdd(m.dk[first*m.w:][:keys*m.w], m.product, 1)
	b.path.tile(m.product, m.w, m.ds, n, count, m.keyRows[first*lanes:], m.n*lanes, keys, m.w/lanes, false)
	for i := range count {
		copy(b.dq[at+i*width:][:dim], m.product[i*m.w:])
	}
}

// scores turns the scores of a query into P and dy·vᵀ into scale·dS; only
// places lo to hi-1 are seen. The query's rows of y and dy begin at at.
func (b *attentionBack) scores(p, ds []float32, lo, hi, at, stat int) {
	var d float32
	for j, x := range b.dy[at:][:b.Dim] {
		d = float32(x*b.y[at+j]) + d
	}
	clear(p[:lo])
	clear(p[hi:])
	clear(ds[:lo])
	clear(ds[hi:])
	p, ds = p[lo:hi], ds[lo:hi]
	for j := range ds {
		ds[j] = b.Scale * (ds[j] - d)
	}
	if b.SoftCap > 0 {
		for j, x := range p {
			y := tanh32(x / b.SoftCap)
			p[j] = b.SoftCap * y
			ds[j] *= 1 - float32(y*y)
		}
	}
	b.path.exp(p, b.lse[stat])
	for j, x := range p {
		ds[j] *= x
	}
}

// packPositions packs rows of x, stride values apart, with the positions across
// the lanes: [n/16][dim][16].
func packPositions(dst, x []float32, stride, count, dim int) {
	for t := range count {
		panel := dst[t/lanes*lanes*dim+t%lanes:]
		for j, v := range x[t*stride:][:dim] {
			panel[j*lanes] = v
		}
	}
	for t := count; t%lanes != 0; t++ { // the places that fill the last panel
		for j := range dim {
			dst[t/lanes*lanes*dim+t%lanes+j*lanes] = 0
		}
	}
}

// packRows packs rows of x with the dimensions across the lanes: [dim/16][rows][16].
func packRows(dst, x []float32, stride, rows, count, dim int) {
	for p := 0; p < dim; p += lanes {
		packColumns(dst[p*rows:][:count*lanes], x[p:], stride, count, min(lanes, dim-p))
	}
}

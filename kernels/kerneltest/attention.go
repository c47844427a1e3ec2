package kerneltest

import (
	"fmt"
	"math"
	"slices"

	"github.com/evalrun/evalrun/kernels"
)

// sequence is the input of attention for tokens 0 to n-1 of one sequence.
type sequence struct {
	q, k, v []float32
	n       int
	pages   []int32
}

// shape of an attention layer.
type shape struct {
	heads, kvHeads, dim int
	window              int
	softCap             float32
}

func (s shape) options() kernels.AttentionOptions {
	return kernels.AttentionOptions{Scale: 0.3, Window: s.window, SoftCap: s.softCap}
}

// sequences makes random ones that share no page; pages are handed out in an
// order that is not ascending.
func (b bench) sequences(s shape, lengths []int) (seqs []sequence, pages int) {
	for _, n := range lengths {
		pages += (n + kernels.PageTokens - 1) / kernels.PageTokens
	}
	order := b.rand.Perm(pages)
	for _, n := range lengths {
		q := sequence{b.normal(n * s.heads * s.dim), b.normal(n * s.kvHeads * s.dim), b.normal(n * s.kvHeads * s.dim), n, nil}
		for range (n + kernels.PageTokens - 1) / kernels.PageTokens {
			q.pages = append(q.pages, int32(order[0]))
			order = order[1:]
		}
		seqs = append(seqs, q)
	}
	return seqs, pages
}

// piece is the part of a sequence that a batch computes.
type piece struct{ seq, from, to int }

// attend runs batches of pieces through a fresh cache and returns the output
// of every sequence.
func attend(b bench, dev kernels.Device, s shape, seqs []sequence, pages int, batches [][]piece) [][]float32 {
	b.Helper()
	kv, err := dev.AllocKV(pages, s.kvHeads, s.dim)
	if err != nil {
		b.Fatal(err)
	}
	poison(b, dev, kv, s, pages)
	out := make([][]float32, len(seqs))
	for i, q := range seqs {
		out[i] = make([]float32, q.n*s.heads*s.dim)
	}
	wide, narrow := s.heads*s.dim, s.kvHeads*s.dim
	for _, batch := range batches {
		var q, k, v []float32
		var spans []kernels.Span
		rows := 0
		for _, p := range batch {
			x := seqs[p.seq]
			q = append(q, x.q[p.from*wide:p.to*wide]...)
			k = append(k, x.k[p.from*narrow:p.to*narrow]...)
			v = append(v, x.v[p.from*narrow:p.to*narrow]...)
			spans = append(spans, kernels.Span{Row: rows, N: p.to - p.from, Pos: p.from, Pages: x.pages})
			rows += p.to - p.from
		}
		dev.StoreKV(kv, on(b, dev, k), on(b, dev, v), spans)
		for i := range spans { // what a window left behind is gone
			pages := slices.Clone(spans[i].Pages)
			for j := range kernels.FirstSeen(spans[i].Pos, s.window) / kernels.PageTokens {
				pages[j] = -1
			}
			spans[i].Pages = pages
		}
		dst, whole := output(b, dev, rows*wide, nil)
		dev.Attention(dst, on(b, dev, q), kv, spans, s.heads, s.options())
		got := result(b, dev, whole)
		for i, p := range batch {
			copy(out[p.seq][p.from*wide:], got[spans[i].Row*wide:][:(p.to-p.from)*wide])
		}
	}
	return out
}

// poison leaves in every page what a sequence may leave there whose numbers
// went wrong.
func poison(b bench, dev kernels.Device, kv kernels.KV, s shape, pages int) {
	bad := make([]float32, kernels.PageTokens*s.kvHeads*s.dim)
	for i := range bad {
		bad[i] = float32(math.NaN())
	}
	buf := on(b, dev, bad)
	for p := range pages {
		dev.StoreKV(kv, buf, buf, []kernels.Span{{N: kernels.PageTokens, Pages: []int32{int32(p)}}})
	}
}

// wholeBatch computes all sequences at once.
func wholeBatch(seqs []sequence) [][]piece {
	var all []piece
	for i, q := range seqs {
		all = append(all, piece{i, 0, q.n})
	}
	return [][]piece{all}
}

var attentionShapes = []shape{
	{1, 1, 1, 0, 0}, {2, 2, 8, 0, 0}, {6, 2, 8, 0, 0}, {3, 3, 16, 0, 0}, {4, 1, 24, 0, 0}, {4, 4, 64, 0, 0}, {2, 1, 67, 0, 0},
	{2, 2, 8, 1, 0}, {6, 2, 10, 8, 0}, {4, 1, 12, 31, 2}, {2, 1, 16, 32, 0}, {2, 2, 7, 33, 0}, {4, 2, 80, 50, 1.5}, {1, 1, 5, 1000, 0}, {3, 1, 24, 0, 0.7},
}

func attention(b bench) {
	for _, s := range attentionShapes {
		seqs, pages := b.sequences(s, []int{1, 31, 32, 33, 70, 97})
		got := attend(b, b.dev, s, seqs, pages, wholeBatch(seqs))
		want := attend(b, b.ref, s, seqs, pages, wholeBatch(seqs))
		for i := range got {
			near(b, fmt.Sprintf("%+v, %d tokens", s, seqs[i].n), got[i], want[i], 1e-5)
			near(b, fmt.Sprintf("%+v, %d tokens, by definition", s, seqs[i].n), got[i], brute(s, seqs[i]), 1e-5)
		}
	}
}

// copyPage: a sequence that goes on from a copy of another's half-filled page
// computes what it would have computed alone.
func copyPage(b bench) {
	s := shape{4, 2, 12, 0, 0}
	seqs, pages := b.sequences(s, []int{50, 50})
	seqs[1].k = append([]float32(nil), seqs[1].k...)
	common := 41
	copy(seqs[1].k, seqs[0].k[:common*s.kvHeads*s.dim])
	copy(seqs[1].v, seqs[0].v[:common*s.kvHeads*s.dim])
	want := attend(b, b.dev, s, seqs, pages, wholeBatch(seqs))

	kv, err := b.dev.AllocKV(pages, s.kvHeads, s.dim)
	if err != nil {
		b.Fatal(err)
	}
	narrow, wide := s.kvHeads*s.dim, s.heads*s.dim
	first := kernels.Span{N: seqs[0].n, Pages: seqs[0].pages}
	b.dev.StoreKV(kv, on(b, b.dev, seqs[0].k), on(b, b.dev, seqs[0].v), []kernels.Span{first})
	b.dev.CopyPage(kv, seqs[1].pages[0], seqs[0].pages[0], kernels.PageTokens)
	b.dev.CopyPage(kv, seqs[1].pages[1], seqs[0].pages[1], common-kernels.PageTokens)
	rest := kernels.Span{N: seqs[1].n - common, Pos: common, Pages: seqs[1].pages}
	b.dev.StoreKV(kv, on(b, b.dev, seqs[1].k[common*narrow:]), on(b, b.dev, seqs[1].v[common*narrow:]), []kernels.Span{rest})
	dst, whole := output(b, b.dev, rest.N*wide, nil)
	b.dev.Attention(dst, on(b, b.dev, seqs[1].q[common*wide:]), kv, []kernels.Span{rest}, s.heads, s.options())
	same(b, "after a copied page", result(b, b.dev, whole), want[1][common*wide:])
}

// brute is attention by its definition: all scores of a row, one softmax.
func brute(s shape, q sequence) []float32 {
	out := make([]float32, q.n*s.heads*s.dim)
	for t := range q.n {
		for h := range s.heads {
			kv := h / (s.heads / s.kvHeads)
			from := 0
			if s.window > 0 {
				from = max(0, t-s.window+1)
			}
			weights, total := make([]float64, t+1), 0.0
			for p := from; p <= t; p++ {
				var score float64
				for d := range s.dim {
					score += float64(q.q[(t*s.heads+h)*s.dim+d]) * float64(q.k[(p*s.kvHeads+kv)*s.dim+d])
				}
				score *= 0.3
				if s.softCap > 0 {
					score = float64(s.softCap) * math.Tanh(score/float64(s.softCap))
				}
				weights[p] = math.Exp(score)
				total += weights[p]
			}
			for p := from; p <= t; p++ {
				for d := range s.dim {
					out[(t*s.heads+h)*s.dim+d] += float32(weights[p] / total * float64(q.v[(p*s.kvHeads+kv)*s.dim+d]))
				}
			}
		}
	}
	return out
}

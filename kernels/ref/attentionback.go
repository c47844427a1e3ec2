package ref

import (
	"math"

	"github.com/evalrun/evalrun/kernels"
)

// heads gives the value d of head h in row t of a buffer of so many heads.
type heads[F float32 | float64] struct {
	values     []F
	count, dim int
}

func headsOf[F float32 | float64](b kernels.Buffer, count, dim int, what string) heads[F] {
	return heads[F]{host[F](b, b.Len(), what), count, dim}
}

func (h heads[F]) at(t, head int) []F { return h.values[(t*h.count+head)*h.dim:][:h.dim] }

// score is what softmax takes for query head h of row t and row u, which lie
// in one run, and the derivative of the soft cap there.
func score[F float32 | float64](q, k heads[F], t, u, h int, s kernels.AttentionShape) (value, slope F) {
	value, slope = F(s.Scale)*dot(q.at(t, h), k.at(u, h/(s.Heads/s.KVHeads))), 1
	if s.SoftCap > 0 {
		y := F(math.Tanh(float64(value) / float64(s.SoftCap)))
		value, slope = F(s.SoftCap)*y, 1-y*y
	}
	return value, slope
}

// AttentionTrain goes through the pages of Attention, for the same bits; lse is
// found on its own.
func (d *Device[F]) AttentionTrain(dst, lse, q, k, v kernels.Buffer, runs []kernels.Run, s kernels.AttentionShape) {
	rows := q.Len() / (s.Heads * s.Dim)
	kernels.CheckRuns(runs, rows)
	qs, ks := headsOf[F](q, s.Heads, s.Dim, "q"), headsOf[F](k, s.KVHeads, s.Dim, "k")
	sums := host[F](lse, rows*s.Heads, "lse")
	for _, r := range runs {
		if r.N == 0 {
			continue
		}
		span := kernels.Span{Row: r.Row, N: r.N}
		for p := range (r.N + kernels.PageTokens - 1) / kernels.PageTokens {
			span.Pages = append(span.Pages, int32(p))
		}
		kv, err := d.AllocKV(len(span.Pages), s.KVHeads, s.Dim)
		if err != nil {
			panic("BUG: " + err.Error())
		}
		d.StoreKV(kv, k, v, []kernels.Span{span})
		d.Attention(dst, q, kv, []kernels.Span{span}, s.Heads, s.AttentionOptions)
		for t := range r.N {
			for h := range s.Heads {
				top, sum := F(math.Inf(-1)), F(0)
				for u := kernels.FirstSeen(t, s.Window); u <= t; u++ {
					v, _ := score(qs, ks, r.Row+t, r.Row+u, h, s)
					top = max(top, v)
				}
				for u := kernels.FirstSeen(t, s.Window); u <= t; u++ {
					v, _ := score(qs, ks, r.Row+t, r.Row+u, h, s)
					sum += exp(v - top)
				}
				sums[(r.Row+t)*s.Heads+h] = top + F(math.Log(float64(sum)))
			}
		}
	}
}

func (*Device[F]) AttentionBack(dq, dk, dv, dy, y, lse, q, k, v kernels.Buffer, runs []kernels.Run, s kernels.AttentionShape) {
	rows, group := q.Len()/(s.Heads*s.Dim), s.Heads/s.KVHeads
	kernels.CheckRuns(runs, rows)
	sums := host[F](lse, rows*s.Heads, "lse")
	wide := func(b kernels.Buffer, what string) heads[F] { return headsOf[F](b, s.Heads, s.Dim, what) }
	narrow := func(b kernels.Buffer, what string) heads[F] { return headsOf[F](b, s.KVHeads, s.Dim, what) }
	dqs, dys, ys, qs := wide(dq, "dq"), wide(dy, "dy"), wide(y, "y"), wide(q, "q")
	dks, dvs, ks, vs := narrow(dk, "dk"), narrow(dv, "dv"), narrow(k, "k"), narrow(v, "v")
	for _, r := range runs {
		for t := r.Row; t < r.Row+r.N; t++ {
			for h := range s.Heads {
				clear(dqs.at(t, h))
			}
			for h := range s.KVHeads {
				clear(dks.at(t, h))
				clear(dvs.at(t, h))
			}
		}
		for h := range s.Heads {
			for t := r.Row; t < r.Row+r.N; t++ {
				d := dot(dys.at(t, h), ys.at(t, h))
				for u := r.Row + kernels.FirstSeen(t-r.Row, s.Window); u <= t; u++ {
					x, slope := score(qs, ks, t, u, h, s)
					p := exp(x - sums[t*s.Heads+h])
					ds := F(s.Scale) * p * (dot(dys.at(t, h), vs.at(u, h/group)) - d) * slope
					for i := range s.Dim {
						dvs.at(u, h/group)[i] += p * dys.at(t, h)[i]
						dqs.at(t, h)[i] += ds * ks.at(u, h/group)[i]
						dks.at(u, h/group)[i] += ds * qs.at(t, h)[i]
					}
				}
			}
		}
	}
}

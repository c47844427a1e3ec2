package run

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/stats"
)

// A Reduce makes one verdict of those on the repeats of a row. The zero value
// leaves each for itself.
//
//	first        the first answer's
//	mean         the mean
//	best         the best
//	majority     that of the text that most answers gave, the one seen first
//	             where several lead
//	majority@K   the same of the first K answers
//	pass@K       1 - C(n-c, K)/C(n, K), n answers of which c score the highest
//	             value: the unbiased estimate of the chance that one of K is right
type Reduce struct {
	Kind string
	K    int // 0 is all
}

// String is the reduction as task files write it.
func (r Reduce) String() string {
	if r.K > 0 {
		return r.Kind + "@" + strconv.Itoa(r.K)
	}
	return r.Kind
}

// ParseReduce reads what task files write.
func ParseReduce(s string) (Reduce, error) {
	kind, number, counted := strings.Cut(s, "@")
	r := Reduce{Kind: kind}
	if counted {
		n, err := strconv.Atoi(number)
		if err != nil || n < 1 || n > 1_000_000 {
			return r, fmt.Errorf("reduce %q: K is a whole number from 1 up", s)
		}
		r.K = n
	}
	switch kind {
	case "", "first", "mean", "best":
		if !counted {
			return r, nil
		}
	case "majority":
		return r, nil
	case "pass":
		if counted {
			return r, nil
		}
	}
	return r, fmt.Errorf("reduce is %q (known: first, mean, best, majority, majority@K, pass@K)", s)
}

// reduced is one score a row of a judge's verdicts, which are in sample order, and
// the row's index.
func (t *Tally) reduced(judge int) (out []core.Score, index []int) {
	vs := t.verdicts[judge]
	for from := 0; from < len(vs); {
		to := from
		for to < len(vs) && int(vs[to].place)/t.repeats == int(vs[from].place)/t.repeats {
			to++
		}
		out = append(out, t.reduceRow(judge, vs[from:to]))
		index = append(index, int(vs[from].place)/t.repeats)
		from = to
	}
	return out, index
}

// reduceRow reduces the verdicts on one row.
func (t *Tally) reduceRow(judge int, row []verdict) core.Score {
	j := t.judges[judge]
	var judged []verdict
	for _, v := range row {
		if v.skip == 0 && !v.dropped {
			judged = append(judged, v)
		}
	}
	if len(judged) == 0 {
		return t.score(judge, row[0])
	}
	info := j.Metric.Info()
	values, votes := make([]float64, len(judged)), make([]uint64, len(judged))
	for i, v := range judged {
		values[i], votes[i] = v.value, v.text
	}
	value, at, ok := ReduceRow(j.Reduce, values, votes, info.High, info.HigherIsBetter)
	switch k := j.Reduce.K; {
	case !ok:
		return core.Score{Skipped: fmt.Sprintf("%s needs %d answers a row: --repeat %d", j.Reduce, k, k)}
	case at < 0:
		return core.Score{Value: value}
	}
	return t.score(judge, judged[at])
}

// ReduceRow reduces the values of a row's answers, which are in their order; votes are
// equal where the judged texts are, and only a majority looks at them. at is the
// answer whose value it is, −1 where it is no single one's. It is not ok where
// there are no answers, or fewer than the reduction needs. High and higherIsBetter
// are the metric's.
func ReduceRow[V comparable](r Reduce, values []float64, votes []V, high float64, higherIsBetter bool) (value float64, at int, ok bool) {
	n := len(values)
	if n < max(r.K, 1) {
		return math.NaN(), -1, false
	}
	switch r.Kind {
	case "mean":
		return stats.Mean(values), -1, true
	case "pass":
		right := 0
		for _, v := range values {
			if v == high {
				right++
			}
		}
		return stats.PassAtK(n, right, r.K), -1, true
	case "majority":
		if r.K > 0 {
			n = r.K
		}
		count := map[V]int{}
		for _, v := range votes[:n] {
			count[v]++
		}
		for i, v := range votes[:n] {
			if count[v] > count[votes[at]] {
				at = i
			}
		}
	case "best":
		for i, v := range values {
			if better := v > values[at]; math.IsNaN(values[at]) || better == higherIsBetter && v != values[at] {
				at = i
			}
		}
	}
	return values[at], at, true
}

// aggregate combines a judge's verdicts.
func (t *Tally) aggregate(i int, buf *[]core.Score) core.Aggregate {
	j := t.judges[i]
	*buf = t.scores(i, *buf)
	if j.Reduce.Kind == "" {
		a := j.Metric.Aggregate(*buf)
		t.widen(j.Metric.Info(), *buf, func(k int) int { return int(t.verdicts[i][k].place) / t.repeats }, &a)
		return a
	}
	rows, index := t.reduced(i)
	a := j.Metric.Aggregate(rows)
	if info := j.Metric.Info(); info.Binary && (j.Reduce.Kind == "mean" || j.Reduce.Kind == "pass") && a.N > 0 {
		values := make([]float64, 0, len(rows)) // they are no longer all or nothing
		for _, s := range rows {
			if s.Skipped == "" && !s.Dropped {
				values = append(values, s.Value)
			}
		}
		interval := stats.MeanInterval(values, info.Low, info.High, 0.95)
		a.Low95, a.High95, a.Method = interval.Low, interval.High, "student-t"
	}
	t.widen(j.Metric.Info(), rows, func(k int) int { return index[k] }, &a)
	return a
}

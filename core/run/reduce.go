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

// reduced is one score a row of a judge's verdicts, which are in sample order.
func (t *Tally) reduced(judge int) []core.Score {
	var out []core.Score
	vs := t.verdicts[judge]
	for from := 0; from < len(vs); {
		to := from
		for to < len(vs) && int(vs[to].place)/t.repeats == int(vs[from].place)/t.repeats {
			to++
		}
		out = append(out, t.reduceRow(judge, vs[from:to]))
		from = to
	}
	return out
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
	if k := j.Reduce.K; len(judged) < k {
		return core.Score{Skipped: fmt.Sprintf("%s needs %d answers a row: --repeat %d", j.Reduce, k, k)}
	}
	if j.Reduce.Kind == "majority" && j.Reduce.K > 0 {
		judged = judged[:j.Reduce.K]
	}
	switch j.Reduce.Kind {
	case "majority":
		votes := map[uint64]int{}
		for _, v := range judged {
			votes[v.text]++
		}
		best := judged[0]
		for _, v := range judged {
			if votes[v.text] > votes[best.text] {
				best = v
			}
		}
		return t.score(judge, best)
	case "mean":
		values := make([]float64, len(judged))
		for i, v := range judged {
			values[i] = v.value
		}
		return core.Score{Value: stats.Mean(values)}
	case "best":
		best := judged[0]
		for _, v := range judged {
			if better := v.value > best.value; math.IsNaN(best.value) || better == info.HigherIsBetter && v.value != best.value {
				best = v
			}
		}
		return t.score(judge, best)
	case "pass":
		right := 0
		for _, v := range judged {
			if v.value == info.High {
				right++
			}
		}
		return core.Score{Value: stats.PassAtK(len(judged), right, j.Reduce.K)}
	}
	return t.score(judge, judged[0])
}

// aggregate combines a judge's verdicts.
func (t *Tally) aggregate(i int, buf *[]core.Score) core.Aggregate {
	j := t.judges[i]
	*buf = t.scores(i, *buf)
	if j.Reduce.Kind == "" {
		a := j.Metric.Aggregate(*buf)
		t.widen(i, j.Metric.Info(), *buf, &a)
		return a
	}
	rows := t.reduced(i)
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
	return a
}

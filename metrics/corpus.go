package metrics

import (
	"context"
	"fmt"
	"slices"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/stats"
)

// A corpusMetric's number is made of sums over all items, not of their mean:
// the value of an item is what combine makes of its own sums.
type corpusMetric struct {
	info core.MetricInfo
	// sums gives an item's sums, one for each of info.Parts.
	sums func(*core.Item) []float64
	// combine makes the number; item says that the sums are of one item.
	combine func(sums []float64, item bool) float64
}

// Info describes the metric.
func (m *corpusMetric) Info() core.MetricInfo { return m.info }

// Score judges each item; an error comes only from the context.
func (m *corpusMetric) Score(ctx context.Context, items []core.Item) ([]core.Score, error) {
	scores := make([]core.Score, len(items))
	for i := range items {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("score item %s: %w", items[i].ID, err)
		}
		if len(items[i].Targets) == 0 {
			scores[i].Skipped = "the row has no target"
			continue
		}
		it := items[i]
		if it.ExtractFailed { // an empty answer, so that its reference counts
			scores[i] = failed(extractionFailed)
			it.Text = ""
		} else {
			scores[i].Extracted = it.Text
		}
		sums := m.sums(&it)
		scores[i].Value = m.combine(slices.Clone(sums), true)
		scores[i].Parts = map[string]float64{}
		for k, v := range sums {
			scores[i].Parts[m.info.Parts[k]] = v
		}
	}
	return scores, nil
}

// maxDraws bounds the rows that the bootstrap of an interval draws in all.
const maxDraws = 20_000_000

// Aggregate combines the sums of all judged items. The interval is the
// percentile bootstrap's over items.
func (m *corpusMetric) Aggregate(scores []core.Score) core.Aggregate {
	a, rows := m.point(scores)
	if a.N == 0 {
		return a
	}
	resamples := min(max(maxDraws/len(rows), 100), 1000)
	interval := stats.BootstrapSums(rows, len(m.info.Parts), resamples, 0, 0.95, func(sums []float64) float64 { return m.combine(sums, false) })
	a.Low95, a.High95, a.Method = interval.Low, interval.High, "bootstrap"
	return a
}

// point is Aggregate without an interval, and the sums of the judged items.
func (m *corpusMetric) point(scores []core.Score) (core.Aggregate, [][]float64) {
	a, judged := core.Judged(scores)
	if a.N == 0 {
		return a, nil
	}
	columns := len(m.info.Parts)
	rows, total := make([][]float64, len(judged)), make([]float64, columns)
	for k, i := range judged {
		rows[k] = make([]float64, columns)
		for c, name := range m.info.Parts {
			rows[k][c] = scores[i].Parts[name]
			total[c] += rows[k][c]
		}
	}
	a.Score = m.combine(total, false)
	return a, rows
}

package metrics

import (
	"cmp"
	"context"
	"math"
	"slices"

	"github.com/evalrun/evalrun/core"
)

// Bounds of the search for a constant answer where every target is a candidate:
// so many candidates are tried on so many rows, and the best of them on all.
const (
	maxCandidates = 200
	firstRows     = 100
	finalists     = 12
)

// Baseline gives the score that the best constant answer would have on these
// targets, and that answer: the line that a model has to beat. It is
// deterministic. ok is false where a constant answer means nothing (answers
// chosen by log-likelihood) or where there are no targets.
//
// For an accuracy the answer is the most frequent target, for stsb the median
// of the targets (it minimises the absolute error), and for the ROUGE family
// the best of up to 200 targets: evenly spread over the rows, tried on 100 of
// them, and the best twelve on all. For humaneval it is 0 by definition: no constant text solves a
// problem that it has not seen.
func Baseline(metric core.Metric, task *core.Task, targets [][]string) (score float64, answer string, ok bool) {
	info := metric.Info()
	if len(targets) == 0 {
		return 0, "", false
	}
	switch {
	case info.Name == "humaneval":
		return 0, "", true
	case slices.Contains(info.Needs, "judge"), slices.Contains(info.Needs, "rolling"),
		slices.Contains(info.Needs, "scores") && (!info.Binary || !slices.Contains(info.Needs, "choices") || task == nil || len(task.Labels) == 0):
		return 0, "", false
	case slices.Contains(info.Needs, "scores"):
		counts := countTargets(targets)
		answer = mostFrequent(counts)
		return float64(counts[answer]) / float64(len(targets)), answer, true
	case info.Name == "stsb":
		answer, ok = medianTarget(targets)
		if !ok {
			return 0, "", false
		}
		return constant(metric, task, targets, answer)
	case info.Binary:
		// Different spellings of one label ("1" and "1.0") may add up, so the
		// few most frequent ones are tried for real.
		counts := countTargets(targets)
		return bestConstant(metric, task, targets, frequentFirst(counts, 16))
	}
	answers := candidates(targets)
	if len(answers) > finalists {
		answers = bestFew(metric, task, spread(targets, firstRows), answers)
	}
	return bestConstant(metric, task, targets, answers)
}

// bestFew gives the finalists of a first round on a few rows.
func bestFew(metric core.Metric, task *core.Task, targets [][]string, answers []string) []string {
	type tried struct {
		answer string
		score  float64
	}
	var all []tried
	for _, answer := range answers {
		if score, _, ok := constant(metric, task, targets, answer); ok {
			all = append(all, tried{answer, score})
		}
	}
	slices.SortStableFunc(all, func(a, b tried) int { return cmp.Compare(b.score, a.score) })
	var best []string
	for _, t := range all[:min(len(all), finalists)] {
		best = append(best, t.answer)
	}
	return best
}

// constant scores one answer on all targets.
func constant(metric core.Metric, task *core.Task, targets [][]string, answer string) (float64, string, bool) {
	items := make([]core.Item, len(targets))
	for i, t := range targets {
		items[i] = core.Item{ID: "baseline", Task: task, Raw: answer, Text: answer, Targets: t}
	}
	scores, err := metric.Score(context.Background(), items)
	if err != nil || len(scores) != len(items) {
		return 0, "", false
	}
	var a core.Aggregate
	if c, ok := metric.(*corpusMetric); ok {
		a, _ = c.point(scores) // without the interval, which costs most
	} else {
		a = metric.Aggregate(scores)
	}
	return a.Score, answer, a.Skip == "" && !math.IsNaN(a.Score)
}

func bestConstant(metric core.Metric, task *core.Task, targets [][]string, answers []string) (score float64, answer string, ok bool) {
	for _, candidate := range answers {
		s, _, good := constant(metric, task, targets, candidate)
		if good && (!ok || s > score) {
			score, answer, ok = s, candidate, true
		}
	}
	return score, answer, ok
}

func countTargets(targets [][]string) map[string]int {
	counts := map[string]int{}
	for _, ts := range targets {
		for i, t := range ts {
			if !slices.Contains(ts[:i], t) {
				counts[t]++
			}
		}
	}
	return counts
}

// frequentFirst gives up to most answers, the most frequent first and equals
// in alphabetical order.
func frequentFirst(counts map[string]int, most int) []string {
	all := make([]string, 0, len(counts))
	for t := range counts {
		all = append(all, t)
	}
	slices.Sort(all)
	slices.SortStableFunc(all, func(a, b string) int { return counts[b] - counts[a] })
	return all[:min(len(all), most)]
}

func mostFrequent(counts map[string]int) string {
	if all := frequentFirst(counts, 1); len(all) > 0 {
		return all[0]
	}
	return ""
}

// medianTarget gives the lower median of the targets that are numbers.
func medianTarget(targets [][]string) (string, bool) {
	type numbered struct {
		value float64
		text  string
	}
	var all []numbered
	for _, ts := range targets {
		if len(ts) == 0 {
			continue
		}
		if v, ok := pyFloat(ts[0]); ok && !math.IsNaN(v) {
			all = append(all, numbered{v, ts[0]})
		}
	}
	if len(all) == 0 {
		return "", false
	}
	slices.SortStableFunc(all, func(a, b numbered) int { return cmp.Compare(a.value, b.value) })
	return all[(len(all)-1)/2].text, true
}

// candidates gives up to maxCandidates distinct targets, evenly spread, each
// row's first.
func candidates(targets [][]string) []string {
	var distinct []string
	seen := map[string]bool{}
	for _, ts := range targets {
		if len(ts) > 0 && !seen[ts[0]] {
			seen[ts[0]] = true
			distinct = append(distinct, ts[0])
		}
	}
	return spread(distinct, maxCandidates)
}

// spread takes up to n elements at even distances.
func spread[T any](all []T, n int) []T {
	if len(all) <= n {
		return all
	}
	out := make([]T, n)
	for i := range out {
		out[i] = all[i*len(all)/n]
	}
	return out
}

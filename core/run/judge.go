package run

import (
	"fmt"
	"hash/fnv"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/extract"
)

// A Judge is one metric in one profile, on what one extraction gives.
type Judge struct {
	Metric  core.Metric
	Profile core.Profile
	// As is the task's own word for the metric and its settings; empty is none.
	As string
	// Pipeline names the extraction; empty is the task's own.
	Pipeline string
	// Reduce makes one verdict of those on a row's repeats.
	Reduce Reduce

	steps *extract.Pipeline // nil takes the answer as it is
}

// Name tells the judge's verdicts from those of others in its profile:
// METRIC[:AS][,PIPELINE][ REDUCE], as in "exact_match,strict majority".
func (j Judge) Name() string {
	name := j.Metric.Info().Name
	if j.As != "" {
		name += ":" + j.As
	}
	if j.Pipeline != "" {
		name += "," + j.Pipeline
	}
	if j.Reduce.Kind != "" {
		name += " " + j.Reduce.String()
	}
	return name
}

// info is the metric's, under the judge's name.
func (j Judge) info() core.MetricInfo {
	info := j.Metric.Info()
	info.Name = j.Name()
	return info
}

// text is what the judge takes for the answer.
func (j Judge) text(response string) (text string, found bool) {
	if j.steps == nil {
		return response, true
	}
	return j.steps.Apply(response)
}

// SplitName takes a judge's name apart: the metric's own, and what reduces its
// verdicts.
func SplitName(name string) (metric string, reduce Reduce) {
	if at := strings.LastIndexByte(name, ' '); at >= 0 {
		if r, err := ParseReduce(name[at+1:]); err == nil {
			name, reduce = name[:at], r
		}
	}
	metric, _, _ = strings.Cut(name, ",")
	metric, _, _ = strings.Cut(metric, ":")
	return metric, reduce
}

// vote is the same for answers that count as one in a majority.
func (j Judge) vote(response string) string {
	text, _ := j.text(response)
	h := fnv.New64a()
	_, _ = io.WriteString(h, text)
	return strconv.FormatUint(h.Sum64(), 36)
}

// Judges makes a task's judges: each metric in the profiles that belong to own,
// on every pipeline that it judges. A metric that make cannot give ends it. An
// error of the task's own is a *SpecError.
func Judges(task *core.Task, own core.Profile, make func(core.MetricSpec, core.Profile) (core.Metric, error)) ([]Judge, error) {
	pipelines := task.Pipelines
	if len(pipelines) == 0 {
		pipelines = []core.Pipeline{{Steps: task.Extract}}
	}
	var judges []Judge
	for i, spec := range task.Metrics {
		reduce, err := ParseReduce(spec.Reduce)
		if err != nil {
			return nil, &SpecError{i, err}
		}
		known := slices.ContainsFunc(pipelines, func(p core.Pipeline) bool { return p.Name == spec.Extract })
		if spec.Extract != "" && !known {
			return nil, &SpecError{i, fmt.Errorf("extract has no pipeline %q", spec.Extract)}
		}
		for _, pipeline := range pipelines {
			if spec.Extract != "" && spec.Extract != pipeline.Name {
				continue
			}
			var steps *extract.Pipeline
			if len(pipeline.Steps) > 0 {
				if steps, err = extract.New(pipeline.Steps); err != nil {
					return nil, &SpecError{i, err}
				}
			}
			for _, profile := range Profiles(own) {
				metric, err := make(spec, profile)
				if err != nil {
					return nil, err
				}
				if profile != own && slices.Contains(metric.Info().Needs, "judge") {
					continue // one verdict is enough, and each costs a request
				}
				judges = append(judges, Judge{Metric: metric, Profile: profile, As: spec.As, Pipeline: pipeline.Name, Reduce: reduce, steps: steps})
			}
		}
	}
	for i, j := range judges {
		for _, other := range judges[:i] {
			if j.Profile == other.Profile && j.Name() == other.Name() {
				return nil, &SpecError{-1, fmt.Errorf("two metrics are called %q: as: WORD beside name: tells them apart", strings.TrimSpace(j.Name()))}
			}
		}
	}
	return judges, nil
}

// A SpecError is a mistake in a task's metrics.
type SpecError struct {
	Index int // of the metric, or -1
	Err   error
}

// Error gives the mistake.
func (e *SpecError) Error() string { return e.Err.Error() }

// Unwrap gives the cause.
func (e *SpecError) Unwrap() error { return e.Err }

package predict

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/evalrun/evalrun/core/complexity"
	"github.com/evalrun/evalrun/core/record"
	"github.com/evalrun/evalrun/core/stats"
	"github.com/evalrun/evalrun/results"
	"github.com/evalrun/evalrun/results/reference"
)

// FromRun makes points of a run's tasks: features of the prompts and targets as
// they were asked and stored, and scores of its columns. A column with an adapter
// is a fine-tuned model, and the column of the same model without one is its
// base; GPT-4 is a column whose model is called so, and of the report's tasks else
// the report's figure. A task that no column with an adapter answered gives no
// point, and the notes say so.
func FromRun(f *results.Folder) (points []Point, notes []string, err error) {
	scores, err := f.Scores()
	if err != nil {
		return nil, nil, err
	}
	roles := rolesOf(f.Manifest.Config.Models)
	byTask := map[string]*Point{}
	var order []string
	for _, s := range firstScores(&scores) {
		if s.Score == nil {
			continue
		}
		v := float64(*s.Score)
		if s.Better == "lower" || v < 0 || v > 1 {
			notes = append(notes, fmt.Sprintf("%s of run %s is left out: %s is not a score from 0 to 1 of which more is better", s.Task, f.Manifest.ID, s.Metric))
			continue
		}
		p := byTask[s.Task]
		if p == nil {
			nan := math.NaN()
			p = &Point{Task: s.Task, Origin: f.Manifest.ID, Base: nan, Tuned: nan, Best: nan, Rival: nan}
			byTask[s.Task] = p
			order = append(order, s.Task)
		}
		switch roles[s.Model] {
		case tunedRole:
			if p.Best = max(v, or(p.Best, v)); math.IsNaN(p.Tuned) {
				p.Tuned = v
			} else {
				notes = append(notes, fmt.Sprintf("%s of run %s: of several adapters the first counts, %s is left out", s.Task, f.Manifest.ID, s.Model))
			}
		case baseRole:
			p.Base = or(p.Base, v)
		case rivalRole:
			p.Rival = or(p.Rival, v)
		}
	}
	meters, err := measureRun(f)
	if err != nil {
		return nil, nil, err
	}
	for _, task := range order {
		p := byTask[task]
		var h complexity.Heuristics
		if m := meters[task]; m != nil {
			h = m.Heuristics()
		}
		switch {
		case math.IsNaN(p.Tuned):
			notes = append(notes, fmt.Sprintf("%s of run %s is left out: no model with an adapter answered it", task, f.Manifest.ID))
			continue
		case h.Rows < leastRows:
			notes = append(notes, fmt.Sprintf("%s of run %s is left out: %d rows were asked, %d are needed", task, f.Manifest.ID, h.Rows, leastRows))
			continue
		}
		if t, ok := reference.Lookup(task); ok && math.IsNaN(p.Rival) {
			p.Rival = t.Base[reference.GPT4]
		}
		p.Features = Features(&h, TrainExamples(task))
		points = append(points, *p)
	}
	return points, notes, nil
}

type role int

const (
	otherRole role = iota
	baseRole
	tunedRole
	rivalRole
)

// rolesOf tells what each column stands for. A base is the same model without an
// adapter; where no column has an adapter there is none.
func rolesOf(models []results.ModelConfig) map[string]role {
	roles := map[string]role{}
	for _, m := range models {
		if m.Adapter == "" {
			continue
		}
		roles[m.Label] = tunedRole
		for _, b := range models {
			if b.Adapter == "" && b.Model == m.Model && b.Backend == m.Backend {
				roles[b.Label] = baseRole
			}
		}
	}
	for _, m := range models {
		if strings.HasPrefix(m.Model, reference.GPT4) && roles[m.Label] == otherRole {
			roles[m.Label] = rivalRole
		}
	}
	return roles
}

// firstScores are those of each task's first metric in the run's own profile.
func firstScores(s *results.Scores) []results.Score {
	metric := map[string]string{}
	var out []results.Score
	for _, line := range s.Tasks {
		if line.Profile != s.Own() {
			continue
		}
		if metric[line.Task] == "" {
			metric[line.Task] = line.Metric
		}
		if metric[line.Task] == line.Metric {
			out = append(out, line)
		}
	}
	return out
}

// measureRun measures each task's stored samples, each once: as its first column
// was asked.
func measureRun(f *results.Folder) (map[string]*complexity.Meter, error) {
	meters := map[string]*complexity.Meter{}
	model := map[string]string{}
	seen := map[record.Key]bool{}
	err := f.Stored(func(r *record.Record) bool {
		if model[r.Task] == "" {
			model[r.Task], meters[r.Task] = r.Model, new(complexity.Meter)
		}
		if r.Model != model[r.Task] || r.Repeat > 0 || seen[r.Key()] {
			return true
		}
		seen[r.Key()] = true
		prompt := r.Prompt
		if n := len(r.Messages); n > 0 {
			prompt = r.Messages[n-1].Content
		}
		target := ""
		if len(r.Targets) > 0 {
			target = r.Targets[0]
		}
		meters[r.Task].Add(prompt, target)
		return true
	})
	return meters, err
}

// or is v, or the other where v is not known.
func or(v, other float64) float64 {
	if math.IsNaN(v) {
		return other
	}
	return v
}

// complete gives points that lack the number of training rows the median of those
// that have it.
func complete(points []Point) (notes []string) {
	column := len(reference.HeuristicNames()) - 1
	var known []float64
	var missing []*Point
	for i := range points {
		if v := points[i].Features[column]; math.IsNaN(v) {
			missing = append(missing, &points[i])
		} else {
			known = append(known, v)
		}
	}
	for _, p := range missing {
		p.Features = slices.Clone(p.Features)
		p.Features[column] = stats.Percentile(known, 50)
		notes = append(notes, fmt.Sprintf("%s (%s): the number of training rows is not known; %.0f, the median of the others, stands in for it", p.Task, p.Origin, p.Features[column]))
	}
	return notes
}

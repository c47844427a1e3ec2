package predict

import (
	_ "embed"
	"encoding/csv"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/evalrun/evalrun/core/complexity"
	"github.com/evalrun/evalrun/core/stats"
	"github.com/evalrun/evalrun/results/reference"
)

// The sets of features. They are of the same name and of other prompts, so that a
// prediction rests on one of them alone.
const (
	// Own are measured with the prompts of the tasks that come with evalrun.
	Own = "own"
	// Published are those of Table 13, measured with the report's prompts.
	Published = "published"
)

// Features are the fourteen heuristics of Table 13, in the order of
// reference.HeuristicNames. trainExamples may be NaN.
func Features(h *complexity.Heuristics, trainExamples float64) []float64 {
	in, out, both := h.Input.Tokens, h.Output.Tokens, h.Example.Tokens
	return []float64{
		float64(in.P95), float64(in.Mean), float64(in.StdSample),
		float64(out.P95), float64(out.Mean), float64(out.StdSample),
		float64(both.Mean), float64(both.P95), float64(both.StdSample),
		float64(h.Rouge.F.Mean), float64(h.Rouge.F.StdSample),
		float64(h.Compressibility.Mean), float64(h.Compressibility.StdSample),
		trainExamples,
	}
}

// TrainExamples is the number of training rows of a task of the report, NaN of
// any other.
func TrainExamples(task string) float64 {
	for _, m := range reference.Table13() {
		if m.Task == task {
			return m.Heuristics[len(m.Heuristics)-1]
		}
	}
	return math.NaN()
}

// A Row is a task's line in a table of features.
type Row struct {
	Task string
	// Rows were measured, of the part train or evaluation.
	Rows int
	Part string
	// Prompt is the SHA-256 of the prompt template in hexadecimal.
	Prompt   string
	Features []float64
}

// leastRows is the number of measured rows below which a task teaches nothing.
const leastRows = 20

//go:generate sh -c "test -n '$DATA' && go run ../.. complexity ../../tasks/*.yaml --data '$DATA' --csv > features.csv.new && mv features.csv.new features.csv"

// features.csv is what evalrun complexity --csv gives for the tasks that come
// with evalrun. It holds figures only. To make it again, after a prompt has been
// changed: DATA=/absolute/folder go generate ./results/predict
//
//go:embed features.csv
var ownFeatures string

// OwnRows is the committed table of features of evalrun's own prompts.
func OwnRows() []Row {
	rows, err := ReadRows(strings.NewReader(ownFeatures))
	if err != nil {
		panic("BUG: features.csv: " + err.Error())
	}
	return rows
}

func rowHeader() []string {
	return append([]string{"task", "rows", "part", "prompt_sha256"}, reference.HeuristicNames()...)
}

// WriteRows writes a table of features as CSV, with four decimals as Table 13 has
// at most.
func WriteRows(w io.Writer, rows []Row) error {
	out := csv.NewWriter(w)
	if err := out.Write(rowHeader()); err != nil {
		return err
	}
	for _, r := range rows {
		cells := []string{r.Task, strconv.Itoa(r.Rows), r.Part, r.Prompt}
		for _, v := range r.Features {
			cell := strconv.FormatFloat(math.Round(v*1e4)/1e4, 'f', -1, 64)
			if math.IsNaN(v) {
				cell = ""
			}
			cells = append(cells, cell)
		}
		if err := out.Write(cells); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}

// ReadRows reads what WriteRows wrote. An empty cell is NaN.
func ReadRows(r io.Reader) ([]Row, error) {
	lines, err := csv.NewReader(r).ReadAll()
	if err != nil {
		return nil, err
	}
	if len(lines) == 0 || !slices.Equal(lines[0], rowHeader()) {
		return nil, fmt.Errorf("the columns are not %s", strings.Join(rowHeader(), ","))
	}
	var out []Row
	for i, cells := range lines[1:] {
		row := Row{Task: cells[0], Part: cells[2], Prompt: cells[3]}
		if row.Rows, err = strconv.Atoi(cells[1]); err != nil {
			return nil, fmt.Errorf("line %d: rows: %w", i+2, err)
		}
		for _, cell := range cells[4:] {
			v := math.NaN()
			if cell != "" {
				if v, err = strconv.ParseFloat(cell, 64); err != nil {
					return nil, fmt.Errorf("line %d: %w", i+2, err)
				}
			}
			row.Features = append(row.Features, v)
		}
		out = append(out, row)
	}
	return out, nil
}

// A Point is a task of which both the features and what fine-tuning gave are
// known. NaN stands for a score that was not measured.
type Point struct {
	Task string `json:"task"`
	// Origin is report, or the run that measured it.
	Origin   string
	Features []float64
	// Base and Tuned are scores before and after fine-tuning, of one base model or
	// the mean of several; Best is the best after it; Rival is GPT-4's.
	Base, Tuned, Best, Rival float64
}

// A Set is the points that a prediction is made from.
type Set struct {
	// Features is Own or Published.
	Features string
	// Model is the base model whose scores are Base and Tuned; empty is the mean
	// of all.
	Model  string
	Points []Point
	// Notes say which tasks were left out, and why.
	Notes []string
}

// NewSet makes the set of the report's scores with the named features. prompts
// gives the hash of each own task's present prompt: where it is another than that
// measured, the task is left out. model is one of reference.Models, or empty for
// the mean of the ten that were fine-tuned. It reports false for any other.
func NewSet(features, model string, prompts map[string]string) (*Set, bool) {
	if model != "" && (!slices.Contains(reference.Models(), model) || model == reference.GPT4 || model == reference.GPT35) {
		return nil, false
	}
	s := &Set{Features: features, Model: model}
	known := map[string][]float64{}
	if features == Published {
		for _, m := range reference.Table13() {
			known[m.Task] = m.Heuristics
		}
	} else {
		for _, r := range OwnRows() {
			switch hash, ok := prompts[r.Task]; {
			case r.Rows < leastRows:
				s.note("%s is left out: %d rows were measured", r.Task, r.Rows)
			case ok && hash != r.Prompt:
				s.note("%s is left out: its prompt is not the one that was measured", r.Task)
			default:
				known[r.Task] = r.Features
			}
		}
	}
	for _, t := range reference.Tasks() {
		if known[t.Task] == nil {
			continue
		}
		p := Point{Task: t.Task, Origin: "report", Features: known[t.Task], Rival: t.Base[reference.GPT4]}
		p.Best, _ = t.BestFinetuned()
		if p.Base, p.Tuned = t.Base[model], t.Finetuned[model]; model == "" {
			var base, tuned []float64
			for _, m := range reference.Models() {
				if m != reference.GPT4 && m != reference.GPT35 {
					base, tuned = append(base, t.Base[m]), append(tuned, t.Finetuned[m])
				}
			}
			p.Base, p.Tuned = stats.Mean(base), stats.Mean(tuned)
		}
		s.Points = append(s.Points, p)
	}
	return s, true
}

func (s *Set) note(format string, args ...any) {
	s.Notes = append(s.Notes, fmt.Sprintf(format, args...))
}

// Add puts a point of one's own into the set, in the place of the report's point
// of the same task: with two of one task, leaving one out would leave its twin in.
func (s *Set) Add(p Point) {
	i := slices.IndexFunc(s.Points, func(have Point) bool { return have.Task == p.Task })
	if i < 0 {
		s.Points = append(s.Points, p)
		return
	}
	s.note("%s: the scores of %s take the place of those of %s", p.Task, p.Origin, s.Points[i].Origin)
	s.Points[i] = p
}

// take gives the points but those of a task, and that one, if there is one.
func (s *Set) take(task string) (kept []Point, own *Point) {
	for _, p := range s.Points {
		if p.Task == task {
			own = &p
		} else {
			kept = append(kept, p)
		}
	}
	return kept, own
}

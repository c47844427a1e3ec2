package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"strconv"
	"strings"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/dataset"
	"github.com/evalrun/evalrun/core/dataset/derive"
	"github.com/evalrun/evalrun/core/dataset/hub"
	"github.com/evalrun/evalrun/core/prompt"
	"github.com/evalrun/evalrun/core/run"
	"github.com/evalrun/evalrun/core/text"
	"github.com/evalrun/evalrun/internal/nearest"
	"github.com/evalrun/evalrun/metrics"
	"github.com/evalrun/evalrun/results"
	"github.com/evalrun/evalrun/tasks"
)

// Where rows come from, besides a folder.
const (
	dataEmbedded = "embedded"
	dataHub      = "hub"
)

// defaultLimit is the report's own: the first 1,000 rows.
const defaultLimit = 1000

// rowFlags say which rows a task gets.
type rowFlags struct {
	data  string // embedded, hub, a folder, or empty for the default
	part  dataset.Part
	limit string
	seed  uint64
	// demo says that the embedded model answers: then embedded rows are the
	// default.
	demo bool
	// anyTarget lets rows pass whose target is none of the labels.
	anyTarget bool
	// hub fetches what is not here; nil is that of the environment.
	hub *hub.Client
}

// A rowSet is a task's rows, selected and derived.
type rowSet struct {
	file      *tasks.File
	selection dataset.Selection
	// Source says where they come from, for tables and manifests.
	Source   string
	Embedded bool

	anyTarget bool
	// read is what the rows were once they have been read to the end.
	read *dataset.Summary
}

// rows settles where a task's rows come from and compiles what selects them.
// Nothing is read yet, but the hub may be asked which files there are.
func (r rowFlags) rows(ctx context.Context, file *tasks.File) (*rowSet, error) {
	t := file.Task
	source, embedded, err := r.source(ctx, file, r.part)
	if err != nil {
		return nil, err
	}
	set := &rowSet{file: file, Source: source.Name(), Embedded: embedded, anyTarget: r.anyTarget}
	set.selection.Source = source
	if set.selection.Limit, err = r.limitFor(t); err != nil {
		return nil, err
	}
	if set.selection.Columns, err = derive.Compile(t.Columns, nil, derive.Options{}); err != nil {
		return nil, deriveError(file, err)
	}
	if set.selection.Filter, err = derive.CompileFilter(t.Dataset.Filter, nil, derive.Options{}); err != nil {
		return nil, deriveError(file, err)
	}
	return set, nil
}

func (r rowFlags) limitFor(t *core.Task) (dataset.Limit, error) {
	s := r.limit
	if strings.TrimSpace(s) == "0" {
		return dataset.Limit{}, &core.UserError{Where: "--limit 0", Message: "takes no row", Hint: "write all for every row"}
	}
	if s == "" {
		n := t.Dataset.Limit
		if n == 0 {
			n = defaultLimit
		}
		s = strconv.Itoa(n)
	}
	return dataset.ParseLimit(s, r.seed)
}

// source finds a task's rows: the embedded ones, or what dataset.Open gives.
func (r rowFlags) source(ctx context.Context, file *tasks.File, part dataset.Part) (dataset.Source, bool, error) {
	t := file.Task
	own := t.Dataset.Source != "" && !strings.Contains(t.Dataset.Source, "://")
	if r.data == dataEmbedded || r.data == "" && r.demo && tasks.HasRows(t.Name) && !own {
		f, err := tasks.Rows(t.Name)
		if err != nil {
			return nil, false, &core.UserError{Where: file.Where("task"), Message: fmt.Sprintf("the task %s has no embedded rows", t.Name),
				Hint: "leave --data out, or give --data DIR"}
		}
		defer f.Close()
		b, err := io.ReadAll(f)
		if err != nil {
			return nil, false, err
		}
		src, err := dataset.Text("embedded:"+t.Name+".jsonl", string(b))
		return notes{src}, true, err
	}
	where := dataset.Where{Dir: r.data, Hub: r.hub}
	if r.data == dataHub {
		where.Dir = ""
	}
	src, err := dataset.Open(ctx, t, part, where)
	return src, false, at(file, "dataset", err)
}

// notes takes the columns that begin with an underscore out of embedded rows:
// they speak to people (who wrote the row, whether it is hard).
type notes struct{ dataset.Source }

func (n notes) Rows(ctx context.Context) iter.Seq2[dataset.Row, error] {
	return func(yield func(dataset.Row, error) bool) {
		for row, err := range n.Source.Rows(ctx) {
			for k := range row {
				if strings.HasPrefix(k, "_") {
					delete(row, k)
				}
			}
			if !yield(row, err) {
				return
			}
		}
	}
}

// at gives a user's mistake the place in the task file that led to it.
func at(file *tasks.File, key string, err error) error {
	var user *core.UserError
	if errors.As(err, &user) && user.Where == "" {
		u := *user
		u.Where = file.Where(key)
		return &u
	}
	return err
}

func deriveError(file *tasks.File, err error) error {
	var de *derive.Error
	if !errors.As(err, &de) {
		return err
	}
	if de.Index < 0 {
		return de.User(file.Where("dataset.filter"))
	}
	return de.User(file.Where("columns." + file.Task.Columns[de.Index].Name))
}

// identity tells this set of rows from others without reading them: the commit
// on the hub, the files' sizes and times, or the embedded text. It decides
// whether the same command goes on with a run.
func (s *rowSet) identity() string {
	if s.Embedded {
		if f, err := tasks.Rows(s.file.Task.Name); err == nil {
			defer f.Close()
			if b, err := io.ReadAll(f); err == nil {
				return "embedded " + results.SHA256(b)
			}
		}
		return ""
	}
	if c := dataset.Commit(s.selection.Source); c != "" {
		return "commit " + c
	}
	var b strings.Builder
	for _, p := range dataset.Paths(s.selection.Source) {
		fmt.Fprintln(&b, p)
		if info, err := os.Stat(p); err == nil {
			fmt.Fprintln(&b, info.Size(), info.ModTime().UnixNano())
		}
	}
	return "files " + results.SHA256([]byte(b.String()))
}

// count makes a pass of its own that only counts. Columns and filter are compiled
// again, so that it can go on beside another pass.
func (s *rowSet) count(ctx context.Context) (int, error) {
	own := s.selection
	var err error
	if own.Columns, err = derive.Compile(s.file.Task.Columns, nil, derive.Options{}); err != nil {
		return 0, err
	}
	if own.Filter, err = derive.CompileFilter(s.file.Task.Dataset.Filter, nil, derive.Options{}); err != nil {
		return 0, err
	}
	if own.Filter == nil {
		own.Columns = nil // they change no number of rows
	}
	n := 0
	for _, err := range own.Rows(ctx) {
		if err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// manifest is what a run's manifest says of the rows.
func (s *rowSet) manifest() results.Rows {
	m := results.Rows{Source: s.Source, Commit: dataset.Commit(s.selection.Source)}
	if s.read != nil {
		m.N, m.SHA256 = s.read.Rows, s.read.SHA256
	}
	return m
}

// counted is Rows, and notes number and digest of the rows when a pass has come
// to its end. Rows that have no canonical form leave no digest.
func (s *rowSet) counted(ctx context.Context) iter.Seq2[run.Row, error] {
	return func(yield func(run.Row, error) bool) {
		d, whole, n := dataset.NewDigest(), true, 0
		for row, err := range s.Rows(ctx) {
			if err == nil && s.read == nil && whole {
				whole = d.Add(row.ID, row.Fields) == nil
			}
			if !yield(row, err) || err != nil {
				return
			}
			n++
		}
		if s.read == nil {
			s.read = &dataset.Summary{Rows: n}
			if whole {
				s.read.SHA256 = d.Sum()
			}
		}
	}
}

// Rows yields the selected rows, each checked: the columns that the prompt and
// the target take must be there, and a target must be one of the labels.
func (s *rowSet) Rows(ctx context.Context) iter.Seq2[run.Row, error] {
	return func(yield func(run.Row, error) bool) {
		n := 0
		for p, err := range s.selection.Rows(ctx) {
			if err != nil {
				yield(run.Row{}, deriveError(s.file, err))
				return
			}
			if n == 0 {
				if err := s.checkColumns(p); err != nil {
					yield(run.Row{}, err)
					return
				}
			}
			if err := s.checkTarget(p, n == 0); err != nil {
				yield(run.Row{}, err)
				return
			}
			n++
			if !yield(run.Row{ID: p.ID, Fields: p.Fields}, nil) {
				return
			}
		}
		if n == 0 {
			none := &core.UserError{Where: s.file.Where("dataset"), Message: "no row is left: " + s.Source + " with this filter and limit gives none",
				Hint: "check filter: and --limit"}
			if s.holdsNone(ctx) {
				none.Message = s.Source + " holds no row"
				none.Hint = "put rows into it; in .csv and .tsv files the first line holds the names of the columns, and a line ends with \\n"
			}
			yield(run.Row{}, none)
		}
	}
}

// holdsNone tells whether the source is empty, whatever filter and limit say.
func (s *rowSet) holdsNone(ctx context.Context) bool {
	for range s.selection.Source.Rows(ctx) {
		return false
	}
	return true
}

// checkColumns names the columns that prompt and target take and the rows lack.
func (s *rowSet) checkColumns(p dataset.Picked) error {
	t := s.file.Task
	var names []string
	for k := range p.Fields {
		names = append(names, k)
	}
	hint := func(name string) string {
		if near := nearest.Word(name, names); near != "" {
			return fmt.Sprintf("did you mean %q?", near)
		}
		return "the columns are: " + strings.Join(sorted(names), ", ")
	}
	var problems tasks.Problems
	lacks := func(key, column string, offset int) {
		problems = append(problems, s.file.Problem(key, offset, fmt.Sprintf("the %s takes column %q, which the rows of %s lack", key, column, s.Source), hint(column)))
	}
	if t.Template == "" {
		tmpl, err := prompt.Parse(t.Prompt)
		if err != nil {
			return err
		}
		for _, c := range tmpl.Columns() {
			if _, ok := p.Fields[c.Name]; !ok {
				lacks("prompt", c.Name, c.Offset)
			}
		}
		if _, ok := p.Fields[t.Target]; !ok {
			problems = append(problems, s.file.Problem("target", -1, fmt.Sprintf("the target column %q is not in the rows of %s", t.Target, s.Source), hint(t.Target)))
		}
	}
	if _, ok := p.Fields[t.Cluster]; !ok && t.Cluster != "" {
		problems = append(problems, s.file.Problem("cluster", -1, fmt.Sprintf("the cluster column %q is not in the rows of %s", t.Cluster, s.Source), hint(t.Cluster)))
	}
	if len(problems) == 0 {
		problems = s.tryFirst(p, hint)
	}
	for _, spec := range t.Metrics {
		metric, err := metrics.New(spec, core.Strict)
		if err != nil {
			continue // a plugin's, or told where the job is made
		}
		for _, need := range metric.Info().Needs {
			column, ok := strings.CutPrefix(need, "field:")
			if _, has := p.Fields[column]; ok && !has {
				problems = append(problems, s.file.Problem("metrics", -1, fmt.Sprintf("the metric %s needs the column %q, which the rows of %s lack", spec.Name, column, s.Source), hint(column)))
			}
		}
	}
	if len(problems) > 0 {
		return problems
	}
	return nil
}

// tryFirst fills the first row in: what is wrong with it is likely wrong with
// the task.
func (s *rowSet) tryFirst(p dataset.Picked, hint func(string) string) tasks.Problems {
	filler, err := prompt.Compile(s.file.Task)
	if err == nil {
		_, err = filler.Fill(p.Fields)
	}
	var te *prompt.TemplateError
	if !errors.As(err, &te) {
		return nil
	}
	help := "docs/tasks.md tells how templates are filled in"
	var missing *prompt.MissingError
	if errors.As(err, &missing) {
		help = hint(missing.Column)
	} else if name, ok := prompt.UndefinedName(te.Err); ok {
		help = hint(name)
	}
	return tasks.Problems{s.file.Problem(te.Key, -1, fmt.Sprintf("%s, row %s of %s: %v", te.Key, p.ID, s.Source, te.Err), help)}
}

// checkTarget refuses a row whose target is none of the task's labels: scoring
// against it would be wrong whatever the model says. Where already the first
// row has none, the split itself is likely without labels.
func (s *rowSet) checkTarget(p dataset.Picked, first bool) error {
	t := s.file.Task
	if s.anyTarget || len(t.Labels) == 0 || t.Template == core.TemplateJinja || t.Choices.Any() {
		return nil
	}
	v := text.Str(p.Fields[t.Target])
	if t.HasLabel(v) {
		return nil
	}
	hint := "leave such rows out with filter:, or add the label"
	if first {
		hint = "a split whose labels are kept secret (often test) cannot be evaluated: set split: to one with labels; or add the label"
	}
	return &core.UserError{Where: s.file.Where("labels"), Message: fmt.Sprintf("row %s of %s has the target %q, which is not one of the labels", p.ID, s.Source, v), Hint: hint}
}

// job makes a task ready for one model.
func (e *evaluation) job(ctx context.Context, file *tasks.File, spec modelSpec, info core.Info) (*run.Job, *rowSet, error) {
	set, err := e.rows(ctx, file)
	if err != nil {
		return nil, nil, err
	}
	j := &run.Job{Task: file.Task, Rows: set.counted, Total: -1, Adapter: spec.Adapter, Repeat: repeats(e.flags.repeat, file.Task), Profile: core.Profile(e.flags.profile), Form: formFor(info), Family: info.Family, Free: !info.Choices}
	if j.Judges, err = e.metrics.judges(ctx, file, j.Profile); err != nil {
		return nil, nil, err
	}
	if set.read != nil {
		j.Total = set.read.Rows
	} else if set.Embedded {
		n := 0
		for _, err := range set.Rows(ctx) {
			if err != nil {
				return nil, nil, err
			}
			n++
		}
		j.Total = n
	}
	if file.Task.Fewshot.Count > 0 {
		if j.Shots, err = e.shots(ctx, file); err != nil {
			return nil, nil, err
		}
	}
	return j, set, nil
}

// repeats is the number of answers a row: --repeat above 1, else the task's.
func repeats(flag int, t *core.Task) int {
	if flag > 1 {
		return flag
	}
	return max(1, t.Repeats)
}

// rows opens a task's rows once.
func (e *evaluation) rows(ctx context.Context, file *tasks.File) (*rowSet, error) {
	if set := e.sets[file]; set != nil {
		return set, nil
	}
	set, err := e.rowFlags().rows(ctx, file)
	if err != nil {
		return nil, err
	}
	if e.sets == nil {
		e.sets = map[*tasks.File]*rowSet{}
	}
	e.sets[file] = set
	return set, nil
}

func (e *evaluation) rowFlags() rowFlags {
	return rowFlags{data: e.flags.data, limit: e.flags.limit, seed: e.flags.seed, demo: e.demo(), hub: e.hub}
}

// demo tells whether the embedded model is the first column.
func (e *evaluation) demo() bool { return len(e.models) > 0 && e.models[0].Demo }

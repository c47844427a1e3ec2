package compare

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/maphash"
	"math"
	"runtime"
	"slices"
	"sync"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/record"
	"github.com/evalrun/evalrun/results"
)

// measure is one column of scores within a task.
type measure struct {
	Metric  string
	Profile core.Profile
}

// place is one sample within a task.
type place struct {
	sample string
	repeat int
}

// verdicts are what is kept of a record: fingerprints of what was asked and
// one float a measure, NaN where there is no verdict. The texts are let go, so
// that memory does not grow with prompts and answers.
type verdicts struct {
	place
	index          int
	prompt, target uint64
	cluster        uint64 // 0 is none
	chat           bool
	failed         bool // an API error
	values         []float64
	votes          []uint64 // as values; nil where no majority is sought
}

// taskTable holds a task's verdicts under one model.
type taskTable struct {
	measures []measure
	// list holds the verdicts in row order, at where each place is in it.
	list []verdicts
	at   map[place]int32
	room []float64 // for values to come, many in one piece
}

func (t *taskTable) column(m measure) int {
	for i, have := range t.measures {
		if have == m {
			return i
		}
	}
	return -1
}

// side is one run's verdicts, tasks in order of appearance.
type side struct {
	order  []string
	tasks  map[string]*taskTable
	models []string
}

// A Reader reads each run once for many comparisons: of all its models at a
// time, and of the records only what a comparison needs.
type Reader struct {
	seed maphash.Seed
	mu   sync.Mutex
	runs map[string]*loaded // by path
	// tables are the runs' scores.json.
	tables map[string][]results.Score
}

// loaded is a run's verdicts, by model.
type loaded struct {
	once   sync.Once
	sides  map[string]*side
	models []string
	err    error
}

// NewReader makes a Reader for [Options].
func NewReader() *Reader {
	return &Reader{seed: maphash.MakeSeed(), runs: map[string]*loaded{}, tables: map[string][]results.Score{}}
}

// Preload reads runs side by side. Errors come back when a run is compared.
func (r *Reader) Preload(ctx context.Context, folders []*results.Folder) {
	next := make(chan *results.Folder)
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(folders)) {
		wg.Go(func() {
			for f := range next {
				_, _ = r.load(ctx, f)
			}
		})
	}
	for _, f := range folders {
		next <- f
	}
	close(next)
	wg.Wait()
}

// load streams the samples of a run, the first time that it is asked for. A
// later record of a key replaces an earlier one.
func (r *Reader) load(ctx context.Context, f *results.Folder) (*loaded, error) {
	r.mu.Lock()
	l := r.runs[f.Path]
	if l == nil {
		l = &loaded{sides: map[string]*side{}}
		r.runs[f.Path] = l
	}
	r.mu.Unlock()
	l.once.Do(func() {
		n := 0
		for v, err := range f.Verdicts() {
			if err != nil {
				l.err = fmt.Errorf("read the samples of run %s: %w", f.Manifest.ID, err)
				return
			}
			if n++; n&1023 == 0 && ctx.Err() != nil {
				l.err = ctx.Err()
				return
			}
			s := l.sides[v.Model]
			if s == nil {
				s = &side{tasks: map[string]*taskTable{}}
				l.sides[v.Model] = s
				l.models = append(l.models, v.Model)
			}
			s.add(v, r.seed)
		}
		for _, s := range l.sides {
			for _, t := range s.tasks {
				t.sort()
			}
		}
	})
	return l, l.err
}

// join gives one model's verdicts from all its parts, empty where there are
// none.
func (r *Reader) join(ctx context.Context, parts []Side) (*side, error) {
	joined := &side{tasks: map[string]*taskTable{}}
	for _, p := range parts {
		l, err := r.load(ctx, p.Folder)
		if err != nil {
			return nil, err
		}
		joined.models = l.models
		s := l.sides[p.Model]
		if s == nil {
			continue
		}
		for _, task := range s.order {
			if joined.tasks[task] == nil {
				joined.tasks[task] = s.tasks[task]
				joined.order = append(joined.order, task)
			}
		}
	}
	return joined, nil
}

// table gives the lines of a run's scores.json, none where it has none yet.
func (r *Reader) table(f *results.Folder) []results.Score {
	r.mu.Lock()
	defer r.mu.Unlock()
	lines, known := r.tables[f.Path]
	if !known {
		if s, err := f.Scores(); err == nil {
			lines = s.Tasks
		}
		r.tables[f.Path] = lines
	}
	return lines
}

func (s *side) add(rec *record.Verdict, seed maphash.Seed) {
	t := s.tasks[rec.Task]
	if t == nil {
		t = &taskTable{at: map[place]int32{}}
		s.tasks[rec.Task] = t
		s.order = append(s.order, rec.Task)
	}
	v := verdicts{place: place{rec.Sample, rec.Repeat}, index: rec.Index, failed: rec.Failed, chat: rec.Messages != "",
		prompt: fingerprint(seed, rec.Prompt, rec.Messages, rec.Continuations), target: fingerprint(seed, rec.Targets)}
	if rec.Cluster != "" {
		v.cluster = fingerprint(seed, rec.Cluster)
	}
	for _, sc := range rec.Scores {
		m := measure{sc.Metric, sc.Profile}
		at := t.column(m)
		if at < 0 {
			at = len(t.measures)
			t.measures = append(t.measures, m)
		}
		if v.values == nil {
			v.values = t.values(max(len(t.measures), len(rec.Scores)))
		}
		for len(v.values) <= at {
			v.values = append(v.values, math.NaN())
		}
		if sc.Skipped == "" && !sc.Dropped && !math.IsInf(float64(sc.Value), 0) {
			v.values[at] = float64(sc.Value)
		}
		if sc.Vote != "" {
			if v.votes == nil {
				v.votes = make([]uint64, max(len(t.measures), len(rec.Scores)))
			}
			for len(v.votes) <= at {
				v.votes = append(v.votes, 0)
			}
			v.votes[at] = fingerprint(seed, sc.Vote)
		}
	}
	if at, again := t.at[v.place]; again {
		t.list[at] = v
		return
	}
	t.at[v.place] = int32(len(t.list))
	t.list = append(t.list, v)
}

// values makes room for n numbers.
func (t *taskTable) values(n int) []float64 {
	const piece = 1024
	if cap(t.room)-len(t.room) < n {
		t.room = make([]float64, 0, max(n, piece))
	}
	from := len(t.room)
	t.room = t.room[:from+n]
	return t.room[from : from : from+n]
}

// sort brings the list into row order, so that a seed always draws the same.
func (t *taskTable) sort() {
	order := func(x, y verdicts) int {
		return cmp.Or(cmp.Compare(x.index, y.index), cmp.Compare(x.sample, y.sample), cmp.Compare(x.repeat, y.repeat))
	}
	t.room = nil
	if slices.IsSortedFunc(t.list, order) {
		return
	}
	slices.SortFunc(t.list, order)
	for i, v := range t.list {
		t.at[v.place] = int32(i)
	}
}

// find gives where a place is, guess being likely; −1 for nowhere.
func (t *taskTable) find(p place, guess int) int {
	if guess < len(t.list) && t.list[guess].place == p {
		return guess
	}
	if at, ok := t.at[p]; ok {
		return int(at)
	}
	return -1
}

// value gives a measure's verdict, NaN where there is none.
func (v *verdicts) value(column int) float64 {
	if column < 0 || column >= len(v.values) || v.failed {
		return math.NaN()
	}
	return v.values[column]
}

// vote gives what a measure's majority counts, 0 where it was not stored.
func (v *verdicts) vote(column int) uint64 {
	if column >= len(v.votes) {
		return 0
	}
	return v.votes[column]
}

// fingerprint tells whether two records asked the same, by the texts as they
// stand in the file. Lengths go in first, so that texts cannot run into each
// other.
func fingerprint(seed maphash.Seed, texts ...string) uint64 {
	var h maphash.Hash
	h.SetSeed(seed)
	for _, text := range texts {
		var n [8]byte
		binary.LittleEndian.PutUint64(n[:], uint64(len(text)))
		h.Write(n[:])
		h.WriteString(text)
	}
	return h.Sum64()
}

func sharesTask(a, b results.Manifest) bool {
	if len(a.Config.Tasks) == 0 || len(b.Config.Tasks) == 0 {
		return true
	}
	return slices.ContainsFunc(a.Config.Tasks, func(x results.TaskConfig) bool {
		return slices.ContainsFunc(b.Config.Tasks, func(y results.TaskConfig) bool { return x.Name == y.Name })
	})
}

// settingsWarnings compares what the two manifests say of a task.
func settingsWarnings(a, b results.Manifest) []string {
	if a.ID == b.ID {
		return nil
	}
	var out []string
	specs := map[string]string{}
	for _, t := range a.Config.Tasks {
		specs[t.Name] = t.SpecSHA256
	}
	for _, t := range b.Config.Tasks {
		if have, ok := specs[t.Name]; ok && have != t.SpecSHA256 {
			out = append(out, fmt.Sprintf("%s: the task file is not the same in both runs (%.8s, %.8s)", t.Name, have, t.SpecSHA256))
		}
	}
	for _, t := range b.Config.Tasks {
		ra, okA := a.Rows[t.Name]
		rb, okB := b.Rows[t.Name]
		if okA && okB && ra.Source == rb.Source && ra.SHA256 != "" && rb.SHA256 != "" && ra.SHA256 != rb.SHA256 {
			out = append(out, fmt.Sprintf("%s: not the same rows of %s (%d and %d): only shared ones are compared", t.Name, ra.Source, ra.N, rb.N))
		} else if okA && okB && (ra.Source != rb.Source || ra.SHA256 != "" && rb.SHA256 != "" && ra.SHA256 != rb.SHA256) {
			out = append(out, fmt.Sprintf("%s: the rows are not from the same data (%s; %s)", t.Name, ra.Source, rb.Source))
		}
	}
	differ := func(what string, x, y any) {
		bx, _ := json.Marshal(x)
		by, _ := json.Marshal(y)
		if string(bx) != string(by) {
			out = append(out, fmt.Sprintf("%s differs: %s against %s", what, given(bx), given(by)))
		}
	}
	differ("--set", a.Config.Set, b.Config.Set)
	differ("--fewshot", a.Config.Fewshot, b.Config.Fewshot)
	differ("--profile", a.Config.Profile(), b.Config.Profile())
	if a.Versions.Evalrun != b.Versions.Evalrun {
		out = append(out, fmt.Sprintf("the runs were made by different versions of evalrun (%s, %s); rescore both to judge them alike", a.Versions.Evalrun, b.Versions.Evalrun))
	}
	return out
}

// given is a setting as JSON in a reader's words: what nobody set has no value.
func given(setting []byte) string {
	switch s := string(setting); s {
	case "null", `""`, "-1":
		return "not given"
	default:
		return s
	}
}

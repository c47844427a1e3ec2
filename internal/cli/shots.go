package cli

import (
	"cmp"
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"reflect"
	"slices"
	"strconv"
	"sync"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/dataset"
	"github.com/evalrun/evalrun/core/dataset/derive"
	"github.com/evalrun/evalrun/core/prompt"
	"github.com/evalrun/evalrun/core/run"
	"github.com/evalrun/evalrun/tasks"
)

// shotPool is the number of training rows that random examples are drawn from.
const shotPool = 1000

func sorted(s []string) []string {
	slices.Sort(s)
	return s
}

// shots reads the rows that worked examples come from, and gives the choice for
// each row: the first ones, a draw that depends on the row's own id and the seed
// alone, or Python's draws. A row of the same rows never is its own example.
func (e *evaluation) shots(ctx context.Context, file *tasks.File) (func(run.Row) []prompt.Shot, error) {
	t := file.Task
	f := t.Fewshot
	filler, err := prompt.Compile(shotTask(t))
	if err != nil {
		return nil, err
	}
	source, same, err := e.shotSource(ctx, file)
	if err != nil {
		return nil, err
	}
	columns, err := derive.Compile(t.Columns, nil, derive.Options{})
	if err != nil {
		return nil, deriveError(file, err)
	}
	limit := dataset.Limit{Last: f.Count + 1}
	switch {
	case f.Sampler == "random":
		limit.Last = shotPool
	case f.Sampler == "python" || f.Indices != nil:
		limit = dataset.Limit{}
	}
	join := t.TargetDelimiter
	if f.TargetDelimiter != nil {
		join = f.TargetDelimiter
	}
	var pool []shot
	for p, err := range (dataset.Selection{Source: source, Columns: columns, Limit: limit}).Rows(ctx) {
		if err != nil {
			return nil, deriveError(file, err)
		}
		filled, err := filler.Fill(p.Fields)
		if err != nil {
			return nil, fmt.Errorf("few-shot row %s of %s: %w", p.ID, source.Name(), err)
		}
		one := shot{Shot: prompt.Shot{Prompt: filled.Prompt, Join: join}}
		if len(filled.Targets) > 0 {
			one.Target = filled.Targets[0]
		}
		if one.Target == "" { // as nothing was answered, nothing is joined
			one.Join = new(string)
		}
		if same {
			one.fields = p.Fields
		}
		pool = append(pool, one)
	}
	if f.Indices != nil {
		chosen := make([]shot, len(f.Indices))
		for i, at := range f.Indices {
			if at >= len(pool) {
				return nil, &core.UserError{Where: file.Where("fewshot.indices"), Message: fmt.Sprintf("row %d is asked for, and %s has %d rows", at, source.Name(), len(pool)), Hint: "rows are counted from 0"}
			}
			chosen[i] = pool[at]
		}
		pool = chosen
	}
	need := f.Count
	if same {
		need++
	}
	if len(pool) < need {
		hint := "ask for fewer with --fewshot"
		if same {
			hint = fmt.Sprintf("a row is never its own example, so %d rows are needed; ask for fewer with --fewshot", need)
		}
		return nil, &core.UserError{Where: file.Where("fewshot"), Message: fmt.Sprintf("%d examples are asked for, and %s has %d rows", f.Count, source.Name(), len(pool)), Hint: hint}
	}
	order := orderOf(t, len(pool), need)
	return func(row run.Row) []prompt.Shot {
		shots := make([]prompt.Shot, 0, f.Count)
		for _, i := range order(row) {
			if len(shots) == f.Count {
				break
			}
			if pool[i].fields == nil || !reflect.DeepEqual(pool[i].fields, row.Fields) {
				shots = append(shots, pool[i].Shot)
			}
		}
		return shots
	}, nil
}

// A shot is an example with its row, where that may be the one that is asked.
type shot struct {
	prompt.Shot
	fields map[string]any
}

// shotTask is a task as its examples are filled in.
func shotTask(t *core.Task) *core.Task {
	one := *t
	one.Preamble = ""
	if t.Fewshot.Prompt != "" {
		one.Prompt = t.Fewshot.Prompt
	}
	if t.Fewshot.Target != "" {
		one.Target = t.Fewshot.Target
	}
	if t.Fewshot.Choices.Any() {
		one.Choices = t.Fewshot.Choices
	}
	return &one
}

// shotSource gives the rows of examples, and whether they are those that are
// evaluated.
func (e *evaluation) shotSource(ctx context.Context, file *tasks.File) (dataset.Source, bool, error) {
	if rows := file.Task.Fewshot.Rows; rows != nil {
		return dataset.Memory(file.Where("fewshot.rows"), rows), false, nil
	}
	source, embedded, err := e.rowFlags().source(ctx, file, dataset.Training)
	if err != nil {
		return nil, false, err
	}
	own, err := e.rows(ctx, file)
	if err != nil {
		return nil, false, err
	}
	split := cmp.Or(file.Task.Fewshot.Split, file.Task.Dataset.TrainSplit)
	if !embedded && file.Task.Dataset.Split != "" && split != "" {
		return source, split == file.Task.Dataset.Split, nil
	}
	return source, source.Name() == own.Source, nil
}

// orderOf gives the order in which the examples of a pool of n are taken for a
// row. The draws of Python's sampler follow each other row by row, so the row's
// id, its number, says how many came before.
func orderOf(t *core.Task, n, k int) func(run.Row) []int {
	plain := make([]int, n)
	for i := range plain {
		plain[i] = i
	}
	switch t.Fewshot.Sampler {
	case "random":
		return func(row run.Row) []int {
			order := slices.Clone(plain)
			h := fnv.New64a()
			fmt.Fprintf(h, "%s\x00%s", t.Name, row.ID)
			r := rand.New(rand.NewPCG(t.Fewshot.Seed, h.Sum64()))
			r.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
			return order
		}
	case "python":
		var mu sync.Mutex
		var drawn [][]int
		random := prompt.NewPythonRandom(t.Fewshot.Seed)
		return func(row run.Row) []int {
			mu.Lock()
			defer mu.Unlock()
			number, err := strconv.Atoi(row.ID)
			if err != nil {
				number = len(drawn)
			}
			for len(drawn) <= number {
				drawn = append(drawn, random.Sample(n, k))
			}
			return drawn[number]
		}
	}
	return func(run.Row) []int { return plain }
}

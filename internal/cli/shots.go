package cli

import (
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"

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

// shots reads the training rows that worked examples come from, and gives the
// choice for each row: the first ones, or a draw that depends on the row's own
// id and the seed alone. A row never is its own example.
func (e *evaluation) shots(ctx context.Context, file *tasks.File) (func(run.Row) []prompt.Shot, error) {
	t := file.Task
	source, _, err := e.rowFlags().source(ctx, file, dataset.Training)
	if err != nil {
		return nil, err
	}
	columns, err := derive.Compile(t.Columns, nil, derive.Options{})
	if err != nil {
		return nil, deriveError(file, err)
	}
	want := t.Fewshot.Count + 1
	if t.Fewshot.Sampler == "random" {
		want = shotPool
	}
	tmpl, err := prompt.Parse(t.Prompt)
	if err != nil {
		return nil, err
	}
	var pool []prompt.Shot
	for p, err := range (dataset.Selection{Source: source, Columns: columns, Limit: dataset.Limit{Last: want}}).Rows(ctx) {
		if err != nil {
			return nil, deriveError(file, err)
		}
		text, err := tmpl.Render(p.Fields)
		if err != nil {
			return nil, fmt.Errorf("few-shot row %s of %s: %w", p.ID, source.Name(), err)
		}
		targets, err := prompt.Target(p.Fields, t.Target)
		if err != nil {
			return nil, fmt.Errorf("few-shot row %s of %s: %w", p.ID, source.Name(), err)
		}
		if len(targets) > 0 {
			pool = append(pool, prompt.Shot{Prompt: text, Target: targets[0]})
		}
	}
	if len(pool) <= t.Fewshot.Count {
		return nil, &core.UserError{Where: file.Where("fewshot"), Message: fmt.Sprintf("%d examples are asked for, and %s has %d rows", t.Fewshot.Count, source.Name(), len(pool)),
			Hint: fmt.Sprintf("a row is never its own example, so %d rows are needed; ask for fewer with --fewshot", t.Fewshot.Count+1)}
	}
	return func(row run.Row) []prompt.Shot {
		own, err := tmpl.Render(row.Fields)
		if err != nil {
			own = ""
		}
		order := make([]int, len(pool))
		for i := range order {
			order[i] = i
		}
		if t.Fewshot.Sampler == "random" {
			h := fnv.New64a()
			fmt.Fprintf(h, "%s\x00%s", t.Name, row.ID)
			r := rand.New(rand.NewPCG(t.Fewshot.Seed, h.Sum64()))
			r.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		}
		shots := make([]prompt.Shot, 0, t.Fewshot.Count)
		for _, i := range order {
			if len(shots) == t.Fewshot.Count {
				break
			}
			if pool[i].Prompt != own {
				shots = append(shots, pool[i])
			}
		}
		return shots
	}, nil
}

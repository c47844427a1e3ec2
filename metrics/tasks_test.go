package metrics_test

import (
	"context"
	"fmt"
	"io"
	"testing"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/dataset"
	"github.com/evalrun/evalrun/core/dataset/derive"
	"github.com/evalrun/evalrun/core/prompt"
	"github.com/evalrun/evalrun/internal/shared"
	"github.com/evalrun/evalrun/metrics"
	"github.com/evalrun/evalrun/tasks"
)

// sources gives a task's embedded rows and, where they are on this machine, its
// real ones.
func sources(t *testing.T, task *core.Task) map[string]dataset.Source {
	t.Helper()
	all := map[string]dataset.Source{}
	f, err := tasks.Rows(task.Name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	if all["embedded"], err = dataset.Text(task.Name+".jsonl", string(b)); err != nil {
		t.Fatal(err)
	}
	if dir, ok := shared.Find("data"); ok {
		if s, err := dataset.Open(context.Background(), task, dataset.Evaluation, dataset.Where{Dir: dir}); err == nil {
			all["real"] = s
		} else {
			t.Logf("%s: no real rows: %v", task.Name, err)
		}
	}
	return all
}

// A model that answers with the target must get the best score on every row of
// every task of the report; otherwise a metric and its task do not fit.
func TestTheTargetIsRight(t *testing.T) {
	for _, name := range tasks.Names() {
		file, err := tasks.Load(name, tasks.Options{Metrics: metrics.Names()})
		if err != nil {
			t.Fatal(err)
		}
		task := file.Task
		columns, err := derive.Compile(task.Columns, nil, derive.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for where, source := range sources(t, task) {
			t.Run(name+" "+where, func(t *testing.T) {
				m, err := metrics.New(task.Metrics[0], core.Strict)
				if err != nil {
					t.Fatal(err)
				}
				if c, ok := m.(io.Closer); ok {
					defer c.Close()
				}
				limit := dataset.Limit{Last: 200}
				if task.Metrics[0].Name == "humaneval" && testing.Short() {
					limit.Last = 4
				}
				var items []core.Item
				for row, err := range (dataset.Selection{Source: source, Columns: columns, Limit: limit}).Rows(context.Background()) {
					if err != nil {
						t.Fatal(err)
					}
					targets, err := prompt.Target(row.Fields, task.Target)
					if err != nil {
						t.Fatal(err)
					}
					items = append(items, core.Item{ID: fmt.Sprint(len(items)), Task: task, Fields: row.Fields,
						Raw: targets[0], Text: targets[0], Targets: targets})
				}
				scores, err := m.Score(context.Background(), items)
				if err != nil {
					t.Fatal(err)
				}
				for i, s := range scores {
					if s.Skipped != "" {
						t.Skip(s.Skipped)
					}
					if s.Value < 1-1e-9 || s.Failed {
						t.Errorf("row %s: target %.80q scores %v %s (extracted %.40q)", items[i].ID, items[i].Raw, s.Value, s.Note, s.Extracted)
					}
				}
			})
		}
	}
}

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/evalrun/evalrun/core/dataset"
	"github.com/evalrun/evalrun/core/dataset/derive"
	"github.com/evalrun/evalrun/core/prompt"
	"github.com/evalrun/evalrun/tasks"
)

// writePrompts writes a task's embedded rows as they are put to a model, for
// the check of checkpoints (recipe/check.py).
func writePrompts(w io.Writer, name string) error {
	f, err := tasks.Load(name, tasks.Options{})
	if err != nil {
		return err
	}
	t := f.Task
	tmpl, err := prompt.Parse(t.Prompt)
	if err != nil {
		return fmt.Errorf("prompt of %s: %w", name, err)
	}
	cols, err := derive.Compile(t.Columns, nil, derive.Options{})
	if err != nil {
		return fmt.Errorf("columns of %s: %w", name, err)
	}
	rf, err := tasks.Rows(name)
	if err != nil {
		return fmt.Errorf("rows of %s: %w", name, err)
	}
	defer rf.Close()
	text, err := io.ReadAll(rf)
	if err != nil {
		return fmt.Errorf("rows of %s: %w", name, err)
	}
	src, err := dataset.Text(name+".jsonl", string(text))
	if err != nil {
		return fmt.Errorf("rows of %s: %w", name, err)
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	i := 0
	for r, err := range src.Rows(context.Background()) {
		if err != nil {
			return fmt.Errorf("rows of %s: %w", name, err)
		}
		row, err := cols.Apply(r, i)
		if err != nil {
			return fmt.Errorf("rows of %s: %w", name, err)
		}
		p, err := tmpl.Render(row)
		if err != nil {
			return fmt.Errorf("row %d of %s: %w", i, name, err)
		}
		target, err := prompt.Target(row, t.Target)
		if err != nil {
			return fmt.Errorf("row %d of %s: %w", i, name, err)
		}
		metric := ""
		if len(t.Metrics) > 0 {
			metric = t.Metrics[0].Name
		}
		if err := enc.Encode(map[string]any{"task": name, "row": i, "prompt": p, "target": target, "metric": metric, "labels": t.Labels,
			"stop": t.Generation.Stop, "max_tokens": t.Generation.MaxTokens, "origin": r["_origin"], "hard": r["_hard"],
			"test": r["test"], "entry_point": r["entry_point"]}); err != nil {
			return err
		}
		i++
	}
	return nil
}

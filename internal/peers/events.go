package main

import (
	"fmt"
	"os"
	"path/filepath"
	"sort"

	"github.com/evalrun/evalrun/internal/trainlog"
)

// events compares what TensorBoard reads of a training's event files with the
// training's own log. Without -adapter a short training makes some.
func (p *peers) events() error {
	if err := p.need("tensorboard"); err != nil {
		return err
	}
	if p.adapter == "" {
		p.adapter = p.at("events-adapter")
		if err := os.RemoveAll(p.adapter); err != nil {
			return err
		}
		if _, err := p.evalrun(nil, "train", "glue_sst2", "--data", "embedded", "--holdout", "0.2", "--steps", "64", "--set", "recipe.accumulate=4", "--set", "recipe.eval_every=16", "--set", "recipe.monitor=score", "--out", p.adapter, "--quiet"); err != nil {
			return err
		}
	}
	work := filepath.Join(p.adapter, "training")
	text, err := os.ReadFile(filepath.Join(work, trainlog.File))
	if err != nil {
		return err
	}
	log, err := lines[trainlog.Line](text)
	if err != nil {
		return err
	}
	type at struct {
		tag  string
		step int
	}
	want := map[at]float64{}
	for _, l := range log {
		want[at{"train/loss", l.Step}], want[at{"train/loss_smoothed", l.Step}] = l.Loss, l.Smoothed
		want[at{"train/lr", l.Step}], want[at{"train/grad_norm", l.Step}] = l.LR, l.GradNorm
		if l.Validation != nil {
			want[at{"validation/loss", l.Step}] = *l.Validation
		}
		if l.Score != nil {
			want[at{"validation/score", l.Step}] = *l.Score
		}
	}
	type scalar struct {
		Tag         string
		Step        int
		Value, Time float64
	}
	got, err := others[scalar](p, "events", map[string]any{"dir": work})
	if err != nil {
		return err
	}
	tags, wrong, before := map[string]int{}, "", 0.0
	for _, s := range got {
		if w, ok := want[at{s.Tag, s.Step}]; !ok || float64(float32(w)) != s.Value {
			wrong = fmt.Sprintf("; %s at step %d is %v, the log says %v", s.Tag, s.Step, s.Value, w)
		}
		if tags[s.Tag]++; tags[s.Tag] == 1 {
			before = 0
		}
		if s.Time < before {
			wrong += fmt.Sprintf("; the time of %s at step %d goes back", s.Tag, s.Step)
		}
		before = s.Time
	}
	var names []string
	for tag, n := range tags {
		names = append(names, fmt.Sprintf("%s %d", tag, n))
	}
	sort.Strings(names)
	p.check(wrong == "" && len(got) == len(want) && len(want) > 0, "scalars that TensorBoard reads", "%d of %d equal to the log in float32 (%v)%s", len(got), len(want), names, wrong)
	return nil
}

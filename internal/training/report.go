package training

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/results/report/figure"
)

// A Report tells in an adapter's folder how it was made.
type Report struct {
	Name, Base string
	Plan       *core.TrainPlan
	End        *core.TrainEnd
	Log        *Log
	Data       *Data  // nil where the rows were a file, taken as it is
	Metric     string // of the validation's score; empty for none
	Next       string // command that scores base and adapter; empty for none
}

// reportFile is the last that a training writes.
const reportFile = "report.md"

// Write makes loss.svg and report.md in a folder.
func (r *Report) Write(dir string) error {
	work := Work(dir)
	removeUnfinished(filepath.Join(work, "data.jsonl"), filepath.Join(work, "validation.jsonl"), filepath.Join(work, "answers-*.jsonl"), filepath.Join(dir, "loss.svg"), filepath.Join(dir, reportFile))
	if err := save(filepath.Join(dir, "loss.svg"), r.curve().File()); err != nil {
		return err
	}
	return save(filepath.Join(dir, reportFile), []byte(r.markdown()))
}

func (r *Report) curve() *figure.SVG {
	loss, smooth, held := figure.Curve{Name: "loss of a window"}, figure.Curve{Name: "smoothed", Strong: true}, figure.Curve{Name: "validation"}
	for _, p := range r.Log.Points {
		x := float64(p.Step)
		loss.X, loss.Y = append(loss.X, x), append(loss.Y, p.Loss)
		smooth.X, smooth.Y = append(smooth.X, x), append(smooth.Y, p.Smoothed)
		if p.Validation != nil {
			held.X, held.Y = append(held.X, x), append(held.Y, *p.Validation)
		}
	}
	c := figure.Curves{Title: "Loss of " + r.Name + " on " + r.Base, XLabel: "steps (micro-batches)", Curves: []figure.Curve{loss, smooth}}
	if len(held.X) > 0 {
		c.Curves = append(c.Curves, held)
	}
	return c.Draw()
}

func (r *Report) markdown() string {
	var b strings.Builder
	p, e := r.Plan, r.End
	fmt.Fprintf(&b, "# %s on %s\n\nAn adapter for %s, trained on %d examples.\n\n", r.Name, r.Base, r.Base, p.Examples)
	fmt.Fprintf(&b, "| | |\n|---|---|\n| steps (micro-batches) | %d |\n| updates | %d |\n| seconds | %.1f |\n| trained parameters | %d of %d |\n", e.Step, e.Updates, e.Seconds, p.Parameters, p.Model)
	fmt.Fprintf(&b, "| prompts that lost tokens | %d |\n| targets that lost tokens | %d |\n", p.Truncated, p.Cut)
	left := len(p.Left)
	if d := r.Data; d != nil {
		left += len(d.NoTarget) + len(d.NoLabel)
		if !d.Own {
			fmt.Fprintf(&b, "| rows that are evaluated too | %d |\n", len(d.Shared))
		}
	}
	fmt.Fprintf(&b, "| rows left out | %d |\n", left)
	if n := len(r.Log.Points); n > 0 {
		fmt.Fprintf(&b, "| loss, first window | %.4f |\n| loss, smoothed at the end | %.4f |\n", r.Log.Points[0].Loss, r.Log.Points[n-1].Smoothed)
	}
	switch {
	case e.Scored:
		fmt.Fprintf(&b, "| best validation | %s %.4f, loss %.4f, at step %d |\n", r.Metric, e.BestScore, e.Best, e.BestStep)
	case e.BestStep > 0:
		fmt.Fprintf(&b, "| best validation loss | %.4f at step %d |\n", e.Best, e.BestStep)
	}
	if e.BestStep > 0 {
		fmt.Fprintf(&b, "| the adapter | %s |\n", r.Left())
	}
	fmt.Fprintf(&b, "| hash | `%s` |\n\n![loss](loss.svg)\n", e.Hash)
	r.evaluations(&b)
	if r.Next != "" {
		fmt.Fprintf(&b, "\nBase and fine-tuned side by side:\n\n    %s\n", r.Next)
	}
	fmt.Fprintf(&b, "\nThe recipe, nothing in it a default any more:\n\n```json\n%s\n```\n", p.Recipe)
	return b.String()
}

// Left says which step's adapter was left, where there were evaluations.
func (r *Report) Left() string {
	step := LeftStep(r.Plan, r.End)
	switch {
	case r.End.BestStep == r.End.Step:
		return fmt.Sprintf("that of step %d, the last and the best", step)
	case step == r.End.BestStep:
		return fmt.Sprintf("that of step %d, the best", step)
	default:
		return fmt.Sprintf("that of step %d, the last", step)
	}
}

// LeftStep is the step whose values the adapter has.
func LeftStep(p *core.TrainPlan, e *core.TrainEnd) int {
	if _, _, best := Evaluations(p.Recipe); best && e.BestStep > 0 {
		return e.BestStep
	}
	return e.Step
}

// evaluations lists what validation gave; the best is marked.
func (r *Report) evaluations(b *strings.Builder) {
	head, scored := false, r.End.Scored
	for _, p := range r.Log.Points {
		if p.Validation == nil {
			continue
		}
		if !head && scored {
			fmt.Fprintf(b, "\n| step | validation loss | %s |\n|---|---|---|\n", r.Metric)
		} else if !head {
			fmt.Fprint(b, "\n| step | validation loss |\n|---|---|\n")
		}
		head = true
		mark := ""
		if p.Step == r.End.BestStep {
			mark = " (best)"
		}
		fmt.Fprintf(b, "| %d%s | %.4f |", p.Step, mark, *p.Validation)
		if scored && p.Score != nil {
			fmt.Fprintf(b, " %.4f |", *p.Score)
		}
		fmt.Fprintln(b)
	}
}

package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/term"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/internal/training"
)

// A trained is what --json prints of a training.
type trained struct {
	Finished    bool              `json:"finished"`
	Adapter     string            `json:"adapter,omitempty"`
	Hash        string            `json:"hash,omitempty"`
	Step        int               `json:"step"`
	Updates     int               `json:"updates"`
	Loss        *float64          `json:"loss,omitempty"` // smoothed
	Best        *float64          `json:"best,omitempty"` // validation loss of the best evaluation
	Score       *float64          `json:"best_score,omitempty"`
	Metric      string            `json:"metric,omitempty"` // of the score
	BestStep    int               `json:"best_step,omitempty"`
	AdapterStep int               `json:"adapter_step,omitempty"` // whose values the adapter has
	Early       bool              `json:"early,omitempty"`
	Seconds     float64           `json:"seconds"`
	Peak        int64             `json:"peak_memory,omitempty"` // resident bytes
	Plan        *plannedTraining  `json:"plan,omitempty"`
	Left        map[string]int    `json:"left_out,omitempty"`
	Shared      int               `json:"shared_with_evaluation"`
	Next        map[string]string `json:"next,omitempty"`
}

// plannedTraining is the plan in --json.
type plannedTraining struct {
	Recipe         json.RawMessage  `json:"recipe"`
	Examples       int              `json:"examples"`
	Validation     int              `json:"validation"`
	Truncated      int              `json:"truncated"`
	Cut            int              `json:"cut"`
	LeftOut        []string         `json:"left_out,omitempty"`
	PromptTokens   int              `json:"prompt_tokens"`
	TotalTokens    int              `json:"total_tokens"`
	Parameters     int64            `json:"parameters"`
	Model          int64            `json:"model_parameters"`
	Steps          int              `json:"steps"`
	Updates        int              `json:"updates"`
	Memory         map[string]int64 `json:"memory"`
	Recompute      bool             `json:"recompute"`
	Resumed        int              `json:"resumed"`
	SecondsPerStep float64          `json:"seconds_per_step,omitempty"`
	Batch          []string         `json:"batch,omitempty"`
}

// train runs the job: soft ends at the first interrupt, ctx at the second.
func (t *trainCommand) train(ctx, soft context.Context) error {
	backend, err := t.host.Backend(ctx, t.spec.Backend, t.spec.Config)
	if err != nil {
		return err
	}
	defer backend.Close()
	trainer, ok := backend.(core.Trainer)
	if !ok {
		return &core.UserError{Where: "--backend " + t.spec.Backend, Message: "this backend does not train", Hint: "take --backend local"}
	}
	w := newTrainWatch(os.Stderr, t.eval.quiet)
	log := &training.Log{Dir: training.Work(t.job.Out)}
	defer func() { _ = log.Close() }()
	soft, stop := context.WithCancel(soft)
	defer stop()
	var plan *core.TrainPlan
	var last *core.TrainStep
	var end *core.TrainEnd
	var logErr error // of our log, for which the trainer is stopped
	saved := 0       // step of the last checkpoint
	for news, err := range trainer.Train(soft, t.job) {
		if err != nil {
			w.clear()
			if plan == nil && t.data != nil {
				t.data.Discard(t.job.Out)
			}
			if plan == nil && soft.Err() != nil && !errors.Is(err, core.ErrSessionLost) {
				return stoppedEarly
			}
			return t.lost(err, saved)
		}
		switch news.Kind {
		case core.PlanNews:
			plan, saved = news.Plan, news.Plan.Resumed
			t.showPlan(w, plan)
			if !t.dryRun {
				logErr = log.Begin(plan.Resumed)
			}
		case core.StepNews:
			if last = news.Step; last.Checkpoint {
				saved = last.Step
			}
			w.step(plan, last, t.job.Metric)
			if logErr == nil {
				logErr = log.Add(last)
			}
		case core.ScoreNews:
			if t.scorer == nil {
				return errors.New("the trainer asks for a score, and there is no metric")
			}
			if err := t.scorer.Score(ctx, backend, news.Score); err != nil {
				w.clear()
				return t.lost(fmt.Errorf("the score of the validation rows: %w", err), saved)
			}
		case core.EndNews:
			end = news.End
		}
		if logErr != nil {
			stop()
		}
	}
	w.clear()
	switch {
	case end == nil || plan == nil:
		return t.lost(fmt.Errorf("the trainer ended without a word: %w", core.ErrSessionLost), saved)
	case t.dryRun:
		return t.printJSON(plan, last, end)
	case logErr != nil:
		return unwritten(t.job.Out, logErr)
	case !end.Finished:
		if err := t.printJSON(plan, last, end); err != nil {
			return err
		}
		if end.Step == 0 {
			return stoppedEarly
		}
		return &exitError{code: ExitInterrupted, err: fmt.Errorf("stopped behind step %d of %d, which is saved in %s; the same command goes on from there", end.Step, plan.Steps, t.job.Out)}
	}
	if n := len(log.Points); last == nil && n > 0 { // it was killed behind the last step
		last = &core.TrainStep{Smoothed: log.Points[n-1].Smoothed}
	}
	report := training.Report{Name: t.name, Base: label(t.spec), Plan: plan, End: end, Log: log, Next: t.next(), Data: t.data, Metric: t.job.Metric}
	if err := report.Write(t.job.Out); err != nil {
		return unwritten(t.job.Out, err)
	}
	if t.eval.json {
		return t.printJSON(plan, last, end)
	}
	t.words(last, end, &report)
	return nil
}

// words tells people how a training ended.
func (t *trainCommand) words(last *core.TrainStep, end *core.TrainEnd, report *training.Report) {
	if t.eval.quiet {
		return
	}
	fmt.Fprintf(t.out, "%s\n  %s\n  %d steps, %d updates, %s", end.Adapter, end.Hash, end.Step, end.Updates, duration(end.Seconds))
	if last != nil {
		fmt.Fprintf(t.out, ", loss %.4f (smoothed %.4f)", last.Loss, last.Smoothed)
	}
	switch {
	case end.Scored:
		fmt.Fprintf(t.out, ", best validation %s %.4f (loss %.4f) at step %d", t.job.Metric, end.BestScore, end.Best, end.BestStep)
	case end.BestStep > 0:
		fmt.Fprintf(t.out, ", best validation loss %.4f at step %d", end.Best, end.BestStep)
	}
	if end.Early {
		fmt.Fprint(t.out, ", ended early: validation got no better")
	}
	fmt.Fprintln(t.out)
	if end.BestStep > 0 {
		fmt.Fprintf(t.out, "  the adapter is %s\n", report.Left())
	}
	if next := t.next(); next != "" {
		fmt.Fprintf(t.out, "base and fine-tuned side by side:\n  %s\n", next)
	}
}

var stoppedEarly = &exitError{code: ExitInterrupted, err: errors.New("stopped before the first step; the same command begins again")}

// unwritten is the failure of writing into a training's folder.
func unwritten(dir string, err error) error {
	if user := (*core.UserError)(nil); errors.As(err, &user) {
		return err
	}
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, fs.ErrExist) {
		return &core.UserError{Where: dir, Message: err.Error(), Hint: "make the folder writable, or name another with --out"}
	}
	return &exitError{code: ExitInfra, err: &core.UserError{Where: dir, Message: err.Error(), Hint: "free space, or mend what it says, and give the same command again: it goes on from the last checkpoint, which stays"}}
}

// lost puts the failure of a trainer into the user's words.
func (t *trainCommand) lost(err error, saved int) error {
	var own *core.Error
	if errors.As(err, &own) { // no mistake of the user's: a full disk above all
		return &exitError{code: ExitInfra, err: &core.UserError{Message: own.Message, Hint: own.Hint}}
	}
	var path *fs.PathError
	switch {
	case errors.Is(err, core.ErrSessionLost):
	case errors.As(err, &path): // answers to validation rows are kept on our side
		return unwritten(t.job.Out, err)
	default:
		return err
	}
	at := "there is no checkpoint yet"
	if saved > 0 {
		at = fmt.Sprintf("the last checkpoint is that of step %d, in %s", saved, training.Work(t.job.Out))
	}
	return &core.UserError{Where: t.job.Out, Message: "the trainer's process is gone; " + at, Hint: "the same command goes on from there; what the process logged stands above", Err: err}
}

// next is the command that scores base and adapter.
func (t *trainCommand) next() string {
	if t.task == nil {
		return ""
	}
	words := []string{"evalrun", strings.TrimSuffix(strings.TrimPrefix(t.task.Task.Path, "embedded:"), ".yaml")}
	if !strings.HasPrefix(t.task.Task.Path, "embedded:") {
		words[1] = t.task.Task.Path
	}
	if t.eval.data != "" {
		words = append(words, "--data", t.eval.data)
	}
	model := t.spec.Config.Model
	if t.eval.model != "" {
		words = append(words, "--model", t.eval.model)
	}
	words = append(words, "--against", t.spec.Backend+":"+model+"+"+t.job.Out)
	for i, w := range words {
		words[i] = quoted(w)
	}
	return strings.Join(words, " ")
}

// quoted is a word as a shell takes it.
func quoted(w string) string {
	if strings.ContainsAny(w, " \t'\"$&|;<>()*?[]{}\\`~#!") {
		return "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
	}
	return w
}

// showPlan tells what is about to happen.
func (t *trainCommand) showPlan(w *trainWatch, p *core.TrainPlan) {
	out := io.Writer(os.Stderr)
	if t.dryRun {
		out = t.out
	}
	if t.eval.quiet || t.eval.json && t.dryRun {
		return
	}
	fmt.Fprintf(out, "%d examples", p.Examples)
	if p.Validation > 0 {
		fmt.Fprintf(out, " and %d for validation", p.Validation)
	}
	fmt.Fprintf(out, "; %d steps, %d updates; %s of %s parameters are trained\n", p.Steps, p.Updates, short(float64(p.Parameters)), short(float64(p.Model)))
	if p.Truncated+p.Cut > 0 {
		fmt.Fprintf(out, "%d prompts lose tokens beyond %d, %d targets lose tokens beyond %d with the prompt\n", p.Truncated, p.PromptTokens, p.Cut, p.TotalTokens)
	}
	if len(p.Left) > 0 {
		fmt.Fprintf(out, "%d rows are left out: %s\n", len(p.Left), training.Some(p.Left))
	}
	if t.dryRun {
		var total int64
		for _, m := range p.Memory {
			fmt.Fprintf(out, "  %-30s %10s\n", m.Name, binary(m.Bytes))
			total += m.Bytes
		}
		fmt.Fprintf(out, "  %-30s %10s\n", "all", binary(total))
		if p.Recompute {
			fmt.Fprintln(out, "activations are computed twice, which saves memory")
		}
		if p.SecondsPerStep > 0 {
			fmt.Fprintf(out, "%.3g s a step: %s to the end\n", p.SecondsPerStep, duration(p.SecondsPerStep*float64(p.Steps-p.Resumed)))
		}
	}
	if every, steps, _ := training.Evaluations(p.Recipe); p.Validation > 0 && every >= steps {
		fmt.Fprintf(out, "the validation rows are evaluated once, behind the last step: eval_every is %d; --set recipe.eval_every=%d evaluates ten times\n", every, max(1, steps/10))
	} else if p.Validation > 0 && every == 0 {
		fmt.Fprintln(out, "the validation rows are not evaluated: eval_every is 0")
	}
	if p.Resumed > 0 {
		fmt.Fprintf(out, "going on from step %d\n", p.Resumed)
	}
	if t.showBatch {
		for _, line := range p.Batch {
			fmt.Fprintln(out, line)
		}
	}
}

func binary(n int64) string {
	switch {
	case n >= 10<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
}

// parseBytes reads a size as binary writes it; "" is 0.
func parseBytes(text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	for i, unit := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if number, ok := strings.CutSuffix(text, unit); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
			if err == nil && !(n > 0 && n < 1<<20) {
				err = strconv.ErrRange
			}
			return int64(n * float64(int64(1)<<(10*(i+1)))), err
		}
	}
	return 0, strconv.ErrSyntax
}

func duration(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	if d < time.Minute {
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

func (t *trainCommand) printJSON(p *core.TrainPlan, last *core.TrainStep, end *core.TrainEnd) error {
	if !t.eval.json {
		return nil
	}
	r := trained{Finished: end.Finished, Adapter: end.Adapter, Hash: end.Hash, Step: end.Step, Updates: end.Updates, Early: end.Early, Seconds: end.Seconds}
	if last != nil {
		r.Loss, r.Peak = &last.Smoothed, last.PeakMemory
	}
	if end.Finished {
		r.AdapterStep = training.LeftStep(p, end)
	}
	if end.BestStep > 0 {
		r.Best, r.BestStep = &end.Best, end.BestStep
	}
	if end.Scored {
		r.Score, r.Metric = &end.BestScore, t.job.Metric
	}
	memory := map[string]int64{}
	for _, m := range p.Memory {
		memory[m.Name] = m.Bytes
	}
	r.Plan = &plannedTraining{Recipe: json.RawMessage(p.Recipe), Examples: p.Examples, Validation: p.Validation, Truncated: p.Truncated, Cut: p.Cut, LeftOut: p.Left,
		PromptTokens: p.PromptTokens, TotalTokens: p.TotalTokens, Parameters: p.Parameters, Model: p.Model, Steps: p.Steps, Updates: p.Updates,
		Memory: memory, Recompute: p.Recompute, Resumed: p.Resumed, SecondsPerStep: p.SecondsPerStep}
	if t.showBatch {
		r.Plan.Batch = p.Batch
	}
	if t.data != nil {
		r.Left = map[string]int{"empty_target": len(t.data.NoTarget), "no_label": len(t.data.NoLabel)}
		r.Shared = len(t.data.Shared)
	}
	if next := t.next(); next != "" && end.Finished {
		r.Next = map[string]string{"evaluate": next}
	}
	e := json.NewEncoder(t.out)
	e.SetEscapeHTML(false)
	return e.Encode(r)
}

// trainWatch shows how a training goes: one live line on a terminal, a plain
// line every few seconds elsewhere.
type trainWatch struct {
	out    io.Writer
	live   bool
	quiet  bool
	width  int
	last   time.Time
	began  time.Time
	from   int // step that this process began at
	tokens int // since then
}

func newTrainWatch(out *os.File, quiet bool) *trainWatch {
	w := &trainWatch{out: out, quiet: quiet, width: 100}
	if term.IsTerminal(int(out.Fd())) && os.Getenv("TERM") != "dumb" {
		w.live = true
		if width, _, err := term.GetSize(int(out.Fd())); err == nil && width > 20 {
			w.width = width
		}
	}
	return w
}

func (w *trainWatch) step(p *core.TrainPlan, s *core.TrainStep, metric string) {
	now := time.Now()
	if w.began.IsZero() {
		// The first window begins the clock: what came before it is loading.
		w.began, w.from = now, s.Step
	} else {
		w.tokens += s.Tokens
	}
	every := plainEvery
	if w.live {
		every = liveEvery
	}
	if w.quiet || now.Sub(w.last) < every && !s.Evaluated && s.Step < p.Steps {
		return
	}
	w.last = now
	line := trainLine(p, s, metric, now.Sub(w.began).Seconds(), s.Step-w.from, w.tokens)
	switch {
	case w.live && s.Evaluated: // it stays
		fmt.Fprintf(w.out, "\r\x1b[K%s\n", line)
	case w.live:
		fmt.Fprintf(w.out, "\r\x1b[K%s", clipLine(line, w.width-1))
	default:
		fmt.Fprintln(w.out, line)
	}
}

// clear takes the live line away.
func (w *trainWatch) clear() {
	if w.live && !w.last.IsZero() {
		fmt.Fprint(w.out, "\r\x1b[K")
	}
}

// trainLine is one step in words; steps and tokens were done in seconds, and
// metric is that of a score.
func trainLine(p *core.TrainPlan, s *core.TrainStep, metric string, seconds float64, steps, tokens int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "step %d/%d  update %d  loss %.4f (%.4f)  lr %.3g  grad %.3g", s.Step, p.Steps, s.Updates, s.Loss, s.Smoothed, s.LR, s.GradNorm)
	if s.Evaluated {
		fmt.Fprintf(&b, "  validation %.4f", s.Validation)
	}
	if s.Scored {
		fmt.Fprintf(&b, "  %s %.4f", metric, s.Score)
	}
	if seconds > 0 && tokens > 0 {
		fmt.Fprintf(&b, "  %s tok/s", short(float64(tokens)/seconds))
	}
	if s.PeakMemory > 0 {
		fmt.Fprintf(&b, "  %s", binary(s.PeakMemory))
	}
	if steps > 0 && s.Step < p.Steps {
		fmt.Fprintf(&b, "  ETA %s", (time.Duration(seconds / float64(steps) * float64(p.Steps-s.Step) * float64(time.Second))).Round(time.Second))
	}
	return b.String()
}

package local

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/evalrun/evalrun/backends/local/arch"
	"github.com/evalrun/evalrun/backends/local/engine"
	"github.com/evalrun/evalrun/backends/local/lora"
	"github.com/evalrun/evalrun/backends/local/train"
	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/kernels"
)

// lent is an engine that a training lends to the backend's sessions.
type lent struct {
	engine *engine.Engine
	inputs *inputs
}

const (
	// trainedName is the adapter that answers while a score is waited for.
	trainedName = "in-training"
	// trainedSequences are answered side by side, if their answers have up to
	// trainedAnswer tokens, and fewer if not: less than an evaluation's, for the
	// memory of keys and values. Answers do not depend on it.
	trainedSequences = 16
	trainedAnswer    = 64
)

// monitor settles what makes an evaluation better, which the recipe then says.
func (t *training) monitor() error {
	known := t.job.Metric != "" && t.job.Validation != ""
	switch r := &t.recipe; {
	case r.Monitor == train.MonitorScore && !known && !t.dry:
		return &core.UserError{Where: "recipe: monitor", Message: "the validation rows have no score", Hint: "monitor=loss follows their loss; --holdout keeps rows of a task for validation, which its metric can score"}
	case r.Monitor == "" && known:
		r.Monitor = train.MonitorScore
	case r.Monitor == "":
		r.Monitor = train.MonitorLoss
	}
	return nil
}

// scores tells whether evaluations ask for a score.
func (t *training) scores() bool {
	return t.recipe.Monitor == train.MonitorScore && t.recipe.EvalEvery > 0 && len(t.held.Examples) > 0
}

// planAnswering settles the engine that answers validation rows, and gives the
// bytes that it takes beside the weights. It has the context of the backend's
// own, so that it drops as much of a long prompt, and keys and values for the
// validation rows.
func (t *training) planAnswering() (int64, error) {
	if t.held == nil || !t.scores() {
		return 0, nil
	}
	m, err := arch.Sketch(t.config, t.options)
	if err != nil {
		return 0, err
	}
	o := t.backend.settings.Options
	if o.Sequences == 0 || o.Sequences > trainedSequences {
		o.Sequences = trainedSequences
	}
	o.Tokenizer, o.Adapters = t.tok, nil
	p, err := engine.PlanOver(m, o)
	if err != nil {
		return 0, err
	}
	longest := 0
	for _, e := range t.held.Examples {
		longest = max(longest, len(e.IDs))
	}
	pages := func(tokens int) int { return (min(tokens, p.Context) + kernels.PageTokens - 1) / kernels.PageTokens }
	o.Context = p.Context
	o.KVBytes = min(p.KVBytes, t.config.PageBytes()*int64(max(pages(p.Context), o.Sequences*pages(longest+trainedAnswer))))
	t.answering = o
	if p, err = engine.PlanOver(m, o); err != nil {
		return 0, err
	}
	return p.KVBytes + p.WorkspaceBytes, nil
}

// score has the receiver of the news ask the model as it stands. The adapter is
// written as it would be left and read as an evaluation reads it; the base is
// the one in training.
func (t *training) score(step int, model *arch.Model, tuned *train.Tuned) (value float64, err error) {
	dir := t.scoredFolder()
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := t.write(dir, tuned); err != nil {
		return 0, err
	}
	o := t.answering
	o.Device, o.Adapters = t.dev, []engine.AdapterPath{{Name: trainedName, Path: dir}}
	e, err := engine.Over(model, o)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	t.backend.lend(&lent{e, t.inputs})
	defer t.backend.lend(nil)
	ask := &core.TrainScore{Step: step, Adapter: trainedName, Rows: t.recipe.EvalRows}
	t.tell(core.TrainNews{Kind: core.ScoreNews, Score: ask})
	switch {
	case t.left:
		return 0, errors.New("nobody is there to give it")
	case ask.Value == nil:
		return 0, errors.New("none was given")
	case *ask.Value-*ask.Value != 0:
		return 0, errors.New("it is no number")
	}
	return *ask.Value, nil
}

// scoredFolder holds the adapter while it is scored.
func (t *training) scoredFolder() string { return filepath.Join(t.job.Out, workFolder, trainedName) }

// write makes dir an adapter of the values as they stand.
func (t *training) write(dir string, tuned *train.Tuned) error {
	base := t.backend.config.Model
	if base == "" {
		base = "demo"
	}
	text, err := t.recipe.Settings(base).JSON()
	if err != nil {
		return err
	}
	return lora.Write(dir, text, tuned.Values())
}

// lend has new sessions answered by a training's engine, or by the backend's
// own again.
func (b *backend) lend(l *lent) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lent = l
}

package local

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/evalrun/evalrun/backends/local/arch"
	"github.com/evalrun/evalrun/backends/local/demo"
	"github.com/evalrun/evalrun/backends/local/device"
	"github.com/evalrun/evalrun/backends/local/engine"
	"github.com/evalrun/evalrun/backends/local/lora"
	"github.com/evalrun/evalrun/backends/local/train"
	"github.com/evalrun/evalrun/backends/local/weights"
	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/internal/filelock"
	"github.com/evalrun/evalrun/internal/memory"
	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/cuda"
)

var _ core.Trainer = (*backend)(nil)

// workFolder keeps a training's checkpoints, log and lock within the folder of
// its adapter.
const workFolder = "training"

// recipeFile holds the effective recipe beside the adapter.
const recipeFile = "recipe.json"

// garbage is how much of it the collector of a training lets lie, but a share
// of a hundredth at least.
const garbage = 8 << 20

// Train fine-tunes the backend's model. The model is opened anew, quantised as
// the recipe says: answering and training do not share weights.
func (b *backend) Train(ctx context.Context, job core.Job) iter.Seq2[core.TrainNews, error] {
	return func(yield func(core.TrainNews, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		t := &training{backend: b, job: job, yield: yield, cancel: cancel}
		if err := t.run(ctx); err != nil && !t.left {
			yield(core.TrainNews{}, err)
		}
	}
}

// training is one job on its way.
type training struct {
	backend *backend
	job     core.Job
	yield   func(core.TrainNews, error) bool
	left    bool // the caller wants no more news
	dry     bool // nothing is evaluated: a rehearsal
	cancel  context.CancelFunc

	recipe   train.Recipe
	path     string
	config   *arch.Config
	file     *weights.File
	options  arch.Options
	tok      engine.Tokenizer
	inputs   *inputs
	dev      kernels.TrainDevice
	memory   *train.Plan
	extent   *train.Extent
	data     *train.Encoded
	held     *train.Encoded // validation
	identity string
	// answering are the options of the engine that answers validation rows.
	answering engine.Options
}

func (t *training) tell(n core.TrainNews) {
	if !t.left && !t.yield(n, nil) {
		t.left = true
		t.cancel()
	}
}

func (t *training) run(ctx context.Context) error {
	if err := t.open(); err != nil {
		return err
	}
	if err := t.read(); err != nil {
		return errors.Join(err, t.close())
	}
	if err := t.device(); err != nil {
		return errors.Join(err, t.close())
	}
	plan, err := t.plan()
	if t.job.PlanOnly && plan != nil && (err != nil || t.file == nil) {
		// It does not fit, or there are no weights to time.
		t.tell(core.TrainNews{Kind: core.PlanNews, Plan: plan})
		if err == nil {
			t.tell(core.TrainNews{Kind: core.EndNews, End: &core.TrainEnd{}})
		}
		return errors.Join(err, t.close())
	}
	if err != nil {
		return errors.Join(err, t.close())
	}
	return t.train(ctx, plan)
}

func (t *training) close() (err error) {
	if t.dev != nil {
		err = t.dev.Close()
	}
	if t.file != nil {
		err = errors.Join(err, t.file.Close())
	}
	return err
}

// device starts what computes.
func (t *training) device() error {
	dev, err := device.Open(t.backend.config.Device, t.backend.settings.Threads)
	if user := t.backend.gpuError(err); user != nil {
		return user
	}
	if err != nil {
		return err
	}
	var ok bool
	if t.dev, ok = dev.(kernels.TrainDevice); !ok {
		return errors.Join(&core.UserError{Where: "--device " + dev.Name(), Message: "this device does not train", Hint: "take --device cpu"}, dev.Close())
	}
	return nil
}

// open reads the recipe and opens the model's files.
func (t *training) open() (err error) {
	if t.recipe, err = train.ParseRecipe(t.job.Recipe); err != nil {
		return &core.UserError{Message: err.Error(), Hint: "docs/train.md lists the settings of a recipe"}
	}
	dtype := ""
	if t.recipe.Compute == "bf16" {
		dtype = "bf16" // the base is rounded before it is quantised, as transformers loads it
	}
	if t.options, err = arch.ParseOptions(dtype, t.recipe.Quant); err != nil {
		return &core.UserError{Message: "recipe: " + err.Error(), Hint: "quant is none, nf4 or int8"}
	}
	if t.path = t.backend.config.Model; t.path == "" {
		if t.path, err = demo.File(); err != nil {
			return fmt.Errorf("unpack the demonstration model: %w", err)
		}
	}
	if t.config, t.file, err = arch.Open(t.path); err == nil {
		t.tok, err = engine.OpenTokenizer(t.path, t.file)
	} else if text, missing := os.ReadFile(filepath.Join(t.path, "config.json")); t.job.PlanOnly && missing == nil {
		// A plan needs the shape alone.
		t.config, err = arch.ParseHF(text)
		return err
	}
	if err != nil {
		return errors.Join(&core.UserError{Where: "--model " + t.path, Message: err.Error(), Hint: "give a Hugging Face folder (config.json, *.safetensors, tokenizer.json) or a .gguf file"}, t.close())
	}
	if t.tok == nil {
		return errors.Join(&core.UserError{Where: "--model " + t.path, Message: "the model has no tokenizer", Hint: "put tokenizer.json or tokenizer.model beside its weights"}, t.close())
	}
	return nil
}

// read makes examples of the job's rows.
func (t *training) read() error {
	if err := t.monitor(); err != nil {
		return err
	}
	h := sha256.New()
	rows, err := readRows(t.job.Data, h)
	if err != nil {
		return err
	}
	if t.tok == nil { // a plan of a shape: the rows count by their bytes
		for i := range rows {
			for _, m := range rows[i].Messages {
				if m.Role == "assistant" {
					rows[i].Completion += m.Content
				} else {
					rows[i].Prompt += m.Content
				}
			}
		}
		t.data = train.Outline(rows, &t.recipe, t.config.Context)
		t.recipe.PromptTokens, t.recipe.TotalTokens = t.data.PromptTokens, t.data.TotalTokens
		t.recipe.Settle(len(t.data.Examples))
		return nil
	}
	t.inputs = newInputs(t.path, t.tok)
	if err := t.inputs.segments(t.job.Data, rows); err != nil {
		return err
	}
	if t.data, err = t.recipe.Encode(rows, t.inputs.writer, t.tok, t.config.Context); err != nil {
		return err
	}
	if len(t.data.Examples) == 0 {
		return &core.UserError{Where: t.job.Data, Message: fmt.Sprintf("none of %d rows can be trained on: %s", len(rows), first(t.data.Left)), Hint: "raise total_tokens in the recipe, or look at the rows"}
	}
	t.recipe.Settle(len(t.data.Examples))
	// Validation rows are held to the limits of the training's.
	t.recipe.PromptTokens, t.recipe.TotalTokens = t.data.PromptTokens, t.data.TotalTokens
	t.held = &train.Encoded{}
	if t.job.Validation != "" {
		fmt.Fprint(h, "\x00validation\x00") // a row that moves between the two makes another training
		rows, err := readRows(t.job.Validation, h)
		if err != nil {
			return err
		}
		if err := t.inputs.segments(t.job.Validation, rows); err != nil {
			return err
		}
		if t.held, err = t.recipe.Encode(rows, t.inputs.writer, t.tok, t.config.Context); err != nil {
			return err
		}
		if len(t.held.Examples) == 0 {
			return &core.UserError{Where: t.job.Validation, Message: fmt.Sprintf("none of %d validation rows can be used: %s", len(rows), first(t.held.Left)), Hint: "raise total_tokens in the recipe, or look at the rows"}
		}
		for _, row := range t.held.Left {
			t.data.Left = append(t.data.Left, "validation row "+row)
		}
	}
	model, err := fingerprint(t.path)
	if err != nil {
		return err
	}
	text, err := json.Marshal(t.recipe)
	if err != nil {
		return err
	}
	fmt.Fprintf(h, "%s\x00%s", model, text)
	if t.scores() {
		fmt.Fprintf(h, "\x00%s %v", t.job.Metric, t.job.LowerIsBetter)
	}
	t.identity = hex.EncodeToString(h.Sum(nil))
	return nil
}

func first(list []string) string {
	if len(list) == 0 {
		return "there are none"
	}
	return list[0]
}

func mib(n int64) string { return fmt.Sprintf("%d MiB", n>>20) }

// batch shows the first window: every token, marked where it is judged.
func (t *training) batch(job *train.Job) []string {
	var out []string
	if t.tok == nil {
		return nil
	}
	for _, i := range job.FirstWindow() {
		e := &t.data.Examples[i]
		var b strings.Builder
		fmt.Fprintf(&b, "%s:", t.data.IDs[i])
		stream := t.tok.Stream(nil)
		for at, id := range e.IDs {
			piece := stream.Push(id)
			if piece == "" {
				piece = fmt.Sprintf("<%d>", id)
			}
			if at > 0 && e.Labels[at] != train.Ignored {
				fmt.Fprintf(&b, " [%q]", piece)
			} else {
				fmt.Fprintf(&b, " %q", piece)
			}
		}
		out = append(out, b.String())
	}
	return out
}

// train loads the model and works through the steps.
func (t *training) train(ctx context.Context, plan *core.TrainPlan) (err error) {
	j := &train.Job{
		Dir: filepath.Join(t.job.Out, workFolder), Recipe: &t.recipe, Examples: t.data.Examples, Names: t.data.IDs,
		Validation: t.held.Examples, Identity: t.identity, Extent: t.extent, Outline: t.memory.Outline, Keep: !plan.Recompute, Decoded: t.memory.Decode, Tell: t.step, LowerIsBetter: t.job.LowerIsBetter,
	}
	j.Machine = t.dev.Name()
	if d, ok := t.dev.(interface{ Path() string }); ok {
		j.Machine += ", " + d.Path()
	}
	if !t.job.PlanOnly { // before anything large is loaded
		st, err := take(ctx, j)
		if err != nil {
			return errors.Join(t.explain(err), t.dev.Close(), t.close())
		}
		defer j.Close()
		if skipped := j.Skipped(); skipped != nil {
			slog.Warn(fmt.Sprintf("%v; the training goes on from the checkpoint before, of step %d", skipped, st.Step))
		}
		if err := os.RemoveAll(t.scoredFolder()); err != nil { // of a process that was killed
			return errors.Join(t.explain(err), t.dev.Close(), t.close())
		}
		plan.Resumed = st.Step
		if n := len(st.Machine); n > 0 && st.Machine[n-1] != j.Machine {
			slog.Warn(fmt.Sprintf("the training was computed on %s and goes on on %s: its bits will be those of neither alone", st.Machine[n-1], j.Machine))
		}
	}
	// The collector keeps to the plan: left alone it lets garbage grow as large
	// as everything that lives. What loading leaves behind goes at once.
	defer debug.SetGCPercent(debug.SetGCPercent(t.percent()))
	model, err := arch.Build(t.dev, t.config, t.file, t.extent.Context, t.options)
	if small := (*cuda.MemoryError)(nil); errors.As(err, &small) {
		return errors.Join(t.explain(err), t.dev.Close())
	}
	if err != nil {
		return errors.Join(&core.UserError{Where: t.path, Message: err.Error()}, t.dev.Close())
	}
	defer func() { err = errors.Join(err, t.dev.Close(), model.Close()) }()
	debug.FreeOSMemory()
	tuned, err := train.Fresh(t.dev, model, &t.recipe)
	if err != nil {
		return t.explain(err)
	}
	j.Tuned = tuned
	j.Score = func(step int) (float64, error) {
		if err := j.Ours(); err != nil {
			return 0, err
		}
		return t.score(step, model, tuned)
	}
	if t.job.PlanOnly {
		if plan.SecondsPerStep, err = j.Probe(3); err != nil {
			return t.explain(err)
		}
		t.tell(core.TrainNews{Kind: core.PlanNews, Plan: plan})
		t.tell(core.TrainNews{Kind: core.EndNews, End: &core.TrainEnd{}})
		return nil
	}
	t.tell(core.TrainNews{Kind: core.PlanNews, Plan: plan})
	res, err := j.Run(ctx)
	if err != nil {
		return t.explain(err)
	}
	end := &core.TrainEnd{Finished: res.Finished, Early: res.Early, Step: res.Step, Updates: res.Updates, Seconds: res.Seconds, BestStep: res.BestStep}
	if res.Best != nil {
		end.Best = *res.Best
	}
	if res.BestScore != nil {
		end.Scored, end.BestScore = true, *res.BestScore
	}
	if res.Finished {
		if err := j.Ours(); err != nil {
			return t.explain(err)
		}
		if end.Adapter, end.Hash, err = t.save(tuned, plan); err != nil {
			return t.explain(err)
		}
	}
	t.tell(core.TrainNews{Kind: core.EndNews, End: end})
	return nil
}

func (t *training) step(n train.News) {
	s := &core.TrainStep{Step: n.Step, Updates: n.Updates, Loss: n.Loss, Smoothed: n.Smoothed, LR: n.LR, GradNorm: n.GradNorm,
		Tokens: n.Tokens, Seconds: n.Seconds, Checkpoint: n.Checkpoint, PeakMemory: memory.Peak()}
	if n.Validation != nil {
		s.Evaluated, s.Validation = true, *n.Validation
	}
	if n.Score != nil {
		s.Scored, s.Score = true, *n.Score
	}
	t.tell(core.TrainNews{Kind: core.StepNews, Step: s})
}

// lockWait is how long a folder's lock is waited for: a trainer whose host was
// killed needs a moment to notice.
const lockWait = 2 * time.Second

// take opens the job's folder.
func take(ctx context.Context, j *train.Job) (train.State, error) {
	for deadline := time.Now().Add(lockWait); ; {
		st, err := j.Open()
		var held *filelock.HeldError
		if !errors.As(err, &held) || time.Now().After(deadline) {
			return st, err
		}
		select {
		case <-ctx.Done():
			return st, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// explain puts errors of a training into the user's words.
func (t *training) explain(err error) error {
	var held *filelock.HeldError
	var bad *train.NotFiniteError
	var exploded *train.ExplodedError
	var path *fs.PathError
	var link *os.LinkError
	var small *cuda.MemoryError
	work := filepath.Join(t.job.Out, workFolder)
	user := &core.UserError{Where: t.job.Out, Message: err.Error()}
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case errors.As(err, &held):
		user.Message = "another process is training here"
		if held.PID != "" {
			user.Message = "process " + held.PID + " is training here"
		}
		user.Hint = "wait for it, stop it, or name another folder with --out"
	case errors.Is(err, train.ErrOtherTraining):
		user.Message, user.Hint = "its checkpoint belongs to another base model, other rows or another recipe", "give the same command again to go on with it, or name another folder with --out"
	case errors.Is(err, train.ErrOtherVersion):
		user.Hint = "finish it with the version that began it, or begin anew in another folder: --out"
	case errors.Is(err, train.ErrDamaged):
		user.Hint = "no whole checkpoint is left to go on from: to begin anew, remove " + work + " and give the command again"
	case errors.Is(err, train.ErrLost):
		user.Hint = "find out what removed it; the same command goes on from the checkpoint that is there, or begins anew"
	case errors.As(err, &small):
		user.Where, user.Message = "memory", fmt.Sprintf("%v; the plan is of %s: weights %s, activations %s, logits %s", err, mib(t.memory.Total()), mib(t.memory.Weights), mib(t.memory.Activations), mib(t.memory.Logits))
		user.Hint = t.smaller(t.memory, 0, "")
		if _, found := os.Stat(filepath.Join(work, "checkpoint.safetensors")); found == nil {
			user.Hint += "; the last checkpoint, in " + work + ", stays"
		}
	case errors.As(err, &bad), errors.As(err, &exploded):
		warmup := t.recipe.Rates().Warmup
		user.Hint = fmt.Sprintf("lower the learning rate (lr is %g), lengthen the warm-up (warmup is %g) or look at the rows, and train in another folder (--out); the last checkpoint in %s stays", t.recipe.LR, warmup, work)
	case errors.As(err, &path), errors.As(err, &link):
		if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) || errors.Is(err, syscall.ENOTDIR) {
			user.Hint = "make the folder writable, or name another with --out"
			return user
		}
		hint := "mend that"
		if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG) {
			hint = "free space"
		}
		return &core.Error{Code: core.CodeInternal, Message: t.job.Out + ": " + err.Error(), Hint: hint + " and give the same command again: it goes on from the last checkpoint, which stays"}
	default:
		user.Hint = "the last checkpoint in " + work + " stays; the same command goes on from it"
	}
	return user
}

// save writes the adapter and the recipe that made it. adapter_config.json
// comes last: with it, the folder holds an adapter.
func (t *training) save(tuned *train.Tuned, plan *core.TrainPlan) (dir, hash string, err error) {
	dir = t.job.Out
	for _, name := range []string{"adapter_*", recipeFile} {
		if err := weights.RemoveUnfinished(filepath.Join(dir, name)); err != nil {
			return "", "", err
		}
	}
	if err := weights.WriteFile(filepath.Join(dir, recipeFile), func(w io.Writer) error {
		_, err := io.WriteString(w, plan.Recipe+"\n")
		return err
	}); err != nil {
		return "", "", err
	}
	if err := t.write(dir, tuned); err != nil {
		return "", "", err
	}
	a, err := lora.Open(dir)
	if err != nil {
		return "", "", fmt.Errorf("read the adapter back: %w", err)
	}
	hash, err = a.Hash()
	return dir, hash, errors.Join(err, a.Close())
}

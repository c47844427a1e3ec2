// Package replay answers from a stored run: the same requests get the answers
// that the run's backend gave, without that backend. It serves to judge old
// answers with new metrics or other extractions through the whole road, and to
// make a run again where its model is no longer to be had.
//
// Config.Model is a run folder or its samples.jsonl. A request is answered by
// the record with the same kind, input, continuations, generation parameters
// and repeat index; where there is none, by the record of the same task, sample
// and repeat index if it had the same input. Anything else is CodeNotFound.
//
// Option:
//
//	label  the model label of the answers, for a run that holds several
package replay

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/evalrun/evalrun/backends/internal/option"
	"github.com/evalrun/evalrun/backends/internal/session"
	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/record"
)

// Name is what the backend is called on the command line.
const Name = "replay"

var kinds = []core.Kind{core.Generate, core.ScoreText}

type backend struct {
	path  string
	label string

	mu   sync.Mutex
	data *stored // nil until read
}

// stored is what a run's file holds of one model. It never changes.
type stored struct {
	label, hash string
	chat        bool // something was asked as messages
	answers     []answer
	byContent   map[content]int32
	byPlace     map[place]int32
	failed      map[place]core.Code // samples that only have an API error
}

// answer is a record without what a response does not need.
type answer struct {
	input     content // of input alone
	text      string
	finish    core.FinishReason
	scores    []core.Likelihood
	usage     core.Usage
	truncated int
	seconds   float64
}

// content is a hash of a request, or of its input.
type content [16]byte

type place struct {
	task, sample string
	repeat       int
}

// New makes the backend; the run is read when it is first needed.
func New(cfg core.Config) (core.Backend, error) {
	o := option.Read(Name, cfg.Options)
	b := &backend{label: o.String("label", "")}
	if err := o.Err(); err != nil {
		return nil, err
	}
	if cfg.Model == "" {
		return nil, &core.UserError{Where: "backend replay", Message: "no run is named", Hint: "give a run folder as --model, such as runs/latest"}
	}
	b.path = cfg.Model
	if info, err := os.Stat(b.path); err == nil && info.IsDir() {
		b.path = filepath.Join(b.path, "samples.jsonl")
	}
	if info, err := os.Stat(b.path); err != nil || info.IsDir() {
		return nil, &core.UserError{Where: b.path, Message: "there is no stored run", Hint: "give a run folder as --model, such as runs/latest"}
	}
	return b, nil
}

// load reads the run once; a failed reading is tried again.
func (b *backend) load(ctx context.Context) (*stored, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.data != nil {
		return b.data, nil
	}
	f, err := os.Open(b.path)
	if err != nil {
		return nil, fmt.Errorf("opening the stored run: %w", err)
	}
	defer f.Close()
	hash := sha256.New()
	d := &stored{
		label: b.label, byContent: map[content]int32{}, byPlace: map[place]int32{}, failed: map[place]core.Code{},
	}
	labels := map[string]bool{}
	n := 0
	for rec, err := range record.ReadFrom(bufio.NewReaderSize(io.TeeReader(f, hash), 1<<16), b.path) {
		if err != nil {
			return nil, err
		}
		if n++; n%4096 == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		labels[rec.Model] = true
		if b.label == "" || rec.Model == b.label {
			d.add(&rec)
		}
	}
	if err := b.choose(d, labels); err != nil {
		return nil, err
	}
	d.hash = hex.EncodeToString(hash.Sum(nil))
	b.data = d
	return d, nil
}

// choose checks that the answers are those of one model.
func (b *backend) choose(d *stored, labels map[string]bool) error {
	var names []string
	for l := range labels {
		names = append(names, l)
	}
	slices.Sort(names)
	switch {
	case len(names) == 0:
		return &core.UserError{Where: b.path, Message: "the run holds no samples", Hint: "name another run"}
	case b.label != "" && !labels[b.label]:
		return &core.UserError{Where: b.path, Message: fmt.Sprintf("the run has no answers of %q", b.label),
			Hint: "give --opt label=NAME with one of: " + strings.Join(names, ", ")}
	case b.label == "" && len(names) > 1:
		return &core.UserError{Where: b.path, Message: fmt.Sprintf("the run holds answers of %d models", len(names)),
			Hint: "choose one with --opt label=NAME: " + strings.Join(names, ", ")}
	case b.label == "":
		d.label = names[0]
	}
	return nil
}

// add takes a record; a later one goes before an earlier one.
func (d *stored) add(rec *record.Record) {
	at := place{rec.Task, rec.Sample, rec.Repeat}
	if rec.Error != nil {
		if _, ok := d.byPlace[at]; !ok {
			d.failed[at] = rec.Error.Code
		}
		return
	}
	r := core.Request{
		Kind: core.Generate, Prompt: rec.Prompt, Messages: rec.Messages, Continuations: rec.Continuations,
		Generation: rec.Generation.Core(), Repeat: rec.Repeat,
	}
	if len(rec.Continuations) > 0 {
		r.Kind = core.ScoreText
	}
	d.chat = d.chat || rec.Messages != nil
	i := int32(len(d.answers))
	d.answers = append(d.answers, answer{
		input: inputOf(&r), text: rec.Response, finish: rec.Finish, scores: rec.Likelihoods,
		usage: rec.Usage, truncated: rec.Truncated, seconds: rec.Seconds,
	})
	d.byContent[contentOf(&r)] = i
	d.byPlace[at] = i
	delete(d.failed, at)
}

// inputOf hashes what is put before the model.
func inputOf(r *core.Request) content { return hash(r, false) }

// contentOf hashes all that the answer depends on and the run stored.
func contentOf(r *core.Request) content { return hash(r, true) }

func hash(r *core.Request, all bool) content {
	in := struct {
		Kind          core.Kind
		Prompt        string
		Messages      []core.Message     `json:",omitempty"`
		Continuations []string           `json:",omitempty"`
		Generation    *record.Generation `json:",omitempty"`
		Repeat        int                `json:",omitempty"`
	}{Kind: r.Kind, Continuations: r.Continuations}
	if r.Messages != nil {
		in.Messages = r.Messages
	} else {
		in.Prompt = r.Prompt
	}
	if all {
		in.Generation, in.Repeat = record.FromGeneration(r.Generation), r.Repeat
	}
	h := sha256.New()
	if err := json.NewEncoder(h).Encode(in); err != nil {
		return content{} // texts and finite numbers always encode
	}
	return content(h.Sum(nil)[:16])
}

// Info tells whose answers they are.
func (b *backend) Info(ctx context.Context) (core.Info, error) {
	d, err := b.load(ctx)
	if err != nil {
		return core.Info{}, err
	}
	forms := []core.Form{core.FormCompletion, core.FormChat}
	if d.chat { // what was asked as messages is only found again by messages
		slices.Reverse(forms)
	}
	return core.Info{
		Name: Name, Version: "1", Model: d.label, ModelHash: d.hash, Family: familyOf(d.label),
		Kinds: kinds, Forms: forms,
		Deterministic: true, InFlight: 64, Device: "stored run",
		Notes: []string{"answers are replayed from " + b.path},
	}, nil
}

// familyOf takes the model's name out of a label such as openai:gpt-4-0613, so
// that the replayed task chooses the chat form that it chose then.
func familyOf(label string) string {
	label = label[strings.IndexByte(label, ':')+1:]
	label, _, _ = strings.Cut(label, "+")
	label = strings.TrimRight(label, "/")
	return strings.ToLower(label[strings.LastIndexAny(label, "/\\")+1:])
}

func (b *backend) Close() error { return nil }

func (b *backend) Open(ctx context.Context) (core.Session, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	d, err := b.load(ctx)
	if err != nil {
		return nil, err
	}
	return session.Work{
		Check: func(r *core.Request) *core.Error { return session.Check(r, kinds) },
		Answer: func(_ context.Context, r *core.Request, _ func(string)) (core.Response, error) {
			a, err := d.find(r)
			if err != nil {
				return core.Response{}, fmt.Errorf("replaying %s: %w", b.path, err)
			}
			return a.response(), nil
		},
	}.Open(ctx), nil
}

// find gives the stored answer to r.
func (d *stored) find(r *core.Request) (*answer, error) {
	if r.Logprobs {
		return nil, &core.Error{Code: core.CodeNotFound, Message: "a run stores no log-probabilities of tokens"}
	}
	if i, ok := d.byContent[contentOf(r)]; ok {
		return &d.answers[i], nil
	}
	at := place{r.Task, r.Sample, r.Repeat}
	who := "this request"
	if r.Task != "" {
		who = fmt.Sprintf("task %s, sample %s, repeat %d", r.Task, r.Sample, r.Repeat)
	}
	e := &core.Error{Code: core.CodeNotFound, Message: "the stored run has no answer to " + who,
		Hint: "replay the task with the data, prompt and limit of that run"}
	if i, ok := d.byPlace[at]; ok && r.Task != "" {
		if d.answers[i].input == inputOf(r) {
			return &d.answers[i], nil
		}
		e.Message = "the stored run answered " + who + " to another prompt"
	} else if code, ok := d.failed[at]; ok && r.Task != "" {
		e.Message = fmt.Sprintf("the stored run has no answer to %s either: it failed with %s", who, code)
		e.Hint = "resume that run, then replay it"
	}
	return nil, e
}

func (a *answer) response() core.Response {
	return core.Response{
		Text: a.text, Finish: a.finish, Scores: slices.Clone(a.scores), Usage: a.usage,
		Truncated: a.truncated, Seconds: a.seconds, Cached: true,
	}
}

// Package training is the user's side of a fine-tuning: it makes a trainer's
// rows of a task's, and shows and keeps what a trainer tells.
//
// First call: Prepare.
package training

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"iter"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/prompt"
	"github.com/evalrun/evalrun/core/run"
	"github.com/evalrun/evalrun/internal/filelock"
	"github.com/evalrun/evalrun/internal/trainlog"
)

// A Row is an example as a trainer reads it: prompt and completion, or the
// messages of a chat, of which the model learns those of the assistant.
type Row struct {
	ID         string         `json:"id"`
	Prompt     string         `json:"prompt,omitempty"`
	Completion string         `json:"completion,omitempty"`
	Messages   []core.Message `json:"messages,omitempty"`

	// A row of the user's own file stays as it is, on its line.
	raw  []byte
	line int
	key  string
}

// Data is rows made ready, and what was found on the way.
type Data struct {
	Rows, Validation []Row
	// Own says that they are of the user's own file, and of no task.
	Own bool
	// NoTarget and NoLabel name rows that are left out: their target is empty,
	// or none of the task's labels.
	NoTarget, NoLabel []string
	// Shared names rows whose prompt is also that of an evaluation row.
	Shared []string
}

// Options of Prepare.
type Options struct {
	// Join stands between prompt and completion; nil is a blank where neither
	// brings white space, as between a prompt and the answer that is expected.
	Join *string
	// Holdout is the share of the rows that is kept for validation.
	Holdout float64
	Seed    uint64
	// Evaluation are the rows that the task is evaluated on; nil where they are
	// not known.
	Evaluation iter.Seq2[run.Row, error]
}

// Prepare renders rows with the very prompt that the job asks when it
// evaluates. Rows in, and options, decide all of it: no clock, no chance.
func Prepare(job *run.Job, rows iter.Seq2[run.Row, error], o Options) (*Data, error) {
	asked := map[string]bool{}
	if o.Evaluation != nil {
		for row, err := range o.Evaluation {
			if err != nil {
				return nil, err
			}
			s, err := job.Sample(0, row)
			if err != nil {
				return nil, err
			}
			asked[s.Prompt] = true
		}
	}
	d := &Data{}
	n := 0
	for row, err := range rows {
		if err != nil {
			return nil, err
		}
		s, err := job.Sample(n, row)
		if err != nil {
			return nil, err
		}
		n++
		target := ""
		if len(s.Targets) > 0 {
			target = s.Targets[0]
		}
		switch {
		case strings.TrimSpace(target) == "":
			d.NoTarget = append(d.NoTarget, row.ID)
			continue
		case !allowed(job.Task, target):
			d.NoLabel = append(d.NoLabel, fmt.Sprintf("%s (%q)", row.ID, target))
			continue
		}
		if asked[s.Prompt] {
			d.Shared = append(d.Shared, row.ID)
		}
		one := Row{ID: row.ID}
		if job.Form == core.FormChat {
			request, err := job.Request(s, 0)
			if err != nil {
				return nil, err
			}
			one.Messages = append(slices.Clone(request.Messages), core.Message{Role: "assistant", Content: target})
		} else {
			one.Prompt, one.Completion = s.Prompt, joined(o.Join, s.Prompt, target)
		}
		d.Rows = append(d.Rows, one)
	}
	if o.Holdout > 0 {
		d.holdOut(o.Holdout, o.Seed, func(r Row) string { return r.ID })
	}
	return d, nil
}

// allowed tells whether a target is one of the task's closed list, where it
// has one.
func allowed(t *core.Task, target string) bool {
	return len(t.Labels) == 0 || t.Template == core.TemplateJinja || t.Choices.Any() || t.HasLabel(target)
}

// joined is a completion as it follows its prompt.
func joined(join *string, text, target string) string {
	const end = "\x00"
	whole := prompt.WithShots([]prompt.Shot{{Prompt: text, Target: target, Join: join}}, end, "")
	return strings.TrimSuffix(strings.TrimPrefix(whole, text), end)
}

// holdOut moves a share of the rows to the validation, by what key says of
// them.
func (d *Data) holdOut(share float64, seed uint64, key func(Row) string) {
	held := heldOut(len(d.Rows), func(i int) string { return key(d.Rows[i]) }, share, seed)
	var stay []Row
	for i, r := range d.Rows {
		if held[i] {
			d.Validation = append(d.Validation, r)
		} else {
			stay = append(stay, r)
		}
	}
	d.Rows = stay
}

// heldOut chooses a share of n rows, at least one and not all: those with the
// lowest hash of seed and key, so that more rows change little. Rows with one
// key stay together; there must be two keys for any to be chosen.
func heldOut(n int, key func(int) string, share float64, seed uint64) []bool {
	size := map[uint64]int{}
	hashes := make([]uint64, n)
	for i := range hashes {
		h := fnv.New64a()
		fmt.Fprintf(h, "%d\x00%s", seed, key(i))
		hashes[i] = h.Sum64()
		size[hashes[i]]++
	}
	want, taken := max(1, int(math.Round(share*float64(n)))), 0
	chosen := map[uint64]bool{}
	order := slices.Sorted(maps.Keys(size))
	for _, h := range order {
		if taken >= want || len(chosen) == len(order)-1 {
			break
		}
		chosen[h], taken = true, taken+size[h]
	}
	held := make([]bool, n)
	for i, h := range hashes {
		held[i] = chosen[h]
	}
	return held
}

// workFolder keeps what a training works with, within its adapter's folder.
const workFolder = "training"

// Save writes the rows into the work folder of the adapter's folder out and
// gives the paths; validation is that of a file which the user named.
func (d *Data) Save(out, validation string) (data, held string, err error) {
	dir := filepath.Join(out, workFolder)
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return "", "", err
	}
	data, held = filepath.Join(dir, "data.jsonl"), validation
	if err := write(data, d.Rows); err != nil {
		return "", "", err
	}
	if len(d.Validation) > 0 {
		held = filepath.Join(dir, "validation.jsonl")
		err = write(held, d.Validation)
	}
	return data, held, err
}

// lockFile is what a trainer holds within the work folder while it trains.
const lockFile = "lock"

// Discard takes the rows away again from a folder where no training has begun,
// and the folder with them if nothing else is there.
func (d *Data) Discard(out string) {
	dir := filepath.Join(out, workFolder)
	if exists(filepath.Join(dir, trainlog.File)) || filelock.Held(filepath.Join(dir, lockFile)) {
		return // one has
	}
	// What cannot be removed, a full folder above all, stays.
	for _, name := range []string{"data.jsonl", "validation.jsonl", lockFile, ""} {
		_ = os.Remove(filepath.Join(dir, name))
	}
	_ = os.Remove(out)
}

// Notes are sentences on what was left out or is doubtful.
func (d *Data) Notes() []string {
	var out []string
	say := func(rows []string, what string) {
		if len(rows) > 0 {
			out = append(out, fmt.Sprintf("%d of %d rows %s: %s", len(rows), len(d.Rows)+len(d.Validation)+len(d.NoTarget)+len(d.NoLabel), what, Some(rows)))
		}
	}
	say(d.NoTarget, "are left out, their target is empty")
	say(d.NoLabel, "are left out, their target is none of the labels")
	say(d.Shared, "are also evaluated, so their scores flatter")
	return out
}

// Some names the first few of a list.
func Some(list []string) string {
	const most = 5
	if len(list) <= most {
		return strings.Join(list, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(list[:most], ", "), len(list)-most)
}

// Finished tells whether a folder holds an adapter that is not to be touched.
// That of a training has its report, which is written last: without it the
// training was killed on its way out, and the same command ends it.
func Finished(dir string) bool {
	if !exists(filepath.Join(dir, "adapter_config.json")) {
		return false
	}
	return exists(filepath.Join(dir, reportFile)) || !exists(Work(dir))
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// Work is the folder of checkpoints and logs within an adapter's.
func Work(dir string) string { return filepath.Join(dir, workFolder) }

// write stores rows as JSON lines, whole or not at all; a file that holds them
// already is left alone.
func write(path string, rows []Row) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	at := 1
	for _, r := range rows {
		if r.raw != nil {
			b.Write(bytes.Repeat([]byte{'\n'}, r.line-at)) // lines keep their numbers
			at = r.line + 1
			b.Write(r.raw)
			b.WriteByte('\n')
		} else if err := e.Encode(r); err != nil {
			return fmt.Errorf("row %s: %w", r.ID, err)
		}
	}
	text := b.Bytes()
	if holds(path, text) {
		return nil
	}
	// They are what an adapter was made of: another training's stay.
	if dir := filepath.Dir(path); filelock.Held(filepath.Join(dir, lockFile)) {
		return &core.UserError{Where: filepath.Dir(dir), Message: "another process is training here, on other rows", Hint: "wait for it, stop it, or name another folder with --out"}
	}
	return save(path, text)
}

// unfinished is what os.CreateTemp puts behind the name of a file that is being
// written.
const unfinished = ".new*"

// removeUnfinished removes what save has left beside files where its process
// was killed. The last element of a path may be a pattern.
func removeUnfinished(paths ...string) {
	for _, path := range paths {
		entries, _ := os.ReadDir(filepath.Dir(path))
		for _, e := range entries {
			if ok, _ := filepath.Match(filepath.Base(path)+unfinished, e.Name()); ok {
				_ = os.Remove(filepath.Join(filepath.Dir(path), e.Name())) // it harms nobody
			}
		}
	}
}

func holds(path string, text []byte) bool {
	old, err := os.ReadFile(path)
	return err == nil && bytes.Equal(old, text)
}

func save(path string, text []byte) error {
	if holds(path, text) {
		return nil
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+unfinished)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

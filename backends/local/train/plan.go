package train

import (
	"os"
	"slices"

	"github.com/evalrun/evalrun/backends/local/arch"
	"github.com/evalrun/evalrun/backends/local/weights"
	"github.com/evalrun/evalrun/kernels"
)

// A Plan is the memory that a training takes, in bytes, known before anything
// is loaded.
type Plan struct {
	// Weights are the base in the form that the device multiplies with, and
	// what it reads in the checkpoint's own; norms, biases and rotary tables.
	Weights int64
	// Table is the pages of the file that hold the embeddings of the examples'
	// tokens, where the device looks them up there.
	Table int64
	// Adapter is the trained values, the form they are multiplied in and their
	// gradients, Optimiser its means.
	Adapter, Optimiser  int64
	Activations, Logits int64
	// Scratch is what the device's operations work in.
	Scratch int64
	// Checkpoint is the copy of values and means that one is written from.
	Checkpoint int64
	Parameters int64 // trained
	// Decode says that the device may keep the values of the weights beside their
	// codes, to multiply faster; Decoded is what they take.
	Decode  bool
	Decoded int64
	// Recompute says that activations are not held, to fit the limit.
	Recompute bool
	// Outline is the device that counted, for Job.Outline
	Outline kernels.Outline
}

// Total is all of it.
func (p *Plan) Total() int64 {
	return p.Weights + p.Table + p.Adapter + p.Optimiser + p.Activations + p.Logits + p.Decoded + p.Scratch + p.Checkpoint
}

// An Extent is what a training's memory depends on besides recipe and model.
type Extent struct {
	// Tokens and Judged are the most of any window, Longest of any example.
	// Context is the longest sequence that the model is built for: Longest, where
	// nobody else uses it.
	Tokens, Judged, Longest, Context int
	Updates                          int
	Mean                             float64 // tokens of a micro-batch
	// Windows are those that take most, each in its own way.
	Windows [][]Example
	ids     map[int32]bool
}

// largest keeps the windows that have most of something.
type largest struct {
	most    [4]int
	windows [4][]Example
}

// look measures a window: tokens, judged labels, pages of keys, its longest
// example.
func (l *largest) look(examples []Example) {
	var n [4]int
	n[0], n[1] = rows(examples)
	for i := range examples {
		tokens := len(examples[i].IDs)
		n[2] += (tokens + kernels.PageTokens - 1) / kernels.PageTokens
		n[3] = max(n[3], tokens)
	}
	for i, x := range n {
		if x > l.most[i] {
			l.most[i], l.windows[i] = x, append(l.windows[i][:0], examples...)
		}
	}
}

// Measure goes through all windows of a training and of its validation.
func (j *Job) Measure() *Extent {
	x := &Extent{ids: map[int32]bool{}}
	var l largest
	var window []Example
	o := newOrder(len(j.Examples), j.Recipe)
	for step := 0; step < j.Recipe.Steps; {
		w := o.window(step)
		window = window[:0]
		for i := w.From; i < w.To; i++ {
			for _, at := range o.at(i) {
				window = append(window, j.Examples[at])
			}
		}
		l.look(window)
		for i := range window {
			x.Mean += float64(len(window[i].IDs)) / float64(j.Recipe.Steps)
		}
		if w.Applied {
			x.Updates++
		}
		step = w.To
	}
	for rows := range slices.Chunk(j.Validation, j.Recipe.Window()) {
		l.look(rows)
	}
	x.Tokens, x.Judged, x.Longest, x.Windows = l.most[0], l.most[1], l.most[3], l.windows[:]
	x.Context = x.Longest
	for _, examples := range [][]Example{j.Examples, j.Validation} {
		for i := range examples {
			for _, id := range examples[i].IDs {
				x.ids[id] = true
			}
		}
	}
	return x
}

// around is what the system brings in of a file around a byte that is wanted.
const around = 64 << 10

// pages is the part of a table in a file that lookups of the examples' tokens
// bring into memory.
func (x *Extent) pages(row, rows int64) int64 {
	if row == 0 {
		return 0
	}
	touched := map[int64]bool{}
	for id := range x.ids {
		from := int64(id) * row
		for at := from / around; at <= (from+row-1)/around; at++ {
			touched[at] = true
		}
	}
	return min(row*rows+int64(os.Getpagesize()), int64(len(touched))*around)
}

// PlanOf reckons the plan for windows of x's extent: it takes the trainer's own
// way over an outline of the device, which counts. f may be nil, for a shape
// without a checkpoint. Where limit (0: none) allows it, activations are held, and
// the weights of a kernels.Keeper decoded.
func PlanOf(outline func() kernels.Outline, c *arch.Config, f *weights.File, o arch.Options, r *Recipe, x *Extent, limit int64) (*Plan, error) {
	var p *Plan
	for _, hold := range []struct{ activations, decoded bool }{{true, true}, {true, false}, {false, true}, {false, false}} {
		dev := outline()
		if _, can := dev.(kernels.Keeper); hold.decoded && !can {
			continue
		}
		var err error
		if p, err = planOf(dev, c, f, o, r, x, hold.activations, hold.decoded); err != nil || limit <= 0 || p.Total() <= limit {
			return p, err
		}
	}
	return p, nil
}

func planOf(dev kernels.Outline, c *arch.Config, f *weights.File, o arch.Options, r *Recipe, x *Extent, keep, decoded bool) (*Plan, error) {
	m, err := arch.Outline(dev, c, f, x.Context, o)
	if err != nil {
		return nil, err
	}
	p := &Plan{Recompute: !keep, Outline: dev}
	taken := int64(0)
	since := func() int64 {
		before := taken
		taken = dev.Taken()
		return taken - before
	}
	p.Weights = since()
	if inHost(dev) {
		p.Weights += m.Held()
		if p.Table = x.pages(m.TableRow(), int64(c.Vocab)); f == nil { // nor are tokens known
			p.Table = m.TableRow() * int64(c.Vocab)
		}
	}
	t, err := Fresh(dev, m, r)
	if err != nil {
		return nil, err
	}
	for _, q := range t.params {
		p.Parameters += int64(q.N)
	}
	if p.Optimiser = 8 * p.Parameters; inHost(dev) {
		p.Checkpoint = 12 * p.Parameters
	}
	p.Adapter = since() - p.Optimiser
	s, err := NewStepper(t, r, x.Tokens, x.Judged, keep)
	if err != nil {
		return nil, err
	}
	p.Logits = s.pass.LogitBytes()
	p.Activations = since() - p.Logits
	if p.Decode = decoded; decoded {
		if err := s.Decode(); err != nil {
			return nil, err
		}
		p.Decoded = since()
	}
	for _, w := range x.Windows {
		if len(w) == 0 {
			continue
		}
		if _, _, err := s.Window(0, w); err != nil {
			return nil, err
		}
	}
	p.Scratch = since()
	return p, nil
}

// inHost tells whether a device computes in the machine's own memory.
func inHost(dev kernels.Device) bool {
	_, apart := dev.(interface{ Memory() (free, total int64) })
	return !apart
}

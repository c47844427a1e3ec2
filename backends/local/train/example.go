package train

import (
	"errors"
	"fmt"

	"github.com/evalrun/evalrun/backends/local/arch"
	"github.com/evalrun/evalrun/backends/local/nn"
	"github.com/evalrun/evalrun/kernels"
)

// Ignored is the label of a token that is not judged.
const Ignored = -100

// An Example is one sequence: label t is the token that position t should hold,
// judged by the logits of position t-1; Ignored is not judged.
type Example struct {
	IDs    []int32
	Labels []int32
	// Key numbers the example for dropout.
	Key uint32
	// Share is the example's part of the judged tokens of its micro-batch; 0 is
	// all of them.
	Share float64
}

// share gives the examples of one micro-batch their shares.
func share(batch []Example) {
	_, all := rows(batch)
	for i := range batch {
		if batch[i].Share = 0; len(batch) > 1 {
			batch[i].Share = float64(batch[i].Judged()) / float64(all)
		}
	}
}

// weight is the factor of the example's mean loss in its micro-batch's.
func (e *Example) weight() float64 {
	if e.Share == 0 {
		return 1
	}
	return e.Share
}

// Judged counts the labels that are judged; that of position 0 never is.
func (e *Example) Judged() (n int) {
	for _, l := range e.Labels[min(1, len(e.Labels)):] {
		if l != Ignored {
			n++
		}
	}
	return n
}

// Check holds an example to a model's vocabulary and context.
func (e *Example) Check(c *arch.Config) error {
	switch {
	case len(e.IDs) == 0:
		return errors.New("the example has no tokens")
	case len(e.IDs) != len(e.Labels):
		return fmt.Errorf("%d ids and %d labels", len(e.IDs), len(e.Labels))
	case c.Context > 0 && len(e.IDs) > c.Context:
		return fmt.Errorf("%d tokens, and the context is %d", len(e.IDs), c.Context)
	}
	for i, id := range e.IDs {
		if id < 0 || int(id) >= c.Vocab {
			return fmt.Errorf("ids[%d] is %d, and the vocabulary has %d", i, id, c.Vocab)
		}
	}
	for i, l := range e.Labels {
		if l != Ignored && (l < 0 || int(l) >= c.Vocab) {
			return fmt.Errorf("labels[%d] is %d, and the vocabulary has %d", i, l, c.Vocab)
		}
	}
	if e.Judged() == 0 {
		return errors.New("no label is judged: all are -100, or only the first is not")
	}
	return nil
}

// pack puts examples side by side. weight gives the factor of each judged
// token's loss, from the example and its number of them.
func pack(m *arch.Model, examples []Example, seed uint64, weight func(e *Example, judged int) float64) *nn.Packed {
	b := &nn.Packed{Seed: seed}
	for i := range examples {
		e := &examples[i]
		row, by := len(b.IDs), float32(weight(e, e.Judged()))
		b.Runs = append(b.Runs, kernels.Run{Row: row, N: len(e.IDs)})
		long := m.LongFrom() > 0 && len(e.IDs) > m.LongFrom()
		for t, id := range e.IDs {
			b.IDs = append(b.IDs, id)
			b.Pos = append(b.Pos, m.RopeRow(t, long))
			b.Keys = append(b.Keys, uint64(e.Key)<<32|uint64(t))
			if t > 0 && e.Labels[t] != Ignored {
				b.LossRows = append(b.LossRows, int32(row+t-1))
				b.Labels = append(b.Labels, e.Labels[t])
				b.Weights = append(b.Weights, by)
			}
		}
	}
	return b
}

// rows counts the tokens and the judged ones of examples.
func rows(examples []Example) (tokens, judged int) {
	for i := range examples {
		tokens += len(examples[i].IDs)
		judged += examples[i].Judged()
	}
	return tokens, judged
}

// Largest gives the most tokens and judged labels of windows of size examples,
// taken in order.
func Largest(examples []Example, size int) (tokens, judged int) {
	for from := 0; from < len(examples); from += size {
		t, j := rows(examples[from:min(from+size, len(examples))])
		tokens, judged = max(tokens, t), max(judged, j)
	}
	return tokens, judged
}

// logitRows bounds the logits that are held at a time, about 64 MiB of them.
func logitRows(vocab, judged int) int {
	return max(1, min(judged, (16<<20)/vocab))
}

// Backward adds the gradients of the mean loss over all judged tokens of the
// examples, and gives the mean loss of each.
func (t *Tuned) Backward(examples []Example, o nn.PassOptions) ([]float64, error) {
	o.Rows, o.LossRows = rows(examples)
	o.LogitRows = logitRows(t.model.Vocab, o.LossRows)
	if o.LossRows == 0 {
		return nil, errors.New("there are no examples")
	}
	p, err := nn.NewPass(t.dev, t.model.Decoder, t.nn, o)
	if err != nil {
		return nil, err
	}
	b := pack(t.model, examples, 0, func(*Example, int) float64 { return 1 / float64(o.LossRows) })
	return means(examples, p.Backward(b)), nil
}

// means are the mean losses of examples, from those of their judged tokens.
func means(examples []Example, losses []float32) []float64 {
	out := make([]float64, len(examples))
	for i := range examples {
		n := examples[i].Judged()
		for _, l := range losses[:n] {
			out[i] += float64(l)
		}
		out[i] /= float64(n)
		losses = losses[n:]
	}
	return out
}

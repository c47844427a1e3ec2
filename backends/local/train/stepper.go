package train

import (
	"fmt"

	"github.com/evalrun/evalrun/backends/local/nn"
)

// A Stepper takes what is tuned through windows of examples: a window is one
// packed pass and one update.
type Stepper struct {
	t      *Tuned
	opt    *Optimiser
	pass   *nn.Pass
	recipe *Recipe
	rates  Schedule
}

// NewStepper plans the memory of windows of up to tokens tokens with judged
// judged labels. keep holds all activations; without it blocks are computed
// twice, to the same bits.
func NewStepper(t *Tuned, r *Recipe, tokens, judged int, keep bool) (*Stepper, error) {
	s := &Stepper{t: t, recipe: r, rates: r.Rates()}
	if err := s.rates.Check(); err != nil {
		return nil, err
	}
	if r.Accumulate < 1 {
		return nil, fmt.Errorf("accumulation over %d micro-batches: it must be one or more", r.Accumulate)
	}
	var err error
	if s.opt, err = NewOptimiser(t.dev, r, t.params); err != nil {
		return nil, err
	}
	s.pass, err = nn.NewPass(t.dev, t.model.Decoder, t.nn, nn.PassOptions{
		Rows: tokens, LossRows: judged, LogitRows: logitRows(t.model.Vocab, judged),
		Keep: keep, BF16: r.Compute == "bf16",
	})
	return s, err
}

// Decode has the device keep decoded what it multiplies with; see nn.Pass.
func (s *Stepper) Decode() error { return s.pass.Decode() }

// Optimiser is the state that a checkpoint keeps beside the values.
func (s *Stepper) Optimiser() *Optimiser { return s.opt }

// NotFiniteError says that a loss, a gradient or a value is no finite number.
// Nothing has been changed by its window.
type NotFiniteError struct {
	Step    int    // micro-batch
	Example int    // within the window, and from Job.Run on within the job; -1 where it is no single one's
	Row     string // the example's name; empty where it is not known
	Detail  string
}

// Error tells step, row and detail.
func (e *NotFiniteError) Error() string {
	where := ""
	if e.Row != "" {
		where = fmt.Sprintf(", row %s (example %d)", e.Row, e.Example)
	}
	return fmt.Sprintf("step %d%s: %s", e.Step, where, e.Detail)
}

// notFinite finds the first loss that is no finite number; first is the step of
// the first.
func notFinite(first int, losses []float64) error {
	for i, l := range losses {
		if l-l != 0 {
			return &NotFiniteError{Step: first + i, Example: i, Detail: fmt.Sprintf("the loss is %v", l)}
		}
	}
	return nil
}

// Window computes the gradients of
//
//	L = Σ_i share_i · mean(loss of example i) / Accumulate
//
// as one packed batch and updates the values with the rate of the window's last
// micro-batch; first is the number of its first, and each is of one example. It
// gives the mean loss of each example and the norm of the gradients before
// clipping.
func (s *Stepper) Window(first int, examples []Example) (losses []float64, norm float64, err error) {
	return s.window(first, first+len(examples)-1, examples)
}

// window is Window for micro-batches first to last, of any number of examples:
// the step that its error names is first and the example's number.
func (s *Stepper) window(first, last int, examples []Example) (losses []float64, norm float64, err error) {
	b := pack(s.t.model, examples, s.recipe.Seed, s.weight)
	losses = means(examples, s.pass.Backward(b))
	if err := notFinite(first, losses); err != nil {
		s.clear()
		return losses, 0, err
	}
	if norm, err = s.opt.Step(s.rates.Rate(last)); err != nil {
		bad := &NotFiniteError{Step: last, Example: s.culprit(examples), Detail: err.Error()}
		if bad.Example >= 0 {
			bad.Step = first + bad.Example
		}
		return losses, norm, bad
	}
	return losses, norm, s.t.Refresh()
}

// weight is the factor of a judged token's loss in a window's.
func (s *Stepper) weight(e *Example, judged int) float64 {
	return e.weight() / (float64(s.recipe.Accumulate) * float64(judged))
}

// Losses gives the mean loss of each example, and changes nothing.
func (s *Stepper) Losses(examples []Example) []float64 {
	return means(examples, s.pass.Loss(pack(s.t.model, examples, s.recipe.Seed, func(*Example, int) float64 { return 1 })))
}

// culprit is the first example whose own gradient is not finite; -1 where only
// that of all together is not. It leaves no gradients.
func (s *Stepper) culprit(examples []Example) int {
	defer s.clear()
	for i := range examples {
		s.clear()
		s.pass.Backward(pack(s.t.model, examples[i:i+1], s.recipe.Seed, s.weight))
		if n, _ := s.opt.norm(); n-n != 0 {
			return i
		}
	}
	return -1
}

// clear drops gradients that are not to be used.
func (s *Stepper) clear() {
	for _, p := range s.t.params {
		s.t.dev.Fill(p.Grad, p.N, 0)
	}
}

// Rate is the learning rate in force during micro-batch step.
func (s *Stepper) Rate(step int) float64 { return s.rates.Rate(step) }

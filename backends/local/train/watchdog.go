package train

import "fmt"

// A window has come apart when its loss is explode times the smoothed one, and
// explodeMore above it, or when its gradient is zero though its loss is not:
// what flows through the model then is too large for float32, and norms make
// zeroes of it. explodeWindows of them in a row end a training. So does a
// smoothed loss, the mean of some fifty windows, that has risen from its lowest
// to explode times that and by risenMore, and rises on: it comes apart slowly.
const (
	smoothing      = 0.02 // share of a new window in the loss that is shown
	explode        = 2
	explodeMore    = 5.0
	explodeWindows = 3
	risenMore      = 2.0
	noLoss         = 1e-3 // a gradient of zero is right below it
)

// ExplodedError says that the loss has left where it was for good, or that
// nothing is learned any more.
type ExplodedError struct {
	Step         int // micro-batch
	Loss, Before float64
	Vanished     bool // the gradient is zero
	Slowly       bool // Loss is the smoothed one, Before its lowest
}

// Error tells step and losses.
func (e *ExplodedError) Error() string {
	switch {
	case e.Vanished:
		return fmt.Sprintf("step %d: the loss is %.3g and the gradient zero, for %d windows: the training has come apart", e.Step, e.Loss, explodeWindows)
	case e.Slowly:
		return fmt.Sprintf("step %d: the smoothed loss is %.3g where it had come down to %.3g: the training has come apart", e.Step, e.Loss, e.Before)
	}
	return fmt.Sprintf("step %d: the loss is %.3g where it was %.3g, for %d windows: the training has come apart", e.Step, e.Loss, e.Before, explodeWindows)
}

// watch enters a window's loss into the smoothed one; it is the watchdog that
// ends a training which has come apart. norm is that of the gradient, where the
// window was applied.
func (st *State) watch(loss, norm float64, applied bool) error {
	if st.Smoothed == 0 {
		st.Smoothed = loss
	}
	vanished := applied && norm == 0 && loss > noLoss
	if vanished || loss > explode*st.Smoothed && loss > st.Smoothed+explodeMore {
		st.Apart++
	} else {
		st.Apart = 0
	}
	if st.Apart >= explodeWindows {
		return &ExplodedError{Step: st.Step - 1, Loss: loss, Before: st.Smoothed, Vanished: vanished}
	}
	st.Smoothed += smoothing * (loss - st.Smoothed)
	if st.Lowest == 0 || st.Smoothed < st.Lowest {
		st.Lowest = st.Smoothed
	}
	if st.Apart == 0 && loss >= st.Smoothed && st.Smoothed > explode*st.Lowest && st.Smoothed > st.Lowest+risenMore {
		return &ExplodedError{Step: st.Step - 1, Loss: st.Smoothed, Before: st.Lowest, Slowly: true}
	}
	return nil
}

// Package train fine-tunes a model: it stands on the engine's layers and their
// gradients and knows nothing of tasks or backends.
package train

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// A Schedule gives the learning rate in force during each step, counted from
// 0. Whether a step is a micro-batch or an update is the recipe's business.
type Schedule struct {
	// Kind is one of Schedules.
	Kind string
	// LR is the rate that the warm-up leads to.
	LR float64
	// Warmup is the number of steps over which the rate rises from 0 in a
	// straight line. It may be a fraction of steps: Ludwig multiplies and does
	// not round.
	Warmup float64
	// Steps is the length of the whole training, warm-up included.
	Steps int
	// Restart is the period of cosine-restarts.
	Restart int
}

// The kinds of schedules. After the warm-up, t steps into a rest of n,
//
//	constant         lr
//	linear           lr · (1 - t/n)
//	cosine           lr · (1 + cos(π·t/n)) / 2
//	cosine-restarts  lr · (1 + cos(π·(t mod r)/r)) / 2, r = Restart
//
// The first three are those of transformers.get_scheduler, the last is torch's
// CosineAnnealingWarmRestarts behind a SequentialLR, as Ludwig 0.10 builds it
// (SGDR, Loshchilov and Hutter, 2017).
const (
	Constant       = "constant"
	Linear         = "linear"
	Cosine         = "cosine"
	CosineRestarts = "cosine-restarts"
)

// Schedules lists the kinds.
func Schedules() []string { return []string{Constant, Linear, Cosine, CosineRestarts} }

// Check reports what makes a schedule impossible.
func (s Schedule) Check() error {
	switch {
	case !slices.Contains(Schedules(), s.Kind):
		return fmt.Errorf("schedule %q: there is %s", s.Kind, strings.Join(Schedules(), ", "))
	case !(s.LR >= 0) || math.IsInf(s.LR, 1):
		return fmt.Errorf("learning rate %v: it must be a number from 0 on", s.LR)
	case !(s.Warmup >= 0) || math.IsInf(s.Warmup, 1):
		return fmt.Errorf("warm-up of %v steps: it must be 0 or more", s.Warmup)
	case s.Steps <= 0:
		return fmt.Errorf("%d steps: there must be one or more", s.Steps)
	case s.Kind == CosineRestarts && s.Restart <= 0:
		return fmt.Errorf("cosine-restarts with a period of %d steps: it must be one or more", s.Restart)
	}
	return nil
}

// Rate is the learning rate during step i; from Steps on it is what the
// schedule ends at (cosine-restarts goes on).
func (s Schedule) Rate(i int) float64 {
	step := float64(i)
	if step < s.Warmup {
		return s.LR * (step / math.Max(1, s.Warmup))
	}
	rest := math.Max(1, float64(s.Steps)-s.Warmup)
	t := step - s.Warmup
	switch s.Kind {
	case Linear:
		return s.LR * math.Max(0, (rest-t)/rest)
	case Cosine:
		return s.LR * math.Max(0, (1+math.Cos(math.Pi*math.Min(t, rest)/rest))/2)
	case CosineRestarts:
		n := i - int(math.Ceil(s.Warmup))
		return s.LR * (1 + math.Cos(math.Pi*float64(n%s.Restart)/float64(s.Restart))) / 2
	}
	return s.LR
}

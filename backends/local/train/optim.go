package train

import (
	"fmt"
	"math"
	"strings"

	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/format"
)

// The optimisers. They differ in what weight decay does: torch's Adam adds it
// to the gradient, AdamW shrinks the value before the update, and bitsandbytes'
// 32-bit paged Adam after it. Without decay all three are one.
const (
	Adam      = "adam"
	AdamW     = "adamw"
	PagedAdam = "paged-adam"
)

// Optimisers lists them.
func Optimisers() []string { return []string{Adam, AdamW, PagedAdam} }

var decays = map[string]kernels.Decay{Adam: kernels.DecayInGradient, AdamW: kernels.DecayBefore, PagedAdam: kernels.DecayAfter}

// A Parameter is a buffer of trained values with its gradient and the running
// means of the optimiser, all of N values.
type Parameter struct {
	Name        string
	N           int
	Value, Grad kernels.Buffer
	M, V        kernels.Buffer
}

// NewParameter allocates the gradient and the means, all zero.
func NewParameter(dev kernels.Device, name string, value kernels.Buffer, n int) (*Parameter, error) {
	p := &Parameter{Name: name, N: n, Value: value}
	for _, b := range []*kernels.Buffer{&p.Grad, &p.M, &p.V} {
		var err error
		if *b, err = dev.Alloc(format.F32, n); err != nil {
			return nil, fmt.Errorf("optimiser state of %s: %w", name, err)
		}
	}
	return p, nil
}

// An Optimiser steps parameters together: the norm that clipping looks at is
// of all their gradients.
type Optimiser struct {
	dev    kernels.TrainDevice
	params []*Parameter
	opts   kernels.AdamOptions
	clip   float64
}

// NewOptimiser makes one of Optimisers with the recipe's constants.
func NewOptimiser(dev kernels.TrainDevice, r *Recipe, params []*Parameter) (*Optimiser, error) {
	decay, ok := decays[r.Optimiser]
	switch {
	case !ok:
		return nil, fmt.Errorf("optimiser %q: there is %s", r.Optimiser, strings.Join(Optimisers(), ", "))
	case !(r.Clip >= 0):
		return nil, fmt.Errorf("clipping at a norm of %v: it must be 0 or more", r.Clip)
	case !(r.WeightDecay >= 0):
		return nil, fmt.Errorf("weight decay of %v: it must be 0 or more", r.WeightDecay)
	}
	return &Optimiser{dev: dev, params: params, clip: r.Clip, opts: kernels.AdamOptions{
		Beta1: r.Betas[0], Beta2: r.Betas[1], Eps: r.Eps, WeightDecay: r.WeightDecay, Decay: decay,
	}}, nil
}

// Updates is the number of steps taken; SetUpdates goes on from a checkpoint.
func (o *Optimiser) Updates() int     { return o.opts.Step }
func (o *Optimiser) SetUpdates(n int) { o.opts.Step = n }

// Step applies the gradients at rate lr and clears them. It gives the global
// norm before clipping,
//
//	√Σ g²,  and scales g by min(1, clip / (norm + 1e-6))
//
// as torch's clip_grad_norm_ does. A norm that is no finite number is an
// error, and nothing has been changed.
func (o *Optimiser) Step(lr float64) (float64, error) {
	norm, each := o.norm()
	if norm-norm != 0 {
		return norm, o.blame(each)
	}
	o.opts.Step++
	o.opts.LR, o.opts.GradScale = lr, 1
	if o.clip > 0 {
		o.opts.GradScale = math.Min(1, o.clip/(norm+1e-6))
	}
	all := make([]kernels.AdamParameter, len(o.params))
	for i, p := range o.params {
		all[i] = kernels.AdamParameter{P: p.Value, G: p.Grad, M: p.M, V: p.V, N: p.N}
	}
	kernels.AdamAll(o.dev, all, o.opts)
	return norm, nil
}

// norm is the global norm of the gradients, with the sum of the squares of each.
func (o *Optimiser) norm() (norm float64, each []float64) {
	grads := make([]kernels.Buffer, len(o.params))
	for i, p := range o.params {
		grads[i] = p.Grad
	}
	each = o.dev.SumSquares(grads...)
	squares := 0.0
	for _, s := range each {
		squares += s
	}
	return math.Sqrt(squares), each
}

// blame names the first parameter whose gradient is no finite number.
func (o *Optimiser) blame(squares []float64) error {
	for i, s := range squares {
		if math.IsNaN(s) || math.IsInf(s, 0) {
			return fmt.Errorf("the gradient of %s is not finite", o.params[i].Name)
		}
	}
	return fmt.Errorf("the norm of the gradients is not finite")
}

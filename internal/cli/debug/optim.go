package debug

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/evalrun/evalrun/backends/local/quant"
	"github.com/evalrun/evalrun/backends/local/train"
	"github.com/evalrun/evalrun/backends/local/weights"
	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/cpu"
)

func newOptim() *cobra.Command {
	var in, out string
	recipe, _ := train.Preset("paper")
	cmd := &cobra.Command{
		Use:   "optim --name NAME --in F --out G",
		Short: "values after each step of an optimiser",
		Long: "Optim reads values NAME, their gradients grad.NAME [steps, …] and the rates lr [steps] from a\n" +
			"safetensors file, and writes NAME [steps, …], the values after each step. Optimisers:\n" +
			strings.Join(train.Optimisers(), ", ") + ".",
		Example: "  evalrun debug optim --name paged-adam --in gradients.safetensors --out values.safetensors\n" +
			"  evalrun debug optim --name adamw --weight-decay 0.01 --clip 0.5 --in gradients.safetensors --out values.safetensors",
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			for flag, v := range map[string]string{"--in": in, "--out": out} {
				if v == "" {
					return &core.UserError{Where: flag, Message: "no file is named", Hint: "name a safetensors file to read with --in and one to write with --out"}
				}
			}
			f, err := weights.Open(in)
			if err != nil {
				return &core.UserError{Where: "--in " + in, Hint: "name a safetensors file", Err: err}
			}
			values, err := trace(f, &recipe)
			if err != nil {
				err = &core.UserError{Where: in, Hint: "docs/debug.md says what this window takes", Err: err}
				return errors.Join(err, f.Close())
			}
			return errors.Join(weights.WriteSafetensors(out, values, nil), f.Close())
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&in, "in", "", "safetensors file of values, gradients and rates")
	fl.StringVar(&out, "out", "", "safetensors file to write")
	fl.StringVar(&recipe.Optimiser, "name", train.PagedAdam, strings.Join(train.Optimisers(), ", "))
	fl.Float64Var(&recipe.Clip, "clip", 0, "global norm that gradients are scaled down to; 0 leaves them")
	fl.Float64Var(&recipe.WeightDecay, "weight-decay", 0, "decay of the values")
	fl.Float64Var(&recipe.Eps, "eps", recipe.Eps, "what is added to the root of the second mean")
	return cmd
}

// trace steps the optimiser through the gradients of f.
func trace(f *weights.File, recipe *train.Recipe) ([]weights.Tensor, error) {
	rates, _, err := quant.Values(f, "lr")
	if err != nil {
		return nil, err
	}
	dev, err := cpu.New(cpu.Options{})
	if err != nil {
		return nil, err
	}
	var params []*train.Parameter
	var grads [][]float32
	var shapes [][]int
	for _, name := range f.Names() {
		if name == "lr" || strings.HasPrefix(name, "grad.") {
			continue
		}
		value, shape, err := quant.Values(f, name)
		if err != nil {
			return nil, err
		}
		grad, _, err := quant.Values(f, "grad."+name)
		if err != nil {
			return nil, err
		}
		if len(grad) != len(rates)*len(value) {
			return nil, fmt.Errorf("tensor grad.%s holds %d values, want %d steps of %d", name, len(grad), len(rates), len(value))
		}
		p, err := train.NewParameter(dev, name, kernels.Floats(slices.Clone(value)), len(value))
		if err != nil {
			return nil, err
		}
		params, grads, shapes = append(params, p), append(grads, grad), append(shapes, append([]int{len(rates)}, shape...))
	}
	if len(params) == 0 {
		return nil, errors.New("there is no tensor with a grad. twin")
	}
	opt, err := train.NewOptimiser(dev, recipe, params)
	if err != nil {
		return nil, err
	}
	steps := make([][]float32, len(params))
	for i, lr := range rates {
		for j, p := range params {
			dev.Write(p.Grad, grads[j][i*p.N:][:p.N])
		}
		if _, err := opt.Step(float64(lr)); err != nil {
			return nil, fmt.Errorf("step %d: %w", i, err)
		}
		for j, p := range params {
			steps[j] = append(steps[j], kernels.Host(p.Value, p.N, "values")...)
		}
	}
	var traces []weights.Tensor
	for j, p := range params {
		traces = append(traces, weights.Float32s(p.Name, steps[j], shapes[j]...))
	}
	return traces, dev.Close()
}

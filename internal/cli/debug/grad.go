package debug

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/evalrun/evalrun/backends/local/arch"
	"github.com/evalrun/evalrun/backends/local/device"
	"github.com/evalrun/evalrun/backends/local/lora"
	"github.com/evalrun/evalrun/backends/local/nn"
	"github.com/evalrun/evalrun/backends/local/quant"
	"github.com/evalrun/evalrun/backends/local/train"
	"github.com/evalrun/evalrun/backends/local/weights"
	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/kernels"
)

func newGrad() *cobra.Command {
	f, out, recompute := &modelFlags{}, "", false
	cmd := &cobra.Command{
		Use:   "grad --model DIR --out FILE",
		Short: "gradients of the mean cross-entropy, of an adapter or of the whole model",
		Long: "Grad writes the gradients of the mean loss over all judged labels of all lines, and prints each\n" +
			"line's own loss. With --adapter they are those of its tensors, under the names of\n" +
			"adapter_model.safetensors; without, of every weight of the model, which must not be quantised.",
		Example: "  evalrun debug grad --model MODEL --adapter ADAPTER --quant nf4 --in lines.jsonl --out grad.safetensors",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			t, end, err := f.tuned()
			if err != nil {
				return err
			}
			examples, err := f.examples(cmd, t)
			if err == nil {
				err = gradients(cmd, t, examples, nn.PassOptions{Keep: !recompute}, out)
			}
			return errors.Join(err, end())
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&out, "out", "", "safetensors file to write")
	cmd.Flags().BoolVar(&recompute, "recompute", false, "hold the inputs of blocks only and compute the rest again; the bits are the same")
	cmd.MarkFlagRequired("out")
	return cmd
}

// examples reads the lines that are trained on.
func (f *modelFlags) examples(cmd *cobra.Command, t *train.Tuned) (examples []train.Example, err error) {
	err = takeLines(cmd, f.in, func(l labelled) error {
		e := train.Example{IDs: l.IDs, Labels: l.Labels, Key: uint32(len(examples))}
		examples = append(examples, e)
		return e.Check(t.Config())
	})
	return examples, err
}

// gradients prints the loss of each example and writes the gradients to out.
func gradients(cmd *cobra.Command, t *train.Tuned, examples []train.Example, o nn.PassOptions, out string) error {
	losses, err := t.Backward(examples, o)
	if err != nil {
		return err
	}
	enc := json.NewEncoder(cmd.OutOrStdout())
	for _, x := range losses {
		if err := enc.Encode(map[string]Number{"loss": Number(x)}); err != nil {
			return err
		}
	}
	tensors := t.Gradients()
	for _, x := range tensors {
		// The magnitude's file name and that of PEFT's parameter differ.
		if strings.HasSuffix(x.Name, ".lora_magnitude_vector") {
			x.Name += ".weight"
			tensors = append(tensors, x)
		}
	}
	return weights.WriteSafetensors(out, tensors, nil)
}

// labelled is a line of ids and labels.
type labelled struct {
	IDs    []int32 `json:"ids"`
	Labels []int32 `json:"labels"`
}

// tuned loads the model with what of it is trained.
func (f *modelFlags) tuned() (*train.Tuned, func() error, error) {
	wrong := func(err error) (*train.Tuned, func() error, error) {
		return nil, nil, &core.UserError{Where: f.model, Hint: "docs/debug.md says what this window takes", Err: err}
	}
	o, err := arch.ParseOptions(f.dtype, f.quant)
	if err != nil {
		return wrong(err)
	}
	opened, err := device.Open(f.device, f.threads)
	if err != nil {
		return wrong(err)
	}
	dev, ok := opened.(kernels.TrainDevice)
	if !ok {
		return wrong(errors.Join(fmt.Errorf("device %s cannot train", f.device), opened.Close()))
	}
	c, file, err := arch.Open(f.model)
	if err != nil {
		return wrong(err)
	}
	m, err := arch.Build(dev, c, file, 0, o)
	if err != nil {
		return wrong(err)
	}
	end := func() error { return errors.Join(dev.Close(), m.Close()) }
	if f.adapter == "" {
		if o.Quant != quant.None {
			return wrong(errors.New("all weights are trained without --adapter, and quantised ones cannot be"))
		}
		t, err := train.Whole(dev, m)
		if err != nil {
			return wrong(errors.Join(err, end()))
		}
		return t, end, nil
	}
	a, err := lora.Open(f.adapter)
	if err != nil {
		return wrong(errors.Join(err, end()))
	}
	t, err := train.Adapt(dev, m, a, 0)
	if err != nil {
		return wrong(errors.Join(err, a.Close(), end()))
	}
	return t, func() error { return errors.Join(a.Close(), end()) }, nil
}

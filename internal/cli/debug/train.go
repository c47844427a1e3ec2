package debug

import (
	"encoding/json"
	"errors"

	"github.com/spf13/cobra"

	"github.com/evalrun/evalrun/backends/local/lora"
	"github.com/evalrun/evalrun/backends/local/train"
)

func newTrain() *cobra.Command {
	f, out, keep := &modelFlags{}, "", true
	r, _ := train.Preset("paper")
	var warmup float64
	cmd := &cobra.Command{
		Use:   "train --model DIR --adapter DIR --out DIR",
		Short: "an adapter trained on examples in their order",
		Long: "Train takes the adapter through the lines, a micro-batch each, and prints step, rate, loss and,\n" +
			"where an accumulation window closes, the norm of the gradients before clipping. --out is the\n" +
			"adapter after the last update; lines of a window that does not close update nothing. The recipe\n" +
			"is the preset paper without dropout. --exact computes in float32; without it base and layers\n" +
			"are bfloat16, as the report trained.",
		Example: "  evalrun debug train --model MODEL --adapter START --quant nf4 --exact --in examples.jsonl --out ADAPTER",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.adapter == "" {
				return errors.New("required flag(s) \"adapter\" not set")
			}
			exact, err := cmd.Flags().GetBool("exact")
			if err != nil {
				return err
			}
			if r.Compute = "f32"; !exact {
				r.Compute = "bf16"
				if f.dtype == "" {
					f.dtype = "bf16"
				}
			}
			t, end, err := f.tuned()
			if err != nil {
				return err
			}
			examples, err := f.examples(cmd, t)
			if err == nil {
				if r.Steps = max(1, len(examples)); cmd.Flags().Changed("warmup") {
					r.Warmup = &warmup
				}
				err = steps(cmd, t, &r, examples, keep)
			}
			if err == nil {
				err = saveAdapter(f.adapter, out, t)
			}
			return errors.Join(err, end())
		},
	}
	f.add(cmd)
	s := cmd.Flags()
	s.StringVar(&out, "out", "", "folder of the trained adapter")
	s.Float64Var(&r.LR, "lr", r.LR, "learning rate")
	s.Float64Var(&warmup, "warmup", 0, "micro-batches of warm-up (default: 3 % of all)")
	s.IntVar(&r.Restart, "restart", r.Restart, "micro-batches after which the cosine starts again")
	s.IntVar(&r.Accumulate, "accumulate", r.Accumulate, "micro-batches of an update")
	s.Float64Var(&r.Clip, "clip", r.Clip, "global norm that gradients are scaled down to")
	s.StringVar(&r.Schedule, "schedule", r.Schedule, "schedule of the rate")
	s.StringVar(&r.Optimiser, "optimiser", r.Optimiser, "optimiser")
	s.BoolVar(&keep, "keep", true, "hold all activations; without it blocks are computed twice, to the same bits")
	cmd.MarkFlagRequired("out")
	return cmd
}

// steps trains window by window and prints a line for each example.
func steps(cmd *cobra.Command, t *train.Tuned, r *train.Recipe, examples []train.Example, keep bool) error {
	tokens, judged := train.Largest(examples, r.Accumulate)
	if tokens == 0 {
		return errors.New("there are no examples")
	}
	s, err := train.NewStepper(t, r, tokens, judged, keep)
	if err != nil {
		return err
	}
	enc := json.NewEncoder(cmd.OutOrStdout())
	for from := 0; from < len(examples); from += r.Accumulate {
		window := examples[from:min(from+r.Accumulate, len(examples))]
		var losses []float64
		var norm *Number
		if len(window) == r.Accumulate {
			var n float64
			if losses, n, err = s.Window(from, window); err != nil {
				return err
			}
			norm = (*Number)(&n)
		} else {
			losses = s.Losses(window)
		}
		for i, loss := range losses {
			line := struct {
				Step     int     `json:"step"`
				LR       float64 `json:"lr"`
				Loss     Number  `json:"loss"`
				GradNorm *Number `json:"grad_norm"`
			}{Step: from + i, LR: s.Rate(from + i), Loss: Number(loss)}
			if i == len(losses)-1 {
				line.GradNorm = norm
			}
			if err := enc.Encode(line); err != nil {
				return err
			}
		}
	}
	return nil
}

// saveAdapter writes what was trained with the configuration it started from.
func saveAdapter(from, to string, t *train.Tuned) error {
	a, err := lora.Open(from)
	if err != nil {
		return err
	}
	return errors.Join(lora.Write(to, a.Text, t.Values()), a.Close())
}

package debug

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/evalrun/evalrun/backends/local/arch"
	"github.com/evalrun/evalrun/backends/local/device"
	"github.com/evalrun/evalrun/backends/local/engine"
	"github.com/evalrun/evalrun/backends/local/weights"
	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/internal/memory"
	"github.com/evalrun/evalrun/kernels/format"
)

// modelFlags are those of every window that runs a model.
type modelFlags struct {
	in, model, adapter, quant, dtype, device string
	threads                                  int
	plan                                     bool
}

func (f *modelFlags) add(cmd *cobra.Command) {
	s := cmd.Flags()
	s.StringVar(&f.in, "in", "", "file of JSON lines instead of standard input")
	s.StringVar(&f.model, "model", "", "folder or file of the model")
	s.StringVar(&f.adapter, "adapter", "", "folder of an adapter as PEFT writes it")
	s.StringVar(&f.quant, "quant", "none", "how weights are held: none, nf4 (double quantisation, blocks of 64, every linear layer but lm_head) or int8")
	s.StringVar(&f.dtype, "dtype", "", "round the weights to f32, f16 or bf16 first (default: as the file has them)")
	s.StringVar(&f.device, "device", "cpu", "what computes: cpu, ref (the readable twin), or cuda in a build that has it")
	s.IntVar(&f.threads, "threads", 0, "threads of the cpu device (default: all)")
	s.BoolVar(&f.plan, "plan", false, "tell on standard error how much memory was planned and taken")
	s.Bool("exact", false, "float32 arithmetic throughout (what the engine does anyway)")
	cmd.MarkFlagRequired("model")
}

// loaded is the one adapter of a window.
const loaded = "adapter"

// open loads the model. Prefixes are not shared between lines: each is
// computed from its first token.
func (f *modelFlags) open() (*engine.Engine, error) {
	o := engine.Options{Threads: f.threads, Sequences: 1, NoSharing: true, KVBytes: 4 << 30}
	var err error
	if o.Weights, err = arch.ParseOptions(f.dtype, f.quant); err != nil {
		return nil, &core.UserError{Where: "--dtype " + f.dtype + " --quant " + f.quant, Message: err.Error()}
	}
	if err := device.Check(f.device); err != nil {
		return nil, &core.UserError{Where: "--device " + f.device, Message: err.Error(), Hint: "this build computes on: " + strings.Join(device.Names(), ", ")}
	}
	o.DeviceName = f.device
	if f.adapter != "" {
		o.Adapters = []engine.AdapterPath{{Name: loaded, Path: f.adapter}}
	}
	e, err := engine.Load(f.model, o)
	if none := (*device.OpenError)(nil); errors.As(err, &none) {
		return nil, &core.UserError{Where: "--device " + none.Name, Message: none.Err.Error(), Hint: device.OpenHint}
	}
	if err != nil {
		return nil, &core.UserError{Where: f.model, Message: err.Error(), Hint: "name a Hugging Face folder or a GGUF file of a supported family: " + strings.Join(arch.Families(), ", ")}
	}
	var broken *engine.AdapterError
	if errors.As(e.Broken(), &broken) {
		e.Close()
		return nil, &core.UserError{Where: broken.Path, Message: "loading the adapter", Err: broken.Err, Hint: broken.Hint}
	}
	return e, nil
}

// ask sends one request and waits for its answer.
func (f *modelFlags) ask(s *engine.Session, r engine.Request) (*engine.Response, error) {
	r.ID = "line"
	if f.adapter != "" {
		r.Adapter = loaded
	}
	if r.Tokens == nil {
		return nil, errors.New(`the key "ids" is missing`)
	}
	if err := s.Submit(r); err != nil {
		return nil, err
	}
	for ev := range s.Events() {
		switch {
		case ev.Err != nil:
			return nil, ev.Err
		case ev.Response != nil:
			return ev.Response, nil
		}
	}
	return nil, errors.New("the engine has ended")
}

// each opens the model and answers the lines with it.
func each[T any](cmd *cobra.Command, f *modelFlags, answer func(*engine.Engine, *engine.Session, T) (any, error)) error {
	e, err := f.open()
	if err != nil {
		return err
	}
	s := e.NewSession()
	err = eachLine(cmd, f.in, func(v T) (any, error) { return answer(e, s, v) })
	if f.plan {
		p := e.Plan()
		const mib = 1 << 20
		fmt.Fprintf(cmd.ErrOrStderr(), "planned: weights %d MiB, keys and values %d, workspace %d, adapters %d, together %d MiB; peak resident memory %d MiB\n",
			p.WeightBytes/mib, p.KVBytes/mib, p.WorkspaceBytes/mib, p.AdapterBytes/mib, p.Bytes()/mib, memory.Peak()/mib)
	}
	return errors.Join(err, s.Close(), e.Close())
}

func newLogits() *cobra.Command {
	f, out := &modelFlags{}, ""
	cmd := &cobra.Command{
		Use:   "logits --model DIR --out FILE",
		Short: "logits of every position, as safetensors logits.0, logits.1 …, [T, V]",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			type line struct {
				IDs []int32 `json:"ids"`
			}
			var tensors []weights.Tensor
			err := each(cmd, f, func(e *engine.Engine, s *engine.Session, l line) (any, error) {
				r, err := f.ask(s, engine.Request{Kind: engine.Logits, Tokens: l.IDs})
				if err != nil {
					return nil, err
				}
				vocab := e.Config().Vocab
				t := weights.Tensor{Name: fmt.Sprintf("logits.%d", len(tensors)), Type: format.F32, Stored: "F32", Shape: []int{len(r.Logits), vocab}, Data: make([]byte, 4*len(r.Logits)*vocab)}
				for i, row := range r.Logits {
					format.F32.Encode(t.Data[4*i*vocab:], row)
				}
				tensors = append(tensors, t)
				return map[string]any{"tensor": t.Name, "shape": t.Shape}, nil
			})
			if err != nil {
				return err
			}
			return weights.WriteSafetensors(out, tensors, nil)
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&out, "out", "", "safetensors file to write")
	cmd.MarkFlagRequired("out")
	return cmd
}

func newGenerate() *cobra.Command {
	f, most, ignore := &modelFlags{}, 0, false
	cmd := &cobra.Command{
		Use:   "generate --model DIR",
		Short: "greedy continuation: ids, their log-probabilities, and the text where there is a tokenizer",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			type line struct {
				IDs []int32 `json:"ids"`
			}
			type answer struct {
				IDs      []int32  `json:"ids"`
				Logprobs []Number `json:"logprobs"`
				Text     *string  `json:"text,omitempty"`
			}
			return each(cmd, f, func(e *engine.Engine, s *engine.Session, l line) (any, error) {
				r, err := f.ask(s, engine.Request{Kind: engine.Generate, Tokens: l.IDs, MaxTokens: most, IgnoreEOS: ignore, Logprobs: true})
				if err != nil {
					return nil, err
				}
				a := answer{IDs: r.Tokens, Logprobs: []Number{}}
				if a.IDs == nil {
					a.IDs = []int32{}
				}
				for _, p := range r.Logprobs {
					a.Logprobs = append(a.Logprobs, Number(p))
				}
				if e.Tokenizer() != nil {
					a.Text = &r.Text
				}
				return a, nil
			})
		},
	}
	f.add(cmd)
	cmd.Flags().IntVar(&most, "max-new", 16, "most tokens of an answer")
	cmd.Flags().BoolVar(&ignore, "ignore-eos", false, "go on after a token that ends a text")
	return cmd
}

func newLoss() *cobra.Command {
	f := &modelFlags{}
	cmd := &cobra.Command{
		Use:   "loss --model DIR",
		Short: "mean cross-entropy of labels: label t is judged by the logits of position t-1, -100 is not counted",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			type line struct {
				IDs    []int32 `json:"ids"`
				Labels []int32 `json:"labels"`
			}
			return each(cmd, f, func(_ *engine.Engine, s *engine.Session, l line) (any, error) {
				if l.Labels == nil {
					return nil, errors.New(`the key "labels" is missing`)
				}
				for i, x := range l.Labels {
					if x < 0 && x != -100 {
						return nil, fmt.Errorf("label %d is %d: want a token, or -100 for one that does not count", i, x)
					}
				}
				r, err := f.ask(s, engine.Request{Kind: engine.Logits, Tokens: l.IDs, Labels: l.Labels})
				if err != nil {
					return nil, err
				}
				var sum float64
				for _, p := range r.Logprobs {
					sum -= p
				}
				// No label at all: the mean of nothing, as in PyTorch.
				return map[string]Number{"loss": Number(sum / float64(len(r.Logprobs)))}, nil
			})
		},
	}
	f.add(cmd)
	return cmd
}

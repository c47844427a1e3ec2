package debug

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/evalrun/evalrun/backends/local/quant"
	"github.com/evalrun/evalrun/backends/local/weights"
	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/kernels/format"
)

func newQuantize() *cobra.Command {
	var in, out, kind string
	var double bool
	cmd := &cobra.Command{
		Use:   "quantize --in A --out B",
		Short: "tensors in bitsandbytes' 4-bit formats",
		Long: "Quantize writes every floating-point tensor W of a safetensors file as bitsandbytes stores it: W,\n" +
			"W.absmax, W.quant_map, W.quant_state.bitsandbytes__TYPE and, with --double, W.nested_absmax and\n" +
			"W.nested_quant_map. Blocks are 64 values of the flattened tensor. Tensors of other types are copied.",
		Example: "  evalrun debug quantize --in model.safetensors --out nf4.safetensors --double\n" +
			"  evalrun debug quantize --in model.safetensors --out fp4.safetensors --type fp4",
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			k, ok := map[string]format.QuantKind{"nf4": format.NF4, "fp4": format.FP4}[kind]
			if !ok {
				return &core.UserError{Where: "--type " + kind, Message: "no such 4-bit format", Hint: "take nf4 or fp4"}
			}
			return convert(in, out, func(f *weights.File, t weights.Tensor) ([]weights.Tensor, error) {
				switch t.Type {
				case format.F32, format.BF16, format.F16:
				default:
					return []weights.Tensor{t}, nil
				}
				q, err := format.Quantize(k, quant.Block, t.Len(), t.Type, func(dst []float32, from int) {
					size := t.Type.BlockBytes()
					t.Type.Decode(dst, t.Data[from*size:])
				})
				if err != nil {
					return nil, fmt.Errorf("tensor %q: %w", t.Name, err)
				}
				if double {
					q.Double()
				}
				return quant.Store(t.Name, t.Shape, q)
			})
		},
	}
	cmd.Flags().StringVar(&in, "in", "", "safetensors file of the tensors")
	cmd.Flags().StringVar(&out, "out", "", "safetensors file to write")
	cmd.Flags().StringVar(&kind, "type", "nf4", "nf4 or fp4")
	cmd.Flags().BoolVar(&double, "double", false, "quantise the scales too")
	return cmd
}

func newDequantize() *cobra.Command {
	var in, out string
	cmd := &cobra.Command{
		Use:   "dequantize --in A --out B",
		Short: "float32 values of tensors in any stored format",
		Long: "Dequantize writes every tensor of a safetensors or GGUF file as float32: bitsandbytes' 4- and 8-bit\n" +
			"weights as what they stand for (scales and descriptions are left out), others by their own type.",
		Example: "  evalrun debug dequantize --in model.safetensors --out values.safetensors\n" +
			"  evalrun debug dequantize --in model.gguf --out values.safetensors",
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return convert(in, out, func(f *weights.File, t weights.Tensor) ([]weights.Tensor, error) {
				values, shape, err := quant.Values(f, t.Name)
				if err != nil || values == nil {
					return nil, err
				}
				return []weights.Tensor{weights.Float32s(t.Name, values, shape...)}, nil
			})
		},
	}
	cmd.Flags().StringVar(&in, "in", "", "safetensors or GGUF file")
	cmd.Flags().StringVar(&out, "out", "", "safetensors file to write")
	return cmd
}

// convert makes a file of what each tensor of another becomes.
func convert(in, out string, each func(*weights.File, weights.Tensor) ([]weights.Tensor, error)) error {
	for flag, v := range map[string]string{"--in": in, "--out": out} {
		if v == "" {
			return &core.UserError{Where: flag, Message: "no file is named", Hint: "name a safetensors file to read with --in and one to write with --out"}
		}
	}
	f, err := weights.Open(in)
	if err != nil {
		return &core.UserError{Where: "--in " + in, Hint: "name a safetensors file", Err: err}
	}
	var all []weights.Tensor
	for _, name := range f.Names() {
		t, err := f.Tensor(name)
		var made []weights.Tensor
		if err == nil {
			made, err = each(f, t)
		}
		if err != nil {
			return errors.Join(&core.UserError{Where: in, Hint: "docs/debug.md says what this window takes", Err: err}, f.Close())
		}
		all = append(all, made...)
	}
	return errors.Join(weights.WriteSafetensors(out, all, map[string]string{"format": "pt"}), f.Close())
}

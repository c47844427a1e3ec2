package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/evalrun/evalrun/backends/local/device"
	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/kernels/kernelbench"
	"github.com/evalrun/evalrun/results"
)

func newBenchKernels() *cobra.Command {
	var o kernelbench.Options
	var name string
	var threads int
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "kernels",
		Short: "what a device's operations reach of what its machine gives",
		Long: "Kernels measures the operations that models consist of, at stated shapes, on the device named: products\n" +
			"with weights of each format and one row or many, norms, attention, adapters, the gradients of a\n" +
			"training. Beside each stands the ceiling that bounds it, memory or arithmetic, and the share of it that\n" +
			"was reached; ceilings are measured in the same run, a GPU's are told by its driver. Operands that a\n" +
			"cache keeps may reach more than all of the memory's. Other programs that compute meanwhile spoil\n" +
			"the figures.",
		Example: "  evalrun bench kernels\n  evalrun bench kernels --device ref --width 256 --rows 2 --context 32 --time 1ms\n  evalrun bench kernels --device cuda --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return benchKernels(cmd.OutOrStdout(), name, threads, o, asJSON)
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&name, "device", "", "device that computes (default: the best one found)")
	fl.IntVar(&threads, "threads", 0, "threads of the CPU (default: one a core)")
	fl.IntVar(&o.Width, "width", 0, "inputs and outputs of the products, a multiple of 256 (default: 2048, cuda 4096, ref 256)")
	fl.IntVar(&o.Rows, "rows", 0, "tokens of a prompt or a training step (default: 256, cuda 820, ref 16)")
	fl.IntVar(&o.Context, "context", 0, "positions that decoding attends to (default: 1024, ref 128)")
	fl.DurationVar(&o.Budget, "time", 200*time.Millisecond, "how long each figure is measured")
	fl.BoolVar(&asJSON, "json", false, "one JSON object")
	return cmd
}

func benchKernels(out io.Writer, name string, threads int, o kernelbench.Options, asJSON bool) error {
	if threads < 0 || threads > 1024 {
		return &core.UserError{Where: "--threads", Message: fmt.Sprintf("%d threads", threads), Hint: "give a number of cores, or leave it away for all of them"}
	}
	dev, err := device.Open(name, threads)
	if err != nil {
		return &core.UserError{Where: "--device", Message: err.Error(), Hint: "name one of " + fmt.Sprint(device.Names()), Err: err}
	}
	defer dev.Close()
	top, err := kernelbench.CeilingOf(dev, o.Budget)
	if err != nil {
		return err
	}
	described := device.Describe(dev)
	if !asJSON {
		fmt.Fprintf(out, "%s\nmemory %.1f GB/s read, %.1f GB/s copied (both ways), %.1f GFLOP/s", described, top.Read/1e9, top.Copy/1e9, top.FLOPS/1e9)
		if top.Matrix > 0 {
			fmt.Fprintf(out, ", matrix units %.1f TFLOP/s", top.Matrix/1e12)
		}
		fmt.Fprintf(out, "; %s\n\n", top.Source)
		o.Each = func(f kernelbench.Figure) { fmt.Fprintln(out, figureLine(f)) }
	}
	figures, err := kernelbench.Run(dev, top, o)
	if err != nil {
		return &core.UserError{Where: "bench kernels", Message: err.Error(), Hint: "give other shapes: --width, --rows, --context"}
	}
	if asJSON {
		return json.NewEncoder(out).Encode(map[string]any{"machine": results.ThisMachine(), "device": described, "ceiling": top, "figures": figures})
	}
	return nil
}

func figureLine(f kernelbench.Figure) string {
	rate, unit, bound := f.Rate/1e9, "GB/s", "memory"
	if f.Bound == kernelbench.Arithmetic {
		unit, bound = "GFLOP/s", "FLOP/s"
	}
	return fmt.Sprintf("%-29s %-46s %10s %9.2f %-8s %4.0f %% of %s", f.Operation, f.Shape, shortTime(f.Seconds), rate, unit, 100*f.Share, bound)
}

// shortTime writes seconds with three digits.
func shortTime(s float64) string {
	switch {
	case s < 1e-3:
		return fmt.Sprintf("%.3g µs", s*1e6)
	case s < 1:
		return fmt.Sprintf("%.3g ms", s*1e3)
	}
	return fmt.Sprintf("%.3g s", s)
}

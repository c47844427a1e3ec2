package debug

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/evalrun/evalrun/backends/local/weights"
	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/kernels/format"
)

func execute(cmd *cobra.Command, args ...string) error {
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetArgs(args)
	return cmd.Execute()
}

// Out of the float window and back: values of the map times the scale.
func TestQuantizeWindow(t *testing.T) {
	dir := t.TempDir()
	in, quantised, back := filepath.Join(dir, "in.safetensors"), filepath.Join(dir, "q.safetensors"), filepath.Join(dir, "back.safetensors")
	x := make([]float32, 3*50)
	for i := range x {
		x[i] = float32(math.Sin(float64(i)))
	}
	ids := weights.Tensor{Name: "ids", Type: format.I32, Stored: "I32", Shape: []int{2}, Data: make([]byte, 8)}
	if err := weights.WriteSafetensors(in, []weights.Tensor{weights.Float32s("W", x, 3, 50), ids}, nil); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"--type", "nf4"}, {"--type", "fp4"}, {"--double"}} {
		if err := execute(newQuantize(), append([]string{"--in", in, "--out", quantised}, args...)...); err != nil {
			t.Fatal(err)
		}
		if err := execute(newDequantize(), "--in", quantised, "--out", back); err != nil {
			t.Fatal(err)
		}
		f, err := weights.Open(back)
		if err != nil {
			t.Fatal(err)
		}
		w, err := f.Tensor("W")
		if err != nil || len(w.Shape) != 2 || w.Shape[1] != 50 || len(f.Names()) != 2 {
			t.Fatalf("%v: %v %v, %v", args, f.Names(), w.Shape, err)
		}
		y, _ := w.Floats()
		for i := range x {
			if math.Abs(float64(x[i]-y[i])) > 0.2 {
				t.Fatalf("%v: value %d is %g, was %g", args, i, y[i], x[i])
			}
		}
		f.Close()
	}
}

func TestQuantizeRefuses(t *testing.T) {
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad.safetensors")
	nan := float32(math.NaN())
	if err := weights.WriteSafetensors(bad, []weights.Tensor{weights.Float32s("W", []float32{1, nan}, 2)}, nil); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "out.safetensors")
	for want, args := range map[string][]string{
		"--out: no file is named":    {"--in", bad},
		"no such 4-bit format":       {"--in", bad, "--out", out, "--type", "nf5"},
		`tensor "W": value 1 is NaN`: {"--in", bad, "--out", out},
		"no such file or directory":  {"--in", filepath.Join(dir, "none"), "--out", out},
	} {
		err := execute(newQuantize(), args...)
		var user *core.UserError
		if !errors.As(err, &user) || user.Hint == "" || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: error %v, want %q and a hint", args, err, want)
		}
	}
	if _, err := os.Stat(out); err == nil {
		t.Error("a file was left behind")
	}
}

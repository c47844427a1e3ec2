// Package device finds what a model is computed on by the name that a user
// gives it.
package device

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"

	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/cpu"
	"github.com/evalrun/evalrun/kernels/cuda"
	"github.com/evalrun/evalrun/kernels/cuda/driver"
	"github.com/evalrun/evalrun/kernels/ref"
)

// Names are the devices of this build.
func Names() []string {
	names := []string{"cpu", "ref"}
	if driver.Built {
		names = append(names, "cuda", "cuda-bf16")
	}
	return names
}

// Check reports whether a name is one of a device; "" is the default.
func Check(name string) error {
	switch {
	case name == "" || slices.Contains(Names(), name):
		return nil
	case name == "cuda" || name == "cuda-bf16":
		return driver.ErrNotBuilt
	}
	return errors.New("there is no such device here")
}

// OpenError says why a device cannot be had.
type OpenError struct {
	Name string
	Err  error
}

func (e *OpenError) Error() string { return fmt.Sprintf("device %s: %v", e.Name, e.Err) }
func (e *OpenError) Unwrap() error { return e.Err }

// WhyVariable is the environment variable in which the plain program says why it
// did not go on as the one with CUDA, for the processes that it starts.
const WhyVariable = "EVALRUN_CUDA_WHY"

// OpenHint is what to do about an OpenError.
const OpenHint = "evalrun doctor says what there is; --device cpu computes without a GPU"

// Open starts a device: cpu with so many threads (0 is all), ref, cuda, or
// cuda-bf16 with products of values rounded to bfloat16. The default is cuda where the build has it and a GPU starts, else cpu.
func Open(name string, threads int) (kernels.Device, error) {
	if err := Check(name); err != nil {
		return nil, &OpenError{name, err}
	}
	switch {
	case name == "ref":
		return ref.New(), nil
	case name == "cuda" || name == "cuda-bf16" || name == "" && driver.Built:
		d, err := cuda.Open(0, Failed)
		if err == nil && name == "cuda-bf16" {
			err = d.Brain()
		}
		if err == nil {
			return d, nil
		}
		if name != "" {
			return nil, &OpenError{name, err}
		}
		slog.Warn("computing on the CPU: " + err.Error())
	}
	return cpu.New(cpu.Options{Threads: threads})
}

// Failed is called when a GPU fails at work: the process ends, since nothing
// that it held is left. What was written before stays: a run goes on from its
// last answer, a training from its last checkpoint.
var Failed = func(f *cuda.Fault) {
	hint := "run the same command again: it goes on where it was saved; --device cpu needs no GPU"
	if small := (*cuda.MemoryError)(nil); errors.As(f, &small) {
		hint = "free the GPU's memory (nvidia-smi says who has it), or ask for less; the same command goes on where it was saved"
	}
	fmt.Fprintf(os.Stderr, "evalrun: %v\n  %s\n", f, hint)
	os.Exit(2)
}

// Describe is the device with its path or processor: "cpu (avx2, 2 threads)".
func Describe(d kernels.Device) string {
	switch d := d.(type) {
	case *cpu.Device:
		return fmt.Sprintf("cpu (%s, %d threads)", d.Path(), d.Threads())
	case *cuda.Device:
		return d.Description()
	}
	return d.Name()
}

package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/evalrun/evalrun/backends/local/device"
	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/internal/memory"
	"github.com/evalrun/evalrun/internal/probe"
	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/cpu"
	"github.com/evalrun/evalrun/kernels/cuda"
	"github.com/evalrun/evalrun/kernels/cuda/driver"
	"github.com/evalrun/evalrun/kernels/format"
)

// diagnosis is what doctor found; its JSON is the answer to --json.
type diagnosis struct {
	Program string       `json:"program"`
	Go      string       `json:"go"`
	System  string       `json:"system"`
	CPU     probe.CPU    `json:"cpu"`
	Memory  memory.Sizes `json:"memory"`
	GPU     probe.GPU    `json:"gpu"`
	CUDA    string       `json:"cuda"`   // whether a GPU that is there computes, or why it does not
	Device  string       `json:"device"` // what is measured
	Path    string       `json:"path"`   // the kernels chosen
	Paths   []string     `json:"paths"`
	Threads int          `json:"threads"`
	Ceiling *ceilings    `json:"ceiling,omitempty"`
	Kernels []kernelRate `json:"kernels,omitempty"`
}

type ceilings struct {
	CopyGBs float64 `json:"copy_gb_s"`
	ReadGBs float64 `json:"read_gb_s"`
	GFLOPS  float64 `json:"gflop_s"`
}

// kernelRate is what the matrix product reaches with weights of a format.
type kernelRate struct {
	Format      string  `json:"format"`
	Bits        float64 `json:"bits_per_weight"` // as they lie in memory for the product
	ReadGBs     float64 `json:"one_row_gb_s"`
	ReadShare   float64 `json:"one_row_share"` // of the ceiling
	Gweights    float64 `json:"one_row_gweights_s"`
	GFLOPS      float64 `json:"many_rows_gflop_s"`
	FLOPSShare  float64 `json:"many_rows_share"`
	PreparedMiB float64 `json:"prepared_mib"`
}

// Shape of doctor's product: a projection of a model of 7 billion weights.
const doctorN, doctorK, doctorRows = 4096, 4096, 64

func newDoctor() *cobra.Command {
	var asJSON, quick bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "what this machine has, what its kernels reach of it, and why there is no GPU",
		Long: "Doctor looks at processor, memory and graphics processor, and measures the kernels that were chosen\n" +
			"against what the machine gives: a product with one row (decoding) against the memory's bandwidth, one\n" +
			"with 64 rows (reading a prompt) against the processor's fused multiply-adds. It takes a few\n" +
			"seconds; other programs that compute meanwhile spoil the figures.",
		Example: "  evalrun doctor\n  evalrun doctor --quick\n  evalrun doctor --quick --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d, err := diagnose(quick)
			if err != nil {
				return err
			}
			if asJSON {
				enc := json.NewEncoder(cmd.OutOrStdout())
				enc.SetIndent("", " ")
				return enc.Encode(d)
			}
			return d.print(cmd.OutOrStdout())
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object on standard output")
	cmd.Flags().BoolVar(&quick, "quick", false, "look only, measure nothing")
	return cmd
}

func diagnose(quick bool) (*diagnosis, error) {
	dev, err := cpu.New(cpu.Options{})
	if err != nil {
		return nil, &core.UserError{Where: cpu.PathVariable + "=" + os.Getenv(cpu.PathVariable), Message: err.Error(), Hint: "unset it, or name one of those", Err: err}
	}
	defer dev.Close()
	m := probe.This
	d := &diagnosis{
		Program: versions().Evalrun, Go: runtime.Version(), System: runtime.GOOS + "/" + runtime.GOARCH,
		CPU: m.CPU(), Memory: m.Memory(), GPU: m.GPU(),
		Device: dev.Name(), Path: dev.Path(), Paths: cpu.Paths(), Threads: dev.Threads(),
	}
	if d.GPU.Why == "" || driver.Starts() == nil { // the driver knows better
		d.GPU.Why, d.CUDA = "", cudaState()
	}
	if !quick {
		if err := d.measure(dev); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// cudaState says in a sentence whether the GPU computes.
func cudaState() string {
	g, err := cuda.Open(0, nil)
	if why := os.Getenv(device.WhyVariable); why != "" && errors.Is(err, driver.ErrNotBuilt) {
		return "it does not compute: " + why
	}
	if err != nil {
		return "it does not compute: " + err.Error()
	}
	defer g.Close()
	free, total := g.Memory()
	state := fmt.Sprintf("the default device is %s, %d of %d MiB free; docs/cuda.md has its figures", g.Description(), free>>20, total>>20)
	if err := g.TryGraphs(); err != nil {
		state += fmt.Sprintf("; kernels start one by one, which decodes slower: %v", err)
	}
	return state
}

// measure fills in ceilings and rates.
func (d *diagnosis) measure(dev *cpu.Device) error {
	const budget = 200 * time.Millisecond
	top := dev.Measure(budget)
	d.Ceiling = &ceilings{top.Copy / 1e9, top.Read / 1e9, top.FLOPS / 1e9}
	values := make([]float32, doctorN*doctorK)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range values {
		values[i] = rng.Float32() - 0.5
	}
	for _, w := range doctorWeights(values) {
		w, err := w()
		if err != nil {
			return err
		}
		p, err := dev.Prepare(w, kernels.ForMatMul)
		if err != nil {
			return err
		}
		r := dev.MeasureMatMul(p, doctorRows, budget)
		bits := 8 * float64(p.Bytes()+kernels.Reads(p)) / float64(len(values))
		d.Kernels = append(d.Kernels, kernelRate{
			Format: w.FormatName(), Bits: bits, ReadGBs: r.Read / 1e9, ReadShare: r.Read / top.Read, Gweights: r.Read * 8 / bits / 1e9,
			GFLOPS: r.FLOPS / 1e9, FLOPSShare: r.FLOPS / top.FLOPS, PreparedMiB: float64(p.Bytes()) / (1 << 20),
		})
	}
	return nil
}

// doctorWeights makes the weights to measure, one at a time.
func doctorWeights(values []float32) []func() (kernels.Weight, error) {
	plain := func(t format.Type) func() (kernels.Weight, error) {
		return func() (kernels.Weight, error) {
			size, _ := t.Bytes(int64(len(values)))
			data := make([]byte, size)
			t.Encode(data, values)
			return kernels.Weight{Name: "w", Type: t, N: doctorN, K: doctorK, Data: data}, nil
		}
	}
	quantised := func(kind format.QuantKind, block int) func() (kernels.Weight, error) {
		return func() (kernels.Weight, error) {
			q, err := format.Quantize(kind, block, len(values), format.F32, func(dst []float32, from int) { copy(dst, values[from:]) })
			if err == nil && kind == format.NF4 {
				q.Double()
			}
			return kernels.Weight{Name: "w", N: doctorN, K: doctorK, Quant: q}, err
		}
	}
	return []func() (kernels.Weight, error){plain(format.F32), plain(format.BF16), plain(format.Q8_0), plain(format.Q4_0), quantised(format.Int8, doctorK), quantised(format.NF4, 64)}
}

func (d *diagnosis) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	line := func(what, format string, args ...any) { fmt.Fprintf(w, "%s\t%s\n", what, fmt.Sprintf(format, args...)) }
	line("program", "evalrun %s, %s, %s", d.Program, d.Go, d.System)
	line("processor", "%s, %s", d.CPU.Model, coresText(d.CPU))
	line("", "has %s; lacks %s", words(d.CPU.Features), words(d.CPU.Missing))
	line("memory", "%s", memoryText(d.Memory))
	if d.GPU.Why != "" {
		line("GPU", "%s", d.GPU.Why)
	} else {
		head := "GPU"
		if len(d.GPU.Names) > 0 {
			line(head, "%s, driver %s", words(d.GPU.Names), d.GPU.Driver)
			head = ""
		}
		line(head, "%s", d.CUDA)
	}
	chosen := "the fastest here"
	if os.Getenv(cpu.PathVariable) != "" {
		chosen = "by " + cpu.PathVariable
	}
	line("kernels", "%s, %s (%s; there are %s), %d threads", d.Device, d.Path, chosen, words(d.Paths), d.Threads)
	if c := d.Ceiling; c != nil {
		line("ceiling", "read %.1f GB/s, copy %.1f GB/s, multiply-add %.0f GFLOP/s in float32", c.ReadGBs, c.CopyGBs, c.GFLOPS)
	}
	if err := w.Flush(); err != nil || d.Kernels == nil {
		return err
	}
	fmt.Fprintf(out, "\nproduct with a weight [%d, %d]\n", doctorN, doctorK)
	w = tabwriter.NewWriter(out, 0, 4, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "weights\tbits in memory\tone row\tof ceiling\tweights/s\t%d rows\tof ceiling\t\n", doctorRows)
	for _, k := range d.Kernels {
		fmt.Fprintf(w, "%s\t%.2f\t%.1f GB/s\t%.0f %%\t%.2f G\t%.0f GFLOP/s\t%.0f %%\t\n", k.Format, k.Bits, k.ReadGBs, 100*k.ReadShare, k.Gweights, k.GFLOPS, 100*k.FLOPSShare)
	}
	return w.Flush()
}

func words(list []string) string {
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, ", ")
}

// coresText says how many compute, and what says so where it is not all.
func coresText(c probe.CPU) string {
	s := fmt.Sprintf("%d cores", c.Cores)
	if c.AtOnce == c.Cores {
		return s
	}
	by := "by this process's group, whose cpu.max (cpu.cfs_quota_us) gives no more time"
	if os.Getenv("GOMAXPROCS") != "" {
		by = "by GOMAXPROCS"
	}
	return fmt.Sprintf("%s, %d at once %s", s, c.AtOnce, by)
}

func memoryText(m memory.Sizes) string {
	if m.Total == 0 && m.Limit == 0 {
		return "unknown"
	}
	s := fmt.Sprintf("%.1f GiB, %.1f GiB available", float64(m.Total)/(1<<30), float64(m.Available)/(1<<30))
	if m.Limit > 0 {
		s += fmt.Sprintf("; %.1f GiB count, which %s allows this process's group", float64(m.Limit)/(1<<30), m.File)
	}
	return s
}

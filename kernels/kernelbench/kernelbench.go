// Package kernelbench measures a device's operations at stated shapes and holds
// each to what its machine gives at most.
//
// An operation moves so many bytes and computes so many multiplications and
// additions; what takes the machine longer at its ceiling is what bounds the
// operation (the roofline of Williams et al., 2009), and its share of that
// ceiling is told.
package kernelbench

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/cpu"
	"github.com/evalrun/evalrun/kernels/cuda"
	"github.com/evalrun/evalrun/kernels/format"
)

// Ceiling is what a machine gives at most, in a second.
type Ceiling struct {
	Read   float64 `json:"read_bytes_s"`  // bytes read from memory
	Copy   float64 `json:"copy_bytes_s"`  // bytes read and written by a copy
	FLOPS  float64 `json:"flop_s"`        // float32 operations, a multiply-add being two
	Matrix float64 `json:"matrix_flop_s"` // of products on matrix units, 0 where none are used
	Source string  `json:"source"`        // where this is known from
}

// Options choose shapes. The zero value of any is the device's default.
type Options struct {
	Width   int           // inputs and outputs of the products, a multiple of 256
	Rows    int           // of a prompt, or of a training step
	Context int           // positions that decoding attends to
	Budget  time.Duration // of each figure
	// Each is called with every figure as it is there.
	Each func(Figure)
}

// Figure is what one operation reached.
type Figure struct {
	Operation string  `json:"operation"`
	Shape     string  `json:"shape"`
	Seconds   float64 `json:"seconds"` // of one call
	Bytes     float64 `json:"bytes"`   // that it must move
	FLOP      float64 `json:"flop"`
	Bound     string  `json:"bound"`   // "memory" or "arithmetic"
	Rate      float64 `json:"rate"`    // of what bounds it, a second
	Ceiling   float64 `json:"ceiling"` // of that
	Share     float64 `json:"share"`   // Rate / Ceiling
}

// Bounds of a figure.
const (
	Memory     = "memory"
	Arithmetic = "arithmetic"
)

// CeilingOf measures the machine behind a device, or asks its driver.
func CeilingOf(dev kernels.Device, budget time.Duration) (Ceiling, error) {
	switch d := dev.(type) {
	case *cpu.Device:
		return processor(d, budget), nil
	case *cuda.Device:
		p, err := d.Peak()
		if err != nil {
			return Ceiling{}, err
		}
		c := Ceiling{Read: p.Bytes, Copy: p.Bytes, FLOPS: p.FLOPS, Source: "clocks, bus and processors of the GPU"}
		if d.Name() == "cuda-bf16" {
			c.Matrix = p.Matrix
		}
		return c, nil
	}
	d, err := cpu.New(cpu.Options{Threads: 1})
	if err != nil {
		return Ceiling{}, err
	}
	defer d.Close()
	return processor(d, budget), nil
}

func processor(d *cpu.Device, budget time.Duration) Ceiling {
	top := d.Measure(budget)
	return Ceiling{Read: top.Read, Copy: 2 * top.Copy, FLOPS: top.FLOPS,
		Source: fmt.Sprintf("measured: %s instructions, threads: %d", d.Path(), d.Threads())}
}

// fill sets what is zero to what suits the device: seconds for all figures.
func (o Options) fill(dev kernels.Device) (Options, error) {
	width, rows, context := 2048, 256, 1024
	switch dev.(type) {
	case *cpu.Device:
	case *cuda.Device:
		width, rows = 4096, 820
	default:
		width, rows, context = 256, 16, 128
	}
	for _, f := range []struct {
		at  *int
		def int
	}{{&o.Width, width}, {&o.Rows, rows}, {&o.Context, context}} {
		if *f.at == 0 {
			*f.at = f.def
		}
	}
	if o.Budget == 0 {
		o.Budget = 200 * time.Millisecond
	}
	if o.Width < 256 || o.Width%256 != 0 || o.Width > 1<<15 || o.Rows < 1 || o.Rows > 1<<14 || o.Context < 1 || o.Context > 1<<17 || o.Budget < 0 {
		return o, fmt.Errorf("width %d is no multiple of 256 up to 32768, or rows %d, context %d or the time %v are out of range", o.Width, o.Rows, o.Context, o.Budget)
	}
	return o, nil
}

// bench is a run of measurements.
type bench struct {
	dev     kernels.Device
	top     Ceiling
	o       Options
	rng     *rand.Rand
	figures []Figure
}

// Run measures all operations of the device.
func Run(dev kernels.Device, top Ceiling, o Options) (figures []Figure, err error) {
	o, err = o.fill(dev)
	if err != nil {
		return nil, err
	}
	b := &bench{dev: dev, top: top, o: o, rng: rand.New(rand.NewPCG(1, 2))}
	for _, part := range []func() error{b.products, b.rowwise, b.attention, b.adapters, b.training} {
		if err := part(); err != nil {
			return b.figures, err
		}
	}
	return b.figures, nil
}

// work is what an operation must do.
type work struct {
	read, written float64 // bytes
	flop          float64
	matrix        bool // a product that may use matrix units
}

// add measures f and keeps its figure.
func (b *bench) add(operation, shape string, w work, f func()) {
	memory, arithmetic := b.top.Read, b.top.FLOPS
	if w.written > w.read/4 {
		memory = b.top.Copy
	}
	if w.matrix && b.top.Matrix > 0 {
		arithmetic = b.top.Matrix
	}
	s := b.seconds(f)
	x := Figure{Operation: operation, Shape: shape, Seconds: s, Bytes: w.read + w.written, FLOP: w.flop,
		Bound: Memory, Rate: (w.read + w.written) / s, Ceiling: memory}
	if w.flop/arithmetic > x.Bytes/memory {
		x.Bound, x.Rate, x.Ceiling = Arithmetic, w.flop/s, arithmetic
	}
	x.Share = x.Rate / x.Ceiling
	b.figures = append(b.figures, x)
	if b.o.Each != nil {
		b.o.Each(x)
	}
}

// seconds is the time of one f: the best of rounds that together take the
// budget, since other programs can only make them slower. A round is long
// enough for the clock and, on a device that works beside the host, for the wait at its
// end.
func (b *bench) seconds(f func()) float64 {
	wait := func() {}
	if d, ok := b.dev.(interface{ Sync() }); ok {
		wait = d.Sync
	}
	round := func(n int) float64 {
		before := time.Now()
		for range n {
			f()
		}
		wait()
		return time.Since(before).Seconds() / float64(n)
	}
	n := 1
	best := round(n)
	for best*float64(n) < min(b.o.Budget.Seconds()/8, 2e-3) {
		n *= 2
		best = round(n)
	}
	start := time.Now()
	for i := 0; i < 3 || time.Since(start) < b.o.Budget; i++ {
		best = min(best, round(n))
	}
	return best
}

// buffer is n random values between -0.5 and 0.5.
func (b *bench) buffer(n int) (kernels.Buffer, error) {
	buf, err := b.dev.Alloc(format.F32, n)
	if err != nil {
		return nil, err
	}
	b.dev.Write(buf, b.random(n))
	return buf, nil
}

// buffers are several, nil after an error.
func (b *bench) buffers(sizes ...int) ([]kernels.Buffer, error) {
	var all []kernels.Buffer
	for _, n := range sizes {
		buf, err := b.buffer(n)
		if err != nil {
			return nil, err
		}
		all = append(all, buf)
	}
	return all, nil
}

func (b *bench) random(n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = b.rng.Float32() - 0.5
	}
	return x
}

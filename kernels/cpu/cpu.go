// Package cpu is the fast device in host memory: weights repacked into panels,
// matrix products in register tiles, a pool of threads.
//
// A weight [N, K] is packed into panels of 16 outputs, [N/16][K][16], so that
// the outputs lie across the vector lanes and the reduction over K runs in
// order within one lane, in the same order for one row (decoding) and for many
// (prefill). Pages of the key-value cache have the same form, so attention
// runs through the same tile.
//
// The tile and the element-wise loops exist in plain Go and, where the machine
// has the instructions, in assembly; see paths.
package cpu

import (
	"fmt"
	"runtime"

	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/format"
)

// lanes is the number of outputs in a panel.
const lanes = 16

// Device computes on the processor's cores. Create it with New. Its methods are
// told by [kernels.TrainDevice], with shapes and formulas.
type Device struct {
	pool *pool
	path *path
	work []scratch // one a thread
	low  scratch   // an adapter's inner product
	tall scratch   // the packed operand of WeightGrad, the decoded one of RowNorms
	runs *cache    // keys and values of AttentionTrain

	packLimit int64
}

// Options choose how a Device computes.
type Options struct {
	// Threads is the number of threads; 0 is one for each core that the
	// process may use.
	Threads int
	// Path is the instruction-set path, one of Paths; "" is the value of the
	// environment variable EVALRUN_CPU, or else the fastest that the machine
	// has.
	Path string
	// PackLimit is how many bytes the panels of a weight may take to be packed
	// in float32. Larger weights, and those that Quant holds, are read in the
	// checkpoint's own form, which decodes a little slower for one row and takes
	// no memory of its own. 0 is DefaultPackLimit, -1 packs nothing. Results have
	// the same bits whatever it is.
	PackLimit int64
}

// DefaultPackLimit packs the weights of small models, which then stay in the
// caches, and float32 weights of any size.
const DefaultPackLimit = 8 << 20

// New starts a device and its threads; Close ends them.
func New(o Options) (*Device, error) {
	if o.Threads < 0 {
		return nil, fmt.Errorf("cpu device: %d threads", o.Threads)
	}
	if o.Threads == 0 {
		o.Threads = runtime.GOMAXPROCS(0)
	}
	p, err := choosePath(o.Path)
	if err != nil {
		return nil, err
	}
	if o.PackLimit == 0 {
		o.PackLimit = DefaultPackLimit
	}
	return &Device{pool: newPool(o.Threads), path: p, work: make([]scratch, o.Threads), packLimit: o.PackLimit}, nil
}

// Name is "cpu"; Path tells the instruction-set path.
func (d *Device) Name() string { return "cpu" }

// Path is the name of the instruction-set path in use: "go", "avx2".
func (d *Device) Path() string { return d.path.name }

// Threads is the number of threads that compute.
func (d *Device) Threads() int { return d.pool.threads }

// Close ends the threads. Memory is the garbage collector's.
func (d *Device) Close() error {
	d.pool.close()
	return nil
}

func (d *Device) Alloc(t format.Type, n int) (kernels.Buffer, error) {
	return kernels.AllocFloats(t, n)
}

func (d *Device) Write(dst kernels.Buffer, src []float32) {
	copy(kernels.Host(dst, len(src), "dst"), src)
}

func (d *Device) Read(dst []float32, src kernels.Buffer) {
	copy(dst, kernels.Host(src, len(dst), "src"))
}

// scratch is the private memory of one thread. It grows to what the largest
// task needs and is used again.
type scratch struct {
	floats []float32
}

// take gives n values of unknown content, valid until the thread's next task.
func (s *scratch) take(n int) []float32 {
	if cap(s.floats) < n {
		s.floats = make([]float32, n)
	}
	return s.floats[:n]
}

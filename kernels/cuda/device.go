// Package cuda is the device on an NVIDIA GPU: the operations of
// kernels.TrainDevice as kernels of our own, in float32, deterministic and
// without atomics.
//
// The kernels are the CUDA C++ files in src; make ptx translates them to ptx
// with plain clang, and the program carries the results. What is here is the
// host's side of each operation, over a driver.Driver: the real one exists with the
// build tag cuda (cgo), package emulate plays one on the processor for tests.
//
// The order in which a product's sum is taken stands in src/matmul.cu.
package cuda

import (
	"fmt"
	"math"

	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/cuda/driver"
)

// Device computes on one GPU. All its work goes through one stream.
type Device struct {
	driver driver.Driver // steps
	steps  *steps
	unit   driver.Mapper // nil where there is none
	copier driver.Copier // nil where there is none
	pinned pinned
	heap   heap
	found  map[string]uintptr
	tables tables
	maps   []mapPair // of the weights
	idle   []*block  // memory of operations that are over
	failed func(*Fault)
	train  cache // keys and values of AttentionTrain
	brain  bool  // products of bfloat16 values; see Brain
	copies bool  // they copy with threads, not with the tensor memory unit

	product brainKernel // after Brain, the one that does
}

var _ kernels.TrainDevice = (*Device)(nil)

// Open starts the device on a GPU; failed is as for Over.
func Open(ordinal int, failed func(*Fault)) (*Device, error) {
	gpu, err := driver.Open(ordinal)
	if err != nil {
		return nil, err
	}
	return Over(gpu, failed), nil
}

// Over is the device on a driver. Operations have no way to return an error:
// failed is called where the GPU fails in one, and must not return; nil panics
// with the *Fault.
func Over(drv driver.Driver, failed func(*Fault)) *Device {
	if failed == nil {
		failed = func(f *Fault) { panic(f) }
	}
	s := &steps{Driver: drv}
	d := &Device{driver: s, steps: s, heap: heap{driver: s, free: map[int64][]uint64{}}, found: map[string]uintptr{}, failed: failed}
	d.heap.broken = d.fault
	s.graphs, _ = drv.(driver.Grapher)
	d.unit, _ = drv.(driver.Mapper)
	d.copier, _ = drv.(driver.Copier)
	if t, ok := drv.(driver.Taker); ok {
		d.heap.taken = t.Taken
	}
	return d
}

// Name is "cuda", or "cuda-bf16" after Brain.
func (d *Device) Name() string {
	if d.brain {
		return "cuda-bf16"
	}
	return "cuda"
}

// Description names the processor as well.
func (d *Device) Description() string { return fmt.Sprintf("%s (%s)", d.Name(), d.driver.Name()) }

// Memory tells the GPU's free and whole memory in bytes.
func (d *Device) Memory() (free, total int64) { return d.driver.Memory() }

// Peak asks the driver.
func (d *Device) Peak() (driver.Peak, error) {
	if g, ok := d.steps.Driver.(interface{ Peak() (driver.Peak, error) }); ok {
		return g.Peak()
	}
	return driver.Peak{}, fmt.Errorf("%s: the driver does not tell its limits", d.driver.Name())
}

// Held is the GPU's memory that the device has taken, in bytes.
func (d *Device) Held() int64 { return d.heap.held }

// Sync waits until everything asked for has been computed.
func (d *Device) Sync() { d.check("wait", d.driver.Sync()) }

// Close gives all memory back.
func (d *Device) Close() error {
	for _, g := range d.steps.kept {
		if g.handle != 0 {
			d.steps.graphs.GraphFree(g.handle)
		}
	}
	d.steps.kept = nil
	_, free := d.pinned.find(-1)
	for _, at := range free {
		d.copier.Unpin(at)
	}
	d.heap.mu.Lock()
	d.heap.free = nil
	d.heap.mu.Unlock()
	return d.driver.Close()
}

func (d *Device) fault(what string, err error) {
	d.failed(&Fault{what, err})
	panic("BUG: the handler of a GPU's fault returned")
}

func (d *Device) check(what string, err error) {
	if err != nil {
		d.fault(what, err)
	}
}

// launch starts a kernel; nothing happens on an empty grid.
func (d *Device) launch(name string, gridX, gridY, threads, shared int, args ...uint64) {
	if gridX <= 0 || gridY <= 0 {
		return
	}
	f, ok := d.found[name]
	if !ok {
		var err error
		if f, err = d.driver.Function(name); err != nil {
			d.fault("kernel "+name, err)
		}
		d.found[name] = f
	}
	if err := d.driver.Launch(f, gridX, gridY, threads, shared, args); err != nil {
		d.fault("kernel "+name, err)
	}
}

// each starts a kernel that goes through n values in strides of its grid.
func (d *Device) each(name string, n int, args ...uint64) {
	const threads, most = 256, 132 * 16
	d.launch(name, min((n+threads-1)/threads, most), 1, threads, 0, args...)
}

// num and real make parameters of whole numbers and of floats.
func num(n int) uint64        { return uint64(int64(n)) }
func real32(x float32) uint64 { return uint64(math.Float32bits(x)) }
func add(e kernels.Epilogue) uint64 {
	if e == kernels.Add {
		return 1
	}
	return 0
}

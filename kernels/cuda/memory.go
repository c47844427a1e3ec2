package cuda

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"runtime"
	"slices"
	"sync"
	"unsafe"

	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/cuda/driver"
	"github.com/evalrun/evalrun/kernels/format"
)

// block is a piece of device memory that somebody holds. When the collector
// finds that nobody does any more, the piece goes back to the heap; what is
// still queued comes before whatever its next owner does, since all goes
// through one stream.
type block struct {
	at      uint64
	bytes   int64
	cleanup runtime.Cleanup
}

// heap hands out blocks. Small ones are cut from slabs in powers of two and
// kept; large ones come from the driver one by one and are kept until memory
// is short.
type heap struct {
	driver driver.Driver
	taken  func(at uint64, bytes, size int64) // may be nil; see driver.Taker
	broken func(what string, err error)       // does not return
	mu     sync.Mutex
	free   map[int64][]uint64 // by size
	slabs  []uint64
	slab   uint64 // what is left of the last
	left   int64
	held   int64 // from the driver
}

const (
	slabBytes  = 8 << 20
	smallBytes = 1 << 20
	smallest   = 256
	largeStep  = 2 << 20
)

func sizeClass(bytes int64) int64 {
	if bytes <= smallest {
		return smallest
	}
	if bytes <= smallBytes {
		return 1 << bits.Len64(uint64(bytes-1))
	}
	return (bytes + largeStep - 1) / largeStep * largeStep
}

// take gives a block of at least so many bytes, of unknown content.
func (h *heap) take(bytes int64) (*block, error) {
	size := sizeClass(bytes)
	at, err := h.find(size)
	if err != nil {
		// What nobody holds any more may be enough.
		for range 3 {
			runtime.GC()
			if h.trim(); at == 0 {
				at, err = h.find(size)
			}
			if err == nil {
				break
			}
			runtime.Gosched()
		}
	}
	if err != nil && !errors.Is(err, driver.ErrMemory) {
		h.broken("take memory", err) // a kernel's failure, told here
	}
	if err != nil {
		free, total := h.driver.Memory()
		return nil, &MemoryError{Bytes: bytes, Held: h.held, Free: free, Total: total}
	}
	b := &block{at: at, bytes: size}
	h.tell(b, bytes)
	b.cleanup = runtime.AddCleanup(b, h.give, *b)
	return b, nil
}

// tell says how much was asked for of a block.
func (h *heap) tell(b *block, bytes int64) {
	if h.taken != nil {
		h.taken(b.at, bytes, b.bytes)
	}
}

func (h *heap) find(size int64) (uint64, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if list := h.free[size]; len(list) > 0 {
		h.free[size] = list[:len(list)-1]
		return list[len(list)-1], nil
	}
	if size > smallBytes {
		at, err := h.driver.Alloc(size)
		if err == nil {
			h.held += size
		}
		return at, err
	}
	if h.left < size {
		at, err := h.driver.Alloc(slabBytes)
		if err != nil {
			return 0, err
		}
		h.held += slabBytes
		h.slabs = append(h.slabs, at)
		h.slab, h.left = at, slabBytes
	}
	at := h.slab
	h.slab, h.left = h.slab+uint64(size), h.left-size
	return at, nil
}

func (h *heap) give(b block) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.free != nil {
		h.free[b.bytes] = append(h.free[b.bytes], b.at)
	}
}

// drop ends a block at once, without the collector: a large one goes back to
// the driver, a small one to the heap.
func (h *heap) drop(b *block) {
	b.cleanup.Stop()
	if b.bytes <= smallBytes {
		h.give(*b)
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.driver.Free(b.at)
	h.held -= b.bytes
}

// has tells whether a block of this size is at hand without the driver.
func (h *heap) has(size int64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.free[size]) > 0 || size <= smallBytes
}

// trim gives large blocks that nobody holds back to the driver.
func (h *heap) trim() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for size, list := range h.free {
		if size <= smallBytes {
			continue
		}
		for _, at := range list {
			h.driver.Free(at)
			h.held -= size
		}
		delete(h.free, size)
	}
}

// buffer is n values from the address at on: float32, or of bfloat16 where an
// operation takes such (kernels.RoundedProducts).
type buffer struct {
	mem   *block
	at    uint64
	n     int
	brain bool
}

func (b *buffer) Type() format.Type {
	if b.brain {
		return format.BF16
	}
	return format.F32
}
func (b *buffer) Len() int { return b.n }

// size is a value's, in bytes.
func (b *buffer) size() uint64 {
	if b.brain {
		return 2
	}
	return 4
}

func (b *buffer) Slice(from, to int) kernels.Buffer {
	if from < 0 || to < from || to > b.n {
		panic(fmt.Sprintf("BUG: values %d to %d of a buffer of %d", from, to, b.n))
	}
	return &buffer{b.mem, b.at + b.size()*uint64(from), to - from, b.brain}
}

// Alloc gives zeroed values.
func (d *Device) Alloc(t format.Type, n int) (kernels.Buffer, error) {
	if t != format.F32 && t != format.BF16 {
		return nil, fmt.Errorf("allocate buffer: %v values are not computed with on this device, only F32 and BF16", t)
	}
	if n < 0 {
		return nil, fmt.Errorf("allocate buffer: %d values", n)
	}
	made := &buffer{n: n, brain: t == format.BF16}
	bytes := int64(made.size()) * int64(n)
	mem, err := d.heap.take(bytes)
	if err != nil {
		return nil, err
	}
	made.mem, made.at = mem, mem.at
	if n > 0 {
		d.check("clear memory", d.driver.Clear(mem.at, bytes))
	}
	return made, nil
}

// scratch is memory for an operation's own use until it is released. The
// device keeps the pieces: what it holds does not depend on the collector. One
// that is too small makes room for a larger one.
func (d *Device) scratch(values int) *block {
	bytes := 4 * int64(values)
	slices.SortFunc(d.idle, func(a, b *block) int { return cmp.Compare(a.bytes, b.bytes) })
	last := len(d.idle) - 1
	for i, b := range d.idle {
		if b.bytes >= bytes {
			d.heap.tell(b, bytes)
			d.idle = slices.Delete(d.idle, i, i+1)
			return b
		}
	}
	if last >= 0 {
		d.heap.drop(d.idle[last])
		d.idle = d.idle[:last]
	}
	// Never of a slab, which a piece that is given up would not leave.
	mem, err := d.heap.take(max(bytes, smallBytes+1))
	if err != nil {
		d.fault("memory of an operation", err)
	}
	d.heap.tell(mem, bytes)
	return mem
}

// release gives an operation's memory back once all its kernels have been
// asked for: what the next owner asks for comes behind them in the stream.
func (d *Device) release(b *block) {
	if b != nil {
		d.idle = append(d.idle, b)
	}
}

func (d *Device) Write(dst kernels.Buffer, src []float32) {
	if len(src) == 0 {
		return
	}
	if dst.Type() == format.BF16 {
		rounded := make([]uint16, len(src))
		for i, v := range src {
			rounded[i] = format.F32ToBF16(v)
		}
		d.check("write", d.driver.Upload(onBrain(dst, len(src), "dst"), unsafe.Pointer(&rounded[0]), 2*int64(len(src))))
		return
	}
	d.check("write", d.driver.Upload(on(dst, len(src), "dst"), unsafe.Pointer(&src[0]), 4*int64(len(src))))
}

func (d *Device) Read(dst []float32, src kernels.Buffer) {
	if len(dst) == 0 {
		return
	}
	if src.Type() == format.BF16 {
		rounded := make([]uint16, len(dst))
		d.check("read", d.driver.Download(unsafe.Pointer(&rounded[0]), onBrain(src, len(dst), "src"), 2*int64(len(dst))))
		for i, v := range rounded {
			dst[i] = math.Float32frombits(uint32(v) << 16)
		}
	} else {
		d.check("read", d.driver.Download(unsafe.Pointer(&dst[0]), on(src, len(dst), "src"), 4*int64(len(dst))))
	}
	runtime.KeepAlive(src)
}

// on is the address of the first n values of b, which are float32. what names the
// operand in the message of a broken invariant.
func on(b kernels.Buffer, n int, what string) uint64 {
	f := held(b, n, what)
	if f.brain {
		panic(fmt.Sprintf("BUG: %s is of BF16, want F32", what))
	}
	return f.at
}

// onBrain is that of values of bfloat16.
func onBrain(b kernels.Buffer, n int, what string) uint64 {
	f := held(b, n, what)
	if !f.brain {
		panic(fmt.Sprintf("BUG: %s is of F32, want BF16", what))
	}
	return f.at
}

func held(b kernels.Buffer, n int, what string) *buffer {
	f, ok := b.(*buffer)
	if !ok {
		panic(fmt.Sprintf("BUG: %s is a %T, want memory of the GPU", what, b))
	}
	if f.n < n {
		panic(fmt.Sprintf("BUG: %s holds %d values, want %d", what, f.n, n))
	}
	return f
}

// typed is, for an operation whose kernels are there for either type of values, the
// name of the one for buffers of dst's and their way to addresses.
func typed(name string, dst kernels.Buffer) (string, func(b kernels.Buffer, n int, what string) uint64) {
	if dst.Type() == format.BF16 {
		return name + "Brain", onBrain
	}
	return name, on
}

// upload brings bytes to the device.
func (d *Device) upload(data []byte) (*block, error) {
	mem, err := d.heap.take(int64(max(len(data), 1)))
	if err == nil && len(data) > 0 {
		d.check("upload", d.driver.Upload(mem.at, unsafe.Pointer(&data[0]), int64(len(data))))
	}
	return mem, err
}

// tables are operations' integers on the device, by their bytes. The layers of a
// model ask for the same ones again and again, and so do the steps of a training:
// the last are kept, mostTables of them or fewer if they are large, but always
// those that one operation may ask for side by side.
type tables struct {
	held  map[string]*block
	order []string // the oldest first
	bytes int64
}

const mostTables, leastTables, tableBytes = 1024, 16, 8 << 20

// halvesOf are words as a table has them, each with its low half first.
func halvesOf(words []uint64) []int32 {
	return unsafe.Slice((*int32)(unsafe.Pointer(unsafe.SliceData(words))), 2*len(words))
}

func (d *Device) table(values []int32) uint64 {
	if at, ok := d.stepTable(values); ok {
		return at
	}
	t := &d.tables
	data := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(values))), 4*len(values))
	if mem := t.held[string(data)]; mem != nil {
		return mem.at
	}
	mem, err := d.upload(data)
	if err != nil {
		d.fault("memory of an operation", err)
	}
	for n := len(t.order); n > 0 && (n >= mostTables || n >= leastTables && t.bytes+mem.bytes > tableBytes); n-- {
		old := t.held[t.order[0]]
		old.cleanup.Stop()
		d.heap.give(*old)
		t.bytes -= old.bytes
		delete(t.held, t.order[0])
		t.order = t.order[1:]
	}
	key := string(data)
	if t.held == nil {
		t.held = map[string]*block{}
	}
	t.held[key] = mem
	t.order = append(t.order, key)
	t.bytes += mem.bytes
	return mem.at
}

package cuda

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/evalrun/evalrun/kernels/cuda/driver"
	"github.com/evalrun/evalrun/kernels/format"
)

// fake is the counter with an end to its memory, and launches that may fail.
type fake struct {
	counter
	launched error
}

func newFake(limit int64) *fake {
	return &fake{counter: counter{name: "fake", processors: 132, shared: 227 << 10, next: 1 << 20, free: limit, total: limit, sizes: map[uint64]int64{}}}
}

func (f *fake) Launch(uintptr, int, int, int, int, []uint64) error { return f.launched }

func (f *fake) Alloc(bytes int64) (uint64, error) {
	if f.used+bytes > f.free {
		return 0, fmt.Errorf("%w (error 2)", driver.ErrMemory)
	}
	if f.launched != nil {
		return 0, f.launched
	}
	return f.counter.Alloc(bytes)
}

// Buffers that nobody holds make room for others, large and small.
func TestMemoryComesBack(t *testing.T) {
	f := newFake(64 << 20)
	d := Over(f, nil)
	for _, n := range []int{100, 5 << 20} {
		for round := range 40 {
			if _, err := d.Alloc(format.F32, n); err != nil {
				t.Fatalf("buffer %d of %d values: %v", round, n, err)
			}
			runtime.GC()
			time.Sleep(time.Millisecond) // cleanups run beside
		}
	}
	if f.used > 64<<20 || d.Held() != f.used {
		t.Errorf("%d bytes are taken, %d counted", f.used, d.Held())
	}
}

func TestSlicesShare(t *testing.T) {
	d := Over(newFake(1<<30), nil)
	b, err := d.Alloc(format.F32, 100)
	if err != nil {
		t.Fatal(err)
	}
	part := b.Slice(10, 20)
	if part.Len() != 10 || on(part, 10, "part") != on(b, 100, "b")+40 {
		t.Errorf("values 10 to 20 are %d at %d, the buffer begins at %d", part.Len(), on(part, 0, ""), on(b, 0, ""))
	}
}

func TestOutOfMemory(t *testing.T) {
	d := Over(newFake(16<<20), nil)
	keep, err := d.Alloc(format.F32, 2<<20)
	if err != nil {
		t.Fatal(err)
	}
	_, err = d.Alloc(format.F32, 8<<20)
	var small *MemoryError
	if !errors.As(err, &small) || small.Held != 8<<20 || small.Bytes != 32<<20 {
		t.Fatalf("%v, want a MemoryError of 32 MiB with 8 MiB held", err)
	}
	for _, word := range []string{"32 MiB more", "8 MiB are in use", "the driver have 0,", "8 of 16 MiB are free"} {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%q does not say %q", err, word)
		}
	}
	runtime.KeepAlive(keep)
}

// A failed kernel reaches the handler as a Fault that names it.
func TestFault(t *testing.T) {
	f := newFake(16 << 20)
	d := Over(f, nil)
	b, err := d.Alloc(format.F32, 4)
	if err != nil {
		t.Fatal(err)
	}
	f.launched = errors.New("illegal address")
	defer func() {
		fault, ok := recover().(*Fault)
		if !ok || !strings.Contains(fault.Error(), "kernel fill") || !errors.Is(fault, f.launched) {
			t.Errorf("%v, want a Fault of kernel fill", fault)
		}
	}()
	d.Fill(b, 4, 1)
}

// What a kernel did wrong may be told by a call for memory: that is a Fault, and
// no want of memory.
func TestFaultToldByAlloc(t *testing.T) {
	f := newFake(1 << 30)
	d := Over(f, nil)
	f.launched = errors.New("illegal address")
	defer func() {
		if fault, ok := recover().(*Fault); !ok || !errors.Is(fault, f.launched) || !strings.Contains(fault.Error(), "take memory") {
			t.Errorf("%v, want a Fault", fault)
		}
	}()
	_, err := d.Alloc(format.F32, 8<<20)
	t.Errorf("Alloc returned %v", err)
}

// Memory of operations is used again at once: what the device holds does not
// depend on when the collector runs.
func TestScratchIsUsedAgain(t *testing.T) {
	f := newFake(1 << 40)
	d := Over(f, nil)
	x, _ := d.Alloc(format.F32, 4<<20)
	w, _ := d.Alloc(format.F32, 64)
	d.RMSNormBack(x, nil, x, x, w, 64<<10, 1e-6, 0)
	held := d.Held()
	for rows := 1; rows <= 64<<10; rows += 997 {
		d.RMSNormBack(x, nil, x, x, w, rows, 1e-6, 0)
	}
	if d.Held() != held {
		t.Errorf("%d bytes are held after smaller batches, %d before", d.Held(), held)
	}
	a, b := d.scratch(1<<20), d.scratch(1<<20)
	d.release(a)
	d.release(b)
	held = d.Held()
	d.release(d.scratch(3 << 20))
	if more := d.Held() - held; more != 8<<20 {
		t.Errorf("12 MiB in the place of 4: %d MiB more", more>>20)
	}
}

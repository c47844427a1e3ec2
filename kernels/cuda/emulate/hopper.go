//go:build emulate && amd64

package emulate

// void emulateBreak(int what);
// void emulateOrder(int back, int slowWarp);
// void emulateUsual(void);
import "C"

// Broken is an instruction of Hopper that every kernel does without, or does otherwise, so
// that a test sees that the emulation finds it.
type Broken int

const (
	Whole          Broken = iota
	NoFullWait            // whoever multiplies does not wait for a stage's tiles
	NoEmptyWait           // whoever copies does not wait until a stage has been read
	FewBytes              // a stage's barrier expects the bytes of less than its tiles
	ManyBytes             // or of more
	NoArrival             // the second warpgroup does not say that it has read a stage
	TwoArrivals           // or says so twice, once in a kernel
	NoProductWait         // it says so while its products read the stage
	NoLastWait            // sums are taken while products add to them
	NoSumFence            // products begin without a fence behind what wrote their sums
	NoAsyncFence          // or behind the copies by threads that wrote their tiles
	NoBarrierFence        // barriers begin without a fence
	NoMapFence            // maps are used without a fence behind the host's writes
	OtherSwizzle          // the unit exchanges other chunks of a tile than products do
	OtherStride           // products read eight rows of a weight's tile further apart
)

// Break makes kernels so until restore.
func Break(what Broken) (restore func()) {
	C.emulateBreak(C.int(what))
	return func() { C.emulateBreak(0) }
}

// An Order is that of what a GPU may do in any; see machine.cc. The usual one is that of
// EMULATE_BACKWARDS and EMULATE_SLOW.
type Order struct {
	Backwards bool
	Slow      int // the warp that is slow, from 1 on; 0: none
}

// Set makes it so until restore.
func (o Order) Set() (restore func()) {
	back := C.int(0)
	if o.Backwards {
		back = 1
	}
	C.emulateOrder(back, C.int(o.Slow-1))
	return func() { C.emulateUsual() }
}

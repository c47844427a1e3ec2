package cuda

import (
	"fmt"

	"github.com/evalrun/evalrun/kernels"
)

// Of src/onerow.cu: the pairs of values in shared memory, what else of it a block
// takes beside x, and the most warps of a block.
const (
	pairBytes  = 256 * 32 * 8
	oneRowRest = 10 << 10
	oneRowMost = 16
)

// oneRow multiplies one row with 4-bit codes where src/onerow.cu has the kernel:
// whole pieces, blocks of powers of two, values counted in 32 bits, and as much
// shared memory as x takes. The bits are those of the other kernels.
func (d *Device) oneRow(dst, x uint64, w *weight, e kernels.Epilogue, scale float32) bool {
	shared := pairBytes + w.k/piece*36*4
	if w.kind != kindCode4 || !w.wide || !w.short || x%16 != 0 || shared+oneRowRest > d.driver.Shared() {
		return false
	}
	nested := 0
	if w.args[3] != 0 { // scales are codes themselves
		nested = 1
	}
	// Four outputs a warp read x half as often as two, but a small matrix has too
	// few fours.
	processors, outputs := d.driver.Processors(), 4
	if w.n < 4*12*processors {
		outputs = 2
	}
	tasks := (w.n + outputs - 1) / outputs
	blocks := min(processors, tasks)
	each := (tasks + blocks - 1) / blocks
	turns := (each + oneRowMost - 1) / oneRowMost
	warps := (each + turns - 1) / turns
	d.launch(oneRowNames[nested][outputs/4][w.round], blocks, 1, 32*warps, shared,
		append([]uint64{dst, x, num(w.n), num(w.k), add(e), real32(scale)}, w.args...)...)
	return true
}

// oneRowNames are the kernels by whether scales are codes, by two or four outputs
// and by rounding.
var oneRowNames = func() (names [2][2][3]string) {
	for nested, name := range []string{"gemvCode", "gemvNested"} {
		for four, outputs := range []int{2, 4} {
			for round := range 3 {
				names[nested][four][round] = fmt.Sprintf("%s%d_%d", name, outputs, round)
			}
		}
	}
	return names
}()

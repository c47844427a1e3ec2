package cuda

import (
	"fmt"
	"unsafe"

	"github.com/evalrun/evalrun/kernels"
)

// What blocks of src/pair.cu own: columns of a gradient, rows and columns of the
// others, and of all of them eight of the rank.
const (
	pairStripe, pairRank    = 16, 8
	pairTall, pairAcross    = 8, 1024
	pairExpands, pairColumn = 16, 256
)

func groupsOf(n, each int) int { return (n + each - 1) / each }

// narrowGrad is WeightGrad where one side is small: src/pair.cu.
func (d *Device) narrowGrad(dw, dy, x uint64, rows, n, k int) {
	if rows == 0 {
		return
	}
	wide, small, w, r, stepI, stepJ := dy, x, n, k, k, 1
	if n < k {
		wide, small, w, r, stepI, stepJ = x, dy, k, n, 1, k
	}
	whole := uint64(0)
	if w%4 == 0 && r%4 == 0 && wide%16 == 0 && small%16 == 0 {
		whole = 1
	}
	d.launch("narrowGrad", groupsOf(w, pairStripe), groupsOf(r, pairRank), 256, 0, dw, wide, small, num(rows), num(w), num(r), num(stepI), num(stepJ), whole)
}

var _ kernels.PairTrainer = (*Device)(nil)

// TrainsPair wants rows that are read 16 bytes at a time.
func (d *Device) TrainsPair(l kernels.LowRank) bool {
	a, b := l.A.(*weight), l.B.(*weight)
	return a.kind == kindF32 && b.kind == kindF32 && (a.args[0]|b.args[0])%16 == 0 &&
		a.n%4 == 0 && a.n <= narrow && a.k%4 == 0 && b.n%4 == 0
}

// PairForward is two kernels, shrink and expand.
func (d *Device) PairForward(dst, low, x kernels.Buffer, rows int, l kernels.LowRank, o kernels.Dropping) {
	a, b := l.A.(*weight), l.B.(*weight)
	k, n, r := a.k, b.n, a.n
	to := wholly(low, rows*r, "low")
	d.launch("pairShrink", groupsOf(rows, pairTall), groupsOf(r, pairRank), 256, 0,
		append([]uint64{to, wholly(x, rows*k, "x"), a.args[0], num(rows), num(k), num(r)}, d.dropping(o)...)...)
	d.launch("pairExpand", groupsOf(n, pairColumn), groupsOf(rows, pairExpands), 256, 0,
		on(dst, rows*n, "dst"), to, b.args[0], num(rows), num(n), num(r), real32(l.Scale))
}

// PairBack is two kernels, of what is summed of dy and of x, each with a gradient.
func (d *Device) PairBack(dx, da, db, dy, x, low kernels.Buffer, rows int, l kernels.LowRank, o kernels.Dropping) {
	a, b := l.A.(*weight), l.B.(*weight)
	if rows == 0 {
		return
	}
	k, n, r := a.k, b.n, a.n
	dlow := d.scratch(rows * r)
	d.launch("pairBack", groupsOf(rows, pairTall)+groupsOf(n, pairStripe), groupsOf(r, pairRank), 256, 0, dlow.at, on(db, n*r, "db"),
		wholly(dy, rows*n, "dy"), wholly(low, rows*r, "low"), b.args[0], num(rows), num(n), num(r), real32(l.Scale))
	blocks, to := groupsOf(k, pairStripe), uint64(0)
	if dx != nil {
		blocks, to = blocks+groupsOf(k, pairAcross)*groupsOf(rows, pairTall), wholly(dx, rows*k, "dx")
	}
	d.launch("pairInput", blocks, groupsOf(r, pairRank), 256, 0,
		append([]uint64{to, on(da, r*k, "da"), wholly(x, rows*k, "x"), dlow.at, a.args[0], num(rows), num(k), num(r)}, d.dropping(o)...)...)
	d.release(dlow)
}

// wholly is the address of values that a kernel reads 16 bytes at a time.
func wholly(b kernels.Buffer, n int, what string) uint64 {
	at := on(b, n, what)
	if at%16 != 0 {
		panic(fmt.Sprintf("BUG: %s begins at no multiple of 16 bytes", what))
	}
	return at
}

// dropping are DROPPED of src/philox.h: the rows' keys, low word first, and what
// says which values are kept.
func (d *Device) dropping(o kernels.Dropping) []uint64 {
	var keys uint64
	if n := len(o.Rows); n > 0 {
		keys = d.table(unsafe.Slice((*int32)(unsafe.Pointer(unsafe.SliceData(o.Rows))), 2*n))
	}
	return []uint64{keys, o.Seed, uint64(o.Stream), uint64(float64(o.P) * (1 << 32)), real32(1 / (1 - o.P))}
}

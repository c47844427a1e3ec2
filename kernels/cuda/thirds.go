package cuda

import (
	"fmt"

	"github.com/evalrun/evalrun/kernels"
)

// Of src/thirds.h and src/thirds.cu: values of K that pieces are multiples of, how
// many pieces there are at most, outputs of a warp and warps of a block, and the
// shared memory that the values of 4-bit codes take, two for each byte and lane.
const (
	thirdsChunk  = 256
	thirdsPieces = 16
	thirdsOuts   = 32
	thirdsWarps  = 8
	pairBytes    = 256 * 32 * 8
)

// pieces is the number of pieces that K is cut into.
func (w *weight) pieces() int {
	piece := (w.k + thirdsChunk*thirdsPieces - 1) / (thirdsChunk * thirdsPieces) * thirdsChunk
	return (w.k + piece - 1) / piece
}

// suitsThirds tells whether a weight's products are taken on the matrix units, x in
// three parts: its values have 16 bits, and lie as src/thirds.h reads them. This
// depends on the weight alone, since the order of the sums does. Narrow weights, as
// adapters are, have kernels of their own.
func (w *weight) suitsThirds() bool {
	if !w.wide || w.n <= narrow || w.k <= narrow {
		return false
	}
	switch w.kind {
	case kindBF16, kindF16:
		return w.k%32 == 0
	case kindCode4:
		return w.round != kindF32 && w.short && w.k%64 == 0 && w.args[5]%64 == 0 && w.args[9]%64 == 0
	}
	return false
}

// gulpSteps is the number of steps of the matrix unit that 16 bytes of a row serve.
func (w *weight) gulpSteps() int {
	if w.kind == kindCode4 {
		return 16
	}
	return 2
}

// padded is K with a last gulp filled up.
func (w *weight) padded() int {
	span := 16 * w.gulpSteps()
	return (w.k + span - 1) / span * span
}

// thirds multiplies rows with a weight that suits.
func (d *Device) thirds(dst, x uint64, rows int, w *weight, e kernels.Epilogue, scale float32) {
	if rows == 1 && d.suitsOneRow(w) {
		d.launchOneRow(oneWeight, x, []*weight{w}, []uint64{dst}, add(e), real32(scale))
		return
	}
	parts := d.splitThirds(x, rows, w)
	d.launchThirds(dst, parts.at, rows, w, e, scale)
	d.release(parts)
}

// thirdsOfMany multiplies rows with several weights, false where one does not suit.
func (d *Device) thirdsOfMany(dsts []uint64, x uint64, rows int, ws []*weight) bool {
	for _, w := range ws {
		if !w.suitsThirds() || w.gulpSteps() != ws[0].gulpSteps() {
			return false
		}
	}
	parts := d.splitThirds(x, rows, ws[0])
	for i, w := range ws {
		d.launchThirds(dsts[i], parts.at, rows, w, kernels.Store, 1)
	}
	d.release(parts)
	return true
}

// thirdsSide is the rows of a block: as many as there are, 64 at most, and as shared
// memory suffices for, which it does for 16 on every GPU from capability 8.0 on.
func (d *Device) thirdsSide(rows int, w *weight) int {
	side := 64
	for side > 8 && (rows <= side/2 || thirdsShared(side, w) > d.driver.Shared()) {
		side /= 2
	}
	return side
}

// thirdsShared is what a block of so many rows takes of it: two stages of 8 steps
// of x's parts, and the values of codes.
func thirdsShared(side int, w *weight) int {
	bytes := 2 * 8 * 3 * side * 32
	if w.kind == kindCode4 {
		bytes += pairBytes
	}
	return bytes
}

// thirdsTiles is how many times 8 rows a warp of such a block takes.
func thirdsTiles(side int) int { return min(side/8, 4) }

// splitThirds writes the parts of x, of 2 bytes each, as a weight's products want them.
func (d *Device) splitThirds(x uint64, rows int, w *weight) *block {
	tiles := thirdsTiles(d.thirdsSide(rows, w))
	blocks := (rows + 8*tiles - 1) / (8 * tiles)
	values := blocks * 8 * tiles * w.padded()
	parts := d.scratch(values * 3 / 2)
	d.each("splitThirds", values/4, parts.at, x, num(rows), num(w.k), num(tiles), num(w.gulpSteps()))
	return parts
}

// halves tells whether the weight's values are binary16, else they are bfloat16.
func (w *weight) halves() bool { return w.kind == kindF16 || w.kind == kindCode4 && w.round == kindF16 }

// thirdsNames are the kernels by how the values lie, their type and the rows of a block,
// of which there are 8, 16, 32 or 64.
var thirdsNames = func() (names [2][2][4]string) {
	for codes, lie := range []string{"", "Codes"} {
		for half, kind := range []string{"Brain", "Half"} {
			for i := range 4 {
				names[codes][half][i] = fmt.Sprintf("thirds%s%s_%d", lie, kind, 8<<i)
			}
		}
	}
	return names
}()

func (w *weight) thirdsName(side int) string {
	codes, half := 0, 0
	if w.kind == kindCode4 {
		codes = 1
	}
	if w.halves() {
		half = 1
	}
	return thirdsNames[codes][half][power(side/8)]
}

// launchThirds is the product of rows that splitThirds has split. Where blocks of outputs
// alone would leave processors idle, several share the pieces of the same outputs.
func (d *Device) launchThirds(dst, parts uint64, rows int, w *weight, e kernels.Epilogue, scale float32) {
	side := d.thirdsSide(rows, w)
	outs := thirdsOuts * thirdsWarps // of a block
	if side == 64 {
		outs /= 2
	}
	x, y, pieces := (rows+side-1)/side, (w.n+outs-1)/outs, w.pieces()
	blocks := d.driver.Processors()
	if side == 8 {
		blocks *= 2 // a processor holds two
	}
	splits := min(pieces, max(1, blocks/(x*y)))
	if each := (pieces + splits - 1) / splits; splits > 1 {
		splits = (pieces + each - 1) / each // none without a piece
	}
	to, sums := dst, (*block)(nil)
	if splits > 1 {
		sums = d.scratch(pieces * rows * w.n)
		to = sums.at
	}
	d.launch(w.thirdsName(side), x, y*splits, 32*thirdsWarps, thirdsShared(side, w),
		append([]uint64{to, parts, num(rows), num(w.n), num(w.k), add(e), real32(scale), num(splits)}, w.args...)...)
	if splits > 1 {
		d.each("sumPieces", rows*w.n, dst, to, num(rows*w.n), num(pieces), add(e), real32(scale))
		d.release(sums)
	}
}

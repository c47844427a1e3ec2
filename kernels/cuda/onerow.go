package cuda

import (
	"fmt"

	"github.com/evalrun/evalrun/kernels"
)

// Of src/onerow.cu: outputs of a tile, the shared memory that the kernels declare, and
// how many weights one multiplies with.
const (
	oneRowTile  = 16
	oneRowOwn   = 1024 + 64
	mostWeights = 3
)

// Forms of the kernels: one weight, several, a gate.
const (
	oneWeight = iota
	severalWeights
	gatedWeights
)

// oneRowNames are the kernels by form, by the values' type and by how they lie: as
// they are, as codes, as codes whose scales are codes.
var oneRowNames = func() (names [3][2][3]string) {
	for form, suffix := range []string{oneWeight: "", severalWeights: "Several", gatedWeights: "Gated"} {
		for half, kind := range []string{"Brain", "Half"} {
			for lie, codes := range []string{"", "Codes", "Nested"} {
				names[form][half][lie] = fmt.Sprint("oneRow", codes, kind, suffix)
			}
		}
	}
	return names
}()

func (w *weight) oneRowName(form int) string {
	half, lie := 0, 0
	if w.halves() {
		half = 1
	}
	switch {
	case w.kind == kindCode4 && w.args[3] != 0:
		lie = 2
	case w.kind == kindCode4:
		lie = 1
	}
	return oneRowNames[form][half][lie]
}

// suitsOneRow tells whether src/onerow.cu multiplies one row with a weight
// that suits: values counted in 32 bits, and as much shared memory as x takes.
func (d *Device) suitsOneRow(w *weight) bool {
	return w.suitsThirds() && int64(w.n)*int64(w.k) < 1<<32 && oneRowShared(w, 2, 1) <= d.driver.Shared()
}

// oneRowShared is what a block takes of shared memory for a number of sums of each
// of its tiles' outputs and pieces: the pairs that codes stand for, the parts of x, the
// sums, and what the kernel has of its own.
func oneRowShared(w *weight, sums, tiles int) int {
	bytes := 6*w.padded() + 4*sums*tiles*oneRowTile*w.pieces() + oneRowOwn
	if w.kind == kindCode4 {
		bytes += pairBytes
	}
	return bytes
}

// launchOneRow starts the product of one row with some alike weights.
func (d *Device) launchOneRow(form int, x uint64, ws []*weight, dsts []uint64, more ...uint64) {
	w, tiles, sums := ws[0], 0, 1
	for _, w := range ws {
		tiles += (w.n + oneRowTile - 1) / oneRowTile
	}
	if form == gatedWeights {
		tiles, sums = tiles/2, 2
	}
	blocks, most := d.driver.Processors(), 16 // warps
	if w.kind != kindCode4 {
		blocks, most = 2*blocks, 8
	}
	blocks = min(blocks, tiles)
	for blocks < tiles && oneRowShared(w, sums, (tiles+blocks-1)/blocks) > d.driver.Shared() {
		blocks = min(2*blocks, tiles)
	}
	each := (tiles + blocks - 1) / blocks
	tasks := each * w.pieces()
	turns := (tasks + most - 1) / most
	warps := (tasks + turns - 1) / turns
	args := append(make([]uint64, 0, 32), x, num(w.k), w.args[1], w.args[4], w.args[6], w.args[8], num(tiles))
	if form == severalWeights {
		ws, dsts = filled(ws, mostWeights), filled(dsts, mostWeights)
	}
	args = append(args, more...)
	for i, w := range ws {
		args = append(args, dsts[i], num(w.n), w.args[0], w.args[2], w.args[3], w.args[9], w.args[10])
	}
	d.launch(w.oneRowName(form), blocks, 1, 32*warps, oneRowShared(w, sums, each)-oneRowOwn, args...)
}

// alike tells whether one kernel can multiply with all of some weights, each of
// which suits it.
func alike(ws []*weight, suits func(*weight) bool) bool {
	for _, w := range ws {
		o := ws[0]
		if !suits(w) || w.kind != o.kind || w.k != o.k || w.round != o.round || w.maps != o.maps || w.args[3] == 0 != (o.args[3] == 0) || w.args[6] != o.args[6] || w.args[8] != o.args[8] {
			return false
		}
	}
	return true
}

var _ kernels.Fuser = (*Device)(nil)

// MatMuls multiplies one row with up to three weights in one kernel, and brings
// several rows but once to the form that their products want.
func (d *Device) MatMuls(dsts []kernels.Buffer, x kernels.Buffer, rows int, ps []kernels.Prepared) bool {
	if d.brain || rows == 0 || len(ps) < 2 || len(ps) > mostWeights {
		return false
	}
	var ws []*weight
	var to []uint64
	for i, p := range ps {
		w := p.(*weight)
		ws, to = append(ws, w), append(to, on(dsts[i], rows*w.n, "dst"))
	}
	at := on(x, rows*ws[0].k, "x")
	switch {
	case rows > 1:
		return d.thirdsOfMany(to, at, rows, ws)
	case alike(ws, d.suitsOneRow):
		d.launchOneRow(severalWeights, at, ws, to)
	case at%16 == 0 && alike(ws, (*weight).isBlocks):
		d.severalBlocks(to, at, ws)
	default:
		return false
	}
	return true
}

// filled repeats the first of some values, a weight that gets no group of outputs.
func filled[T any](s []T, n int) []T {
	for len(s) < n {
		s = append(s, s[0])
	}
	return s
}

// MatMulGate computes one row of a gated layer at once.
func (d *Device) MatMulGate(dst, x kernels.Buffer, rows int, gate, up kernels.Prepared, a kernels.Activation) bool {
	g, u := gate.(*weight), up.(*weight)
	if rows != 1 || d.brain || g.n != u.n {
		return false
	}
	at, ws, to := on(x, g.k, "x"), []*weight{g, u}, on(dst, g.n, "dst")
	switch {
	case alike(ws, d.suitsOneRow):
		d.launchOneRow(gatedWeights, at, ws, []uint64{to, to}, known(a))
	case at%16 == 0 && alike(ws, (*weight).isBlocks):
		d.gatedBlocks(to, at, g, u, a)
	default:
		return false
	}
	return true
}

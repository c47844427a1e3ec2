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

// suitsOneRow tells whether src/onerow.cu multiplies with a weight: whole pieces,
// blocks of powers of two, values counted in 32 bits, and as much shared
// memory as x takes.
func (d *Device) suitsOneRow(w *weight) bool {
	return w.kind == kindCode4 && w.round != kindBF16 && w.wide && w.short && pairBytes+w.k/piece*36*4+oneRowRest <= d.driver.Shared()
}

// oneRow multiplies one row with 4-bit codes, false where it cannot. The bits are
// those of the other kernels.
func (d *Device) oneRow(dst, x uint64, w *weight, e kernels.Epilogue, scale float32) bool {
	if x%16 != 0 || !d.suitsOneRow(w) {
		return false
	}
	// Four outputs a warp read x half as often as two, but a small matrix has too
	// few fours.
	outputs, form := 4, fours
	if w.n < 4*12*d.driver.Processors() {
		outputs, form = 2, twos
	}
	d.launchOneRow(form, x, (w.n+outputs-1)/outputs, []*weight{w}, []uint64{dst}, add(e), real32(scale))
	return true
}

// launchOneRow starts a kernel over so many groups of outputs, with as many warps a block
// as end together.
func (d *Device) launchOneRow(form int, x uint64, groups int, ws []*weight, dsts []uint64, more ...uint64) {
	w := ws[0]
	blocks := min(d.driver.Processors(), groups)
	each := (groups + blocks - 1) / blocks
	turns := (each + oneRowMost - 1) / oneRowMost
	warps := (each + turns - 1) / turns
	nested := 0
	if w.args[3] != 0 { // scales are codes themselves
		nested = 1
	}
	// data, map, absmax, codes, map2, block, shift, block2, shift2, first, offset
	args := append(make([]uint64, 0, 32), x, num(w.k), w.args[1], w.args[4], w.args[6], w.args[8], num(groups))
	args = append(args, more...)
	for i, w := range ws {
		args = append(args, dsts[i], num(w.n), w.args[0], w.args[2], w.args[3], w.args[9], w.args[10])
	}
	d.launch(oneRowNames[nested][form][w.round], blocks, 1, 32*warps, pairBytes+w.k/piece*36*4, args...)
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
	const most = 3
	if d.brain || rows == 0 || len(ps) < 2 || len(ps) > most {
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
	case alike(ws, d.suitsThirdsOne):
		d.launchThirdsOne(severalWeights, at, ws, to)
	case at%16 == 0 && alike(ws, (*weight).isBlocks):
		d.severalBlocks(to, at, ws)
	case at%16 == 0 && alike(ws, d.suitsOneRow):
		groups := 0
		for _, w := range ws {
			groups += (w.n + 3) / 4
		}
		d.launchOneRow(severalWeights, at, groups, filled(ws, most), filled(to, most))
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
	case alike(ws, d.suitsThirdsOne):
		d.launchThirdsOne(gatedWeights, at, ws, []uint64{to, to}, known(a))
	case at%16 == 0 && alike(ws, (*weight).isBlocks):
		d.gatedBlocks(to, at, g, u, a)
	case at%16 == 0 && alike(ws, d.suitsOneRow):
		d.launchOneRow(gatedWeights, at, (g.n+1)/2, ws, []uint64{to, to}, known(a))
	default:
		return false
	}
	return true
}

// Forms of the kernels: two or four outputs a warp, several weights, a gate.
const (
	twos = iota
	fours
	severalWeights
	gatedWeights
	oneRowForms
	oneWeight = twos // of src/thirdsone.cu
)

// oneRowNames are the kernels by whether scales are codes, by form and by rounding.
var oneRowNames = func() (names [2][oneRowForms][2]string) {
	for nested, name := range []string{"gemvCode", "gemvNested"} {
		for form, suffix := range []string{twos: "2", fours: "4", severalWeights: "Several", gatedWeights: "Gated"} {
			for round := range 2 {
				names[nested][form][round] = fmt.Sprintf("%s%s_%d", name, suffix, round)
			}
		}
	}
	return names
}()

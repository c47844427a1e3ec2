package cuda

import (
	"slices"

	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/format"
)

// blockTypes are GGML's formats (GGUF's) as src/blocks.h counts them. A weight of
// one has the kind kindBlocks and its place here.
var blockTypes = []format.Type{format.Q8_0, format.Q4_0, format.Q4_1, format.Q5_0, format.Q5_1,
	format.Q2_K, format.Q3_K, format.Q4_K, format.Q5_K, format.Q6_K}

// Of src/blocks.cu: outputs and rows that a warp takes, steps in its ring, the most
// warps of a block, and the values and bytes of x in a step.
const (
	blockOuts    = 2
	blockRows    = 4
	blockStages  = 4
	blockWarps   = 16
	blockStep    = 1024
	blockStepOfX = 32 * 36 * 4
	blockRest    = 1 << 10 // of shared memory, the system's
)

// prepareBlocks leaves a weight in the file's own bytes.
func (d *Device) prepareBlocks(p *weight, w kernels.Weight) error {
	size, _ := w.Type.Bytes(int64(w.N) * int64(w.K))
	at, err := d.put(p, w.Data[:size])
	p.inBlocks(at, w.Type)
	return err
}

// inBlocks sets the parameters of a weight whose blocks lie at an address.
func (p *weight) inBlocks(at uint64, t format.Type) {
	p.kind = kindBlocks + slices.Index(blockTypes, t)
	p.args = make([]uint64, weightArgs)
	p.args[0] = at
}

func (w *weight) isBlocks() bool { return w.kind >= kindBlocks }

// multiplyBlocks is multiply with a weight in blocks. Up to eight rows are
// multiplied four at a time, each code decoded once for them.
func (d *Device) multiplyBlocks(dst, x uint64, rows int, w *weight, e kernels.Epilogue, scale float32) {
	if x%16 != 0 {
		whole := d.scratch(rows * w.k)
		defer d.release(whole)
		d.each("scale", rows*w.k, whole.at, x, num(rows*w.k), real32(1))
		x = whole.at
	}
	if rows > 2*blockRows {
		d.manyBlocks(dst, x, rows, w, e, scale)
		return
	}
	if rows > 1 {
		grid := (rows + blockRows - 1) / blockRows
		d.gemvBlocks("gemvBlocks4", blockRows, grid, x, (w.n+blockOuts-1)/blockOuts, []*weight{w}, []uint64{dst}, add(e), real32(scale), num(rows))
		return
	}
	d.gemvBlocks("gemvBlocks1", 1, 1, x, (w.n+blockOuts-1)/blockOuts, blocksAlone(w), []uint64{dst, dst, dst}, add(e), real32(scale), noActivation)
}

// noActivation is alone of src/blocks.cu.
const noActivation = 1<<64 - 1

// blocksAlone is a weight beside two that have no outputs.
func blocksAlone(w *weight) []*weight {
	none := &weight{k: w.k, kind: w.kind, args: w.args}
	return []*weight{w, none, none}
}

// gemvBlocks starts a kernel of src/blocks.cu that takes so many rows at once, over
// groups of outputs of weights of one format.
func (d *Device) gemvBlocks(name string, take, grid int, x uint64, groups int, ws []*weight, dsts []uint64, addTo, scale, last uint64) {
	w := ws[0]
	blocks := min(d.driver.Processors(), groups)
	each := (groups + blocks - 1) / blocks
	turns := (each + blockWarps - 1) / blockWarps
	warps := (each + turns - 1) / turns
	room := d.driver.Shared() - blockRest - blockWarps*take*blockOuts*33*4
	ring, steps := blockStages*blockOuts*w.roomOf(blockStep), (w.k+blockStep-1)/blockStep
	fits := func(warps, steps int) bool { return warps*ring+steps*take*blockStepOfX <= room }
	for warps > 1 && !fits(warps, 1) || warps > 8 && !fits(warps, steps) { // all of x in shared memory is worth warps
		warps--
	}
	chunk := steps
	for chunk > 1 && !fits(warps, chunk) {
		chunk--
	}
	args := append(make([]uint64, 0, 16), x, num(w.k), addTo, scale, num(min(chunk*blockStep, w.k)), last)
	for i, w := range ws {
		args = append(args, dsts[i], num(w.n), w.args[0])
	}
	d.launch(w.kernel(name), blocks, grid, 32*warps, warps*ring+chunk*take*blockStepOfX, args...)
}

// severalBlocks multiplies one row with up to three weights of one format at once.
func (d *Device) severalBlocks(dsts []uint64, x uint64, ws []*weight) {
	groups := 0
	for _, w := range ws {
		groups += (w.n + blockOuts - 1) / blockOuts
	}
	all := blocksAlone(ws[0])
	copy(all, ws)
	d.gemvBlocks("gemvBlocks1", 1, 1, x, groups, all, filled(dsts, 3), 0, real32(1), noActivation)
}

// gatedBlocks computes one row of a gated layer at once.
func (d *Device) gatedBlocks(dst, x uint64, gate, up *weight, a kernels.Activation) {
	all := blocksAlone(gate)
	all[1] = up
	d.gemvBlocks("gemvBlocks1", 1, 1, x, gate.n, all, []uint64{dst, dst, dst}, 0, real32(1), known(a))
}

// roomOf is what so many values of a row take in shared memory, 16 bytes at a time: rows
// begin and end at even addresses, or, of some formats, at multiples of 16.
func (w *weight) roomOf(values int) int {
	t := blockTypes[w.kind-kindBlocks]
	bytes := values / t.BlockSize() * t.BlockBytes()
	if t.BlockBytes()%16 != 0 {
		bytes += 14 + 15
	}
	return bytes / 16 * 16
}

// manyBlocks multiplies rows in tiles, each code decoded once for 16 or 64 of them.
func (d *Device) manyBlocks(dst, x uint64, rows int, w *weight, e kernels.Epilogue, scale float32) {
	const cols, groups = 32, 8
	shared := func(side int) int { return 4*groups*piece*(side+cols) + cols*(w.roomOf(groups*piece)|16) }
	name, side := "blockRows64", 64
	if rows <= 32 || shared(side) > d.driver.Shared() { // two tiles of 16 take less than one of 64
		name, side = "blockRows16", 16
	}
	d.launch(w.kernel(name), (w.n+cols-1)/cols, (rows+side-1)/side, 512, shared(side),
		dst, x, num(rows), num(w.n), num(w.k), add(e), real32(scale), w.args[0])
}

// plain is a weight's values as a weight of float32, in memory of an operation.
func (d *Device) plain(w *weight) (*weight, *block) {
	at, hold := d.floats(w)
	p := &weight{n: w.n, k: w.k}
	p.plain(at)
	return p, hold
}

// blockValues decodes rows of a weight in blocks, all in their order where there are
// no ids.
func (d *Device) blockValues(dst uint64, w *weight, ids []int32) {
	n, table := w.n*w.k, uint64(0)
	if ids != nil {
		n, table = len(ids)*w.k, d.table(ids)
	}
	d.each(w.kernel("blockValues"), n/8, dst, table, num(n), num(w.k), w.args[0])
}

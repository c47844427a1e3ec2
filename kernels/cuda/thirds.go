package cuda

import "github.com/evalrun/evalrun/kernels"

// Of src/thirds.h and src/thirds.cu: values of K that pieces are multiples of, how
// many pieces there are at most, outputs of a warp and warps of a block; of
// src/thirdsone.cu: outputs of a tile, and the shared memory that the kernels declare.
const (
	thirdsChunk  = 256
	thirdsPieces = 16
	thirdsOuts   = 32
	thirdsWarps  = 8
	thirdsTile   = 16
	thirdsOneOwn = 1024 + 64
)

// pieces is the number of pieces that K is cut into.
func (w *weight) pieces() int {
	piece := (w.k + thirdsChunk*thirdsPieces - 1) / (thirdsChunk * thirdsPieces) * thirdsChunk
	return (w.k + piece - 1) / piece
}

// suitsThirds tells whether a weight's products are taken on the matrix units as
// three of bfloat16: its values are bfloat16, and lie as src/thirds.h reads them. This
// depends on the weight alone, since the order of the sums does. Narrow weights, as
// adapters are, have kernels of their own.
func (w *weight) suitsThirds() bool {
	if !w.wide || w.n <= narrow || w.k <= narrow {
		return false
	}
	switch w.kind {
	case kindBF16:
		return w.k%32 == 0
	case kindCode4:
		return w.round == kindBF16 && w.short && w.k%64 == 0 && w.args[5]%64 == 0 && w.args[9]%64 == 0
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
	if rows == 1 && d.suitsThirdsOne(w) {
		d.launchThirdsOne(oneWeight, x, []*weight{w}, []uint64{dst}, add(e), real32(scale))
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

// thirdsTiles is how many times 8 rows a warp takes.
func thirdsTiles(rows int) int {
	switch {
	case rows <= 8:
		return 1
	case rows <= 16:
		return 2
	}
	return 4
}

// splitThirds writes the parts of x, of 2 bytes each, as a weight's products want them.
func (d *Device) splitThirds(x uint64, rows int, w *weight) *block {
	tiles := thirdsTiles(rows)
	blocks := (rows + 8*tiles - 1) / (8 * tiles)
	values := blocks * 8 * tiles * w.padded()
	parts := d.scratch(values * 3 / 2)
	d.each("splitThirds", values/4, parts.at, x, num(rows), num(w.k), num(tiles), num(w.gulpSteps()))
	return parts
}

// thirdsNames are the kernels by the rows of a block and the kind of the weight.
var thirdsNames = map[int][2]string{8: {"thirds8_2", "thirds8_3"}, 16: {"thirds16_2", "thirds16_3"}, 32: {"thirds32_2", "thirds32_3"}, 64: {"thirds64_2", "thirds64_3"}}

// launchThirds is the product of rows that splitThirds has split. Where blocks of outputs
// alone would leave processors idle, several share the pieces of the same outputs.
func (d *Device) launchThirds(dst, parts uint64, rows int, w *weight, e kernels.Epilogue, scale float32) {
	tiles, groups := thirdsTiles(rows), 1
	if rows > 32 {
		groups = 2
	}
	side, outs := 8*tiles*groups, thirdsOuts*thirdsWarps/groups
	x, y, pieces := (rows+side-1)/side, (w.n+outs-1)/outs, w.pieces()
	splits := min(pieces, max(1, d.driver.Processors()/(x*y)))
	if each := (pieces + splits - 1) / splits; splits > 1 {
		splits = (pieces + each - 1) / each // none without a piece
	}
	form, shared := 0, 2*groups*8*3*tiles*32*8 // two stages of 8 steps
	if w.kind == kindCode4 {
		form, shared = 1, shared+pairBytes
	}
	to, sums := dst, (*block)(nil)
	if splits > 1 {
		sums = d.scratch(pieces * rows * w.n)
		to = sums.at
	}
	d.launch(thirdsNames[side][form], x, y*splits, 32*thirdsWarps, shared,
		append([]uint64{to, parts, num(rows), num(w.n), num(w.k), add(e), real32(scale), num(splits)}, w.args...)...)
	if splits > 1 {
		d.each("sumPieces", rows*w.n, dst, to, num(rows*w.n), num(pieces), add(e), real32(scale))
		d.release(sums)
	}
}

// suitsThirdsOne tells whether src/thirdsone.cu multiplies one row with a weight
// that suits: values counted in 32 bits, and as much shared memory as x takes.
func (d *Device) suitsThirdsOne(w *weight) bool {
	return w.suitsThirds() && int64(w.n)*int64(w.k) < 1<<32 && thirdsOneShared(w, 2, 1) <= d.driver.Shared()
}

// thirdsOneShared is what a block takes of shared memory for a number of sums of each
// of its tiles' outputs and pieces: the pairs that codes stand for, the parts of x, the
// sums, and what the kernel has of its own.
func thirdsOneShared(w *weight, sums, tiles int) int {
	bytes := 6*w.padded() + 4*sums*tiles*thirdsTile*w.pieces() + thirdsOneOwn
	if w.kind == kindCode4 {
		bytes += pairBytes
	}
	return bytes
}

// launchThirdsOne starts the product of one row with some alike weights.
func (d *Device) launchThirdsOne(form int, x uint64, ws []*weight, dsts []uint64, more ...uint64) {
	w, tiles, sums := ws[0], 0, 1
	for _, w := range ws {
		tiles += (w.n + thirdsTile - 1) / thirdsTile
	}
	if form == gatedWeights {
		tiles, sums = tiles/2, 2
	}
	blocks, most := d.driver.Processors(), 16 // warps
	if w.kind == kindBF16 {
		blocks, most = 2*blocks, 8
	}
	blocks = min(blocks, tiles)
	for blocks < tiles && thirdsOneShared(w, sums, (tiles+blocks-1)/blocks) > d.driver.Shared() {
		blocks = min(2*blocks, tiles)
	}
	each := (tiles + blocks - 1) / blocks
	tasks := each * w.pieces()
	turns := (tasks + most - 1) / most
	warps := (tasks + turns - 1) / turns
	name := "thirdsOne"
	switch {
	case w.kind == kindCode4 && w.args[3] != 0:
		name = "thirdsOneNested"
	case w.kind == kindCode4:
		name = "thirdsOneCode"
	}
	args := append(make([]uint64, 0, 32), x, num(w.k), w.args[1], w.args[4], w.args[6], w.args[8], num(tiles))
	switch form {
	case severalWeights:
		name += "Several"
		ws, dsts = filled(ws, 3), filled(dsts, 3)
	case gatedWeights:
		name += "Gated"
	}
	args = append(args, more...)
	for i, w := range ws {
		args = append(args, dsts[i], num(w.n), w.args[0], w.args[2], w.args[3], w.args[9], w.args[10])
	}
	d.launch(name, blocks, 1, 32*warps, thirdsOneShared(w, sums, each)-thirdsOneOwn, args...)
}

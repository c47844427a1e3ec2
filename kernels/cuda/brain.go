package cuda

import (
	"fmt"

	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/format"
)

// Tiles of src/tiles.h; of src/gemm.cu with 128 columns.
const brainRows, brainCols, brainDepth = 128, 256, 64

// brainShared is the shared memory of blocks whose tiles have so many columns.
func brainShared(cols int) int { return 4*(brainRows+cols)*brainDepth*2 + 1024 + 64 }

// brainTiles are the kernels whose tiles come through the tensor memory unit, by the
// columns of a tile, the widest first.
var brainTiles = []struct {
	cols int
	name string
}{{256, "gemmBrainTiles_256"}, {240, "gemmBrainTiles_240"}, {232, "gemmBrainTiles_232"}, {208, "gemmBrainTiles_208"}, {176, "gemmBrainTiles_176"}}

// brainKernel is a product whose blocks of 128 rows copy with their threads.
type brainKernel struct {
	name                  string
	cols, threads, shared int
}

// brainKernels are Hopper's and any other processor's.
var brainKernels = []brainKernel{{"gemmBrain", brainCols, 256, brainShared(brainCols)}, {"gemmMatrix", 128, 128, 3 * 2 * 128 * 32 * 2}}

// Brain makes MatMul, MatMulBack and attention of training round both operands to
// bfloat16 and sum their products in float32 on the matrix
// units: many times as fast with many rows (reading prompts, training), slow
// with few, and not exact. A row has the same bits alone and among others.
// Weights whose rows are no multiple of 64 values are multiplied with as before,
// and so are those with fewer than 128 rows or columns, the parts of adapters.
func (d *Device) Brain() error {
	var err error
	for _, k := range brainKernels {
		if _, err = d.driver.Function(k.name); err == nil {
			d.brain, d.product = true, k
			if _, err := d.driver.Function(brainTiles[0].name); err != nil {
				d.unit = nil // the driver is older than the unit's kernels
			}
			return nil
		}
	}
	return fmt.Errorf("products in bfloat16: %w", err)
}

// exact says that a weight is multiplied in float32 all the same: an adapter's
// part, or one of another width than the tiles have.
func (w *weight) exact(depth int) bool { return depth%brainDepth != 0 || min(w.n, w.k) < brainRows }

// How a product is stored, as src/device.h counts it.
const howRound, howBrain = 2, 4

// target is where a product of n columns goes: to dst, or added to what lies at plus,
// which may be dst itself, and to dst.
type target struct {
	dst, plus uint64
	n         int
	how       uint64
}

// product is one with the values of a weight [n, k].
type product struct {
	weight uint64
	target
}

// targetOf is that of MatMul.
func targetOf(dst uint64, e kernels.Epilogue) target {
	if e == kernels.Add {
		return target{dst: dst, plus: dst}
	}
	return target{dst: dst}
}

// roundedTarget is that of a product which is rounded first. plus may be nil.
func roundedTarget(dst, plus kernels.Buffer, n int) target {
	switch {
	case dst.Type() == format.BF16 && plus != nil:
		panic("BUG: a product is added to values and stored as BF16")
	case dst.Type() == format.BF16:
		return target{dst: onBrain(dst, n, "dst"), how: howBrain}
	case plus == nil:
		return target{dst: on(dst, n, "dst"), how: howRound}
	}
	return target{dst: on(dst, n, "dst"), plus: on(plus, n, "plus"), how: howRound}
}

// rounded is x as bfloat16; hold is nil where it lies so already.
func (d *Device) rounded(x kernels.Buffer, n int, what string) (at uint64, hold *block) {
	if x.Type() == format.BF16 {
		return onBrain(x, n, what), nil
	}
	hold = d.scratch((n + 1) / 2)
	d.each("toBrain", (n+7)/8, hold.at, on(x, n, what), num(n))
	return hold.at, hold
}

// multiplyBrain brings both operands to bfloat16 first.
func (d *Device) multiplyBrain(to target, x kernels.Buffer, rows int, w *weight) {
	d.brainProduct(to, x, rows, w.n, w.k, w, d.brainValues, "x")
}

// multiplyBackBrain multiplies with the transposed weight.
func (d *Device) multiplyBackBrain(to target, dy kernels.Buffer, rows int, w *weight) {
	d.brainProduct(to, dy, rows, w.k, w.n, w, d.turnedValues, "dy")
}

// brainProduct is that of x [rows, k], called what, and what values gives of the
// weight, [n, k].
func (d *Device) brainProduct(to target, x kernels.Buffer, rows, n, k int, w *weight, values func(*weight) (uint64, *block), what string) {
	in, hold := d.rounded(x, rows*k, what)
	at, held := values(w)
	to.n = n
	d.gemmBrain(in, rows, k, product{at, to})
	d.release(hold)
	d.release(held)
}

// brainValues is the weight as bfloat16, decoded where it is not.
func (d *Device) brainValues(w *weight) (at uint64, held *block) {
	switch {
	case w.kind == kindBF16 && w.args[0]%16 == 0:
		return w.args[0], nil
	case w.decoded != nil:
		return w.decoded.at, nil
	}
	held = d.scratch((w.n*w.k + 1) / 2)
	d.dequantise(held.at, w)
	return held.at, held
}

// turnedValues is the transposed weight as bfloat16.
func (d *Device) turnedValues(w *weight) (at uint64, held *block) {
	if w.turned != nil {
		return w.turned.at, nil
	}
	held = d.scratch((w.n*w.k + 1) / 2)
	d.turn(held.at, w)
	return held.at, held
}

// turn writes the transposed weight as bfloat16.
func (d *Device) turn(at uint64, w *weight) {
	if w.isBlocks() {
		d.launch(w.kernel("blockTurned"), w.k/32, (w.n+63)/64, 256, 0, at, num(w.n), num(w.k), w.args[0])
		return
	}
	d.launch(w.kernel("brainTurned"), (w.k+31)/32, (w.n+31)/32, 256, 0, append([]uint64{at, num(w.n), num(w.k)}, w.args...)...)
}

var _ kernels.Keeper = (*Device)(nil)

// Keep keeps the weight as bfloat16, and transposed for MatMulBack. Without
// Brain, codes are decoded where they are used and nothing would be gained.
func (d *Device) Keep(p kernels.Prepared, back bool) error {
	w := p.(*weight)
	if !d.brain || w.source != nil {
		return nil
	}
	keep := func(to **block, write func(at uint64, w *weight)) error {
		mem, err := d.heap.take(2 * int64(w.n) * int64(w.k))
		if err != nil {
			return fmt.Errorf("decoded values of a weight [%d, %d]: %w", w.n, w.k, err)
		}
		write(mem.at, w)
		*to = mem
		w.bytes += mem.bytes
		return nil
	}
	if !w.exact(w.k) && w.decoded == nil && (w.kind != kindBF16 || w.args[0]%16 != 0) {
		if err := keep(&w.decoded, d.dequantise); err != nil {
			return err
		}
	}
	if back && !w.exact(w.n) && w.turned == nil {
		return keep(&w.turned, d.turn)
	}
	return nil
}

var _ kernels.RoundedProducts = (*Device)(nil)

// Rounds tells whether products with a weight are of bfloat16 values anyway.
func (d *Device) Rounds(p kernels.Prepared) bool {
	w := p.(*weight)
	return d.brain && !w.exact(w.k) && !w.exact(w.n)
}

// MatMulsRounded rounds x once for all weights. They are multiplied with together
// where none of them has to be decoded first.
func (d *Device) MatMulsRounded(dsts []kernels.Buffer, plus, x kernels.Buffer, rows int, ws []kernels.Prepared) {
	_, k := ws[0].Shape()
	in, hold := d.rounded(x, rows*k, "x")
	var together []product
	for i, p := range ws {
		w := p.(*weight)
		at, held := d.brainValues(w)
		to := roundedTarget(dsts[i], plus, rows*w.n)
		to.n = w.n
		if held == nil {
			together = append(together, product{at, to})
			continue
		}
		d.gemmBrain(in, rows, k, product{at, to})
		d.release(held)
	}
	if len(together) > 0 {
		d.gemmBrain(in, rows, k, together...)
	}
	d.release(hold)
}

// MatMulBacksRounded is one kernel where no weight has to be turned first.
func (d *Device) MatMulBacksRounded(dx, plus kernels.Buffer, dys []kernels.Buffer, rows int, ws []kernels.Prepared) {
	_, k := ws[0].Shape()
	to := roundedTarget(dx, plus, rows*k)
	to.n = k
	if len(ws) > 1 && to.how == howBrain {
		panic("BUG: products are added up in BF16")
	}
	var chain []link
	var holds []*block
	for i, p := range ws {
		w := p.(*weight)
		if w.turned == nil {
			d.multiplyBackBrain(to, dys[i], rows, w)
			to.plus = to.dst
			continue
		}
		in, hold := d.rounded(dys[i], rows*w.n, "dy")
		chain, holds = append(chain, link{in, w.turned.at, w.n}), append(holds, hold)
	}
	d.gemmChain(to, rows, chain)
	for _, hold := range holds {
		d.release(hold)
	}
}

// dequantise writes the weight's values as bfloat16.
func (d *Device) dequantise(at uint64, w *weight) {
	n := w.n * w.k
	if w.isBlocks() {
		d.each(w.kernel("blockBrain"), n/8, at, num(n), w.args[0])
		return
	}
	if w.words {
		d.launch("dequantise4", min((n/8+1023)/1024, 132*8), 1, 256, 0, append([]uint64{at, num(n)}, w.args...)...)
		return
	}
	d.each(w.kernel("brainOf"), n, append([]uint64{at, num(n)}, w.args...)...)
}

// Dequantise decodes a weight to bfloat16 in memory of the device's own, as
// products do after Brain, to measure it.
func (d *Device) Dequantise(p kernels.Prepared) error {
	w, ok := p.(*weight)
	if !ok {
		return fmt.Errorf("dequantise a %T", p)
	}
	to := d.scratch((w.n*w.k + 1) / 2)
	d.dequantise(to.at, w)
	d.release(to)
	return nil
}

// link is a product of a [m, k] with a weight [n, k], among those that are added up.
type link struct {
	a, weight uint64
	k         int
}

// gemmBrain multiplies a [m, k], which is of bfloat16, with each weight.
func (d *Device) gemmBrain(a uint64, m, k int, products ...product) {
	if len(products) == 0 || d.gemmTiles(m, []link{{a: a, k: k}}, products) {
		return
	}
	by := d.product
	for _, p := range products {
		d.launch(by.name, (m+brainRows-1)/brainRows, (p.n+by.cols-1)/by.cols, by.threads, by.shared, p.dst, p.plus, a, p.weight, num(m), num(p.n), num(k), p.how)
	}
}

// gemmChain adds up products, in their order.
func (d *Device) gemmChain(to target, m int, chain []link) {
	most := 4 // as many as the kernel's parameter holds
	for i := 0; i < len(chain); {
		links := chain[i:min(i+most, len(chain))]
		if len(links) == 1 || !d.gemmTiles(m, links, []product{{target: to}}) {
			links = links[:1]
			d.gemmBrain(links[0].a, m, links[0].k, product{links[0].weight, to})
		}
		to.plus = to.dst
		i += len(links)
	}
}

// gemmTiles is gemmBrain of one link with each product's weight, or a chain to one
// product's target, in one kernel with the tensor memory unit. false where that does not
// take the matrices, or an output's rows do not begin at 16 bytes.
func (d *Device) gemmTiles(m int, links []link, products []product) bool {
	const mostMaps = 32 // as many as a warp fences
	down := (m + brainRows - 1) / brainRows
	if d.unit == nil || d.copies || max(2*len(links), 1+len(products)) > mostMaps {
		return false
	}
	for _, p := range products {
		if p.n%8 != 0 || (p.dst|p.plus)%16 != 0 {
			return false
		}
	}
	half := halfEmpty(m)
	tile, columns := d.brainTile(down, half, products)
	cols := brainTiles[tile].cols
	var table []int32
	described := true
	describe := func(at uint64, rows, k, box int) {
		of, err := d.unit.TensorMap(at, rows, k, box)
		table, described = append(table, of[:]...), described && err == nil
	}
	depths := uint64(0)
	for i, l := range links {
		depths |= uint64(l.k/brainDepth) << (16 * i)
		describe(l.a, m, l.k, brainRows)
		if l.weight != 0 {
			describe(l.weight, products[0].n, l.k, cols)
			continue
		}
		for _, p := range products {
			describe(p.weight, p.n, l.k, cols)
		}
	}
	if !described {
		return false
	}
	whole := func(x uint64) (low, high int32) { return int32(uint32(x)), int32(uint32(x >> 32)) }
	maps, end := len(table), 0
	for _, p := range products {
		end += (p.n + cols - 1) / cols
		dst0, dst1 := whole(p.dst)
		plus0, plus1 := whole(p.plus)
		table = append(table, dst0, dst1, plus0, plus1, int32(p.n), int32(end), int32(p.how), 0) // Product
	}
	at := d.table(table)
	d.launch(brainTiles[tile].name, min(down*columns, d.driver.Processors()), 1, 288, brainShared(cols),
		at, at+4*uint64(maps), num(m), depths, num(len(links)), num(columns), num(half))
	return true
}

// halfEmpty is 1 where the last row of tiles has so few of the m rows that one of two
// warpgroups has nothing to do.
func halfEmpty(m int) int {
	if rest := m % brainRows; rest > 0 && rest <= brainRows/2 {
		return 1
	}
	return 0
}

// brainTile picks the tiles whose turns take least (tileOfTurn): one lasts as long as a
// tile has columns, and some for its beginning and end. A sum is the same in all of them.
func (d *Device) brainTile(down, half int, products []product) (tile, columns int) {
	const around = 12
	least, processors := 0, d.driver.Processors()
	for i, t := range brainTiles {
		all := 0
		for _, p := range products {
			all += (p.n + t.cols - 1) / t.cols
		}
		// Turns of the blocks that have most, in halves.
		whole := (down - half) * all
		turns, left := 2*(whole/processors), half*all
		if first := whole % processors; first > 0 {
			turns, left = turns+2, left-2*(processors-first)
		}
		if left > 0 {
			turns += (left + processors - 1) / processors
		}
		if cost := turns * (t.cols + around); least == 0 || cost < least {
			least, tile, columns = cost, i, all
		}
	}
	return tile, columns
}

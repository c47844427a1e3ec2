package cuda

import (
	"math/bits"
	"slices"

	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/format"
)

// flashTile says how heads of a size are multiplied: the size filled up, rows that
// a block owns, keys a tile of the way forward; of the way back by queries keys a tile; and
// by keys, rows a tile and columns of dk and dv that a block has.
type flashTile struct {
	name                                     string
	dim, rows, keys, keysBack, rowsBack, out int
}

// The way back by keys: those that a block owns, and the most heads that are rows of one
// matrix.
const flashOwnKeys, flashShareKV = 64, 4

var flashTiles = []flashTile{{"64", 64, 128, 64, 32, 32, 64}, {"128", 128, 128, 64, 32, 32, 128}, {"128less", 128, 128, 32, 16, 16, 128}, {"256", 256, 64, 32, 32, 16, 128}}

// flashTileOf is that of heads of a size whose blocks have room in so many bytes of
// shared memory, nil where there is none.
func flashTileOf(dim, room int) *flashTile {
	for i := range flashTiles {
		if f := &flashTiles[i]; dim <= f.dim && max(f.forward(), f.backQ(), f.backKV()) <= room {
			return f
		}
	}
	return nil
}

// bytes is the shared memory of so many rows; forward, backQ and backKV what the
// kernels take.
func (f *flashTile) bytes(rows int) int { return rows * (2*f.dim + 16) }
func (f *flashTile) forward() int       { return f.bytes(f.rows + 4*f.keys) }
func (f *flashTile) backQ() int         { return f.bytes(2*f.rows+4*f.keysBack) + 4*f.rows }
func (f *flashTile) backKV() int        { return f.bytes(2*flashOwnKeys+8*f.rowsBack) + 4*8*f.rowsBack }

func (f *flashTile) kernel(name string) string { return name + "_" + f.name }

// RoundsAttention tells whether attention of this shape goes through the matrix units.
func (d *Device) RoundsAttention(s kernels.AttentionShape) bool {
	// The largest score is found before it is scaled.
	return d.brain && s.Scale > 0 && flashTileOf(s.Dim, d.driver.Shared()) != nil
}

// flashShare is the logarithm of how many query heads a block takes together as
// rows of one matrix: of those that share a head of k and v, the largest power of
// two that divides their number, up to most.
func flashShare(s kernels.AttentionShape, most int) int {
	return min(bits.TrailingZeros(uint(s.Heads/s.KVHeads)), bits.TrailingZeros(uint(most)))
}

// flashTiles lists the rows that each block owns, size of them, of runs that have
// each times N rows; those with most to do come first: the last as queries, the first
// as keys.
func (d *Device) flashTiles(runs []kernels.Run, each, size int, keys bool) (at uint64, n int) {
	type entry [4]int32
	var list []entry
	for _, r := range runs {
		for own := 0; own < r.N*each; own += size {
			list = append(list, entry{int32(r.Row), int32(r.N), int32(own)})
		}
	}
	slices.SortStableFunc(list, func(a, b entry) int {
		if keys {
			return int((b[1] - b[2]) - (a[1] - a[2]))
		}
		return int(b[2] - a[2])
	})
	flat := make([]int32, 0, 4*len(list))
	for _, e := range list {
		flat = append(flat, e[:]...)
	}
	return d.table(flat), len(list)
}

// brainHeads gives k and v as bfloat16, heads filled up to wide values.
func (d *Device) brainHeads(k, v kernels.Buffer, rows, wide int, s kernels.AttentionShape) (mem *block, kb, vb uint64) {
	n, chunks := rows*s.KVHeads, wide/8
	mem = d.scratch(n * wide)
	d.each("brainHeads", 2*n*chunks, mem.at, on(k, n*s.Dim, "k"), on(v, n*s.Dim, "v"), num(n), num(s.Dim), num(bits.TrailingZeros(uint(chunks))))
	return mem, mem.at, mem.at + uint64(2*n*wide)
}

// brainFlag tells a kernel the type of a buffer.
func brainFlag(b kernels.Buffer) uint64 {
	if b.Type() == format.BF16 {
		return 1
	}
	return 0
}

// flash is AttentionTrain on the matrix units.
func (d *Device) flash(dst, lse, q, k, v kernels.Buffer, runs []kernels.Run, s kernels.AttentionShape, rows int) {
	f, share := flashTileOf(s.Dim, d.driver.Shared()), flashShare(s, 64)
	tiles, n := d.flashTiles(runs, 1<<share, f.rows, false)
	mem, kb, vb := d.brainHeads(k, v, rows, f.dim, s)
	_, at := typed("", dst)
	d.launch(f.kernel("flash"), s.Heads>>share, n, 128, f.forward(),
		at(dst, rows*s.Heads*s.Dim, "dst"), brainFlag(dst), on(lse, rows*s.Heads, "lse"), on(q, rows*s.Heads*s.Dim, "q"), kb, vb, tiles,
		num(share), num(s.Heads), num(s.KVHeads), num(s.Dim), real32(s.Scale), num(s.Window), real32(s.SoftCap))
	d.release(mem)
}

// flashBack is AttentionBack on the matrix units.
func (d *Device) flashBack(dq, dk, dv, dy, y, lse, q, k, v kernels.Buffer, runs []kernels.Run, s kernels.AttentionShape, rows int) {
	f := flashTileOf(s.Dim, d.driver.Shared())
	wide, narrow := rows*s.Heads*s.Dim, rows*s.KVHeads*s.Dim
	mem, kb, vb := d.brainHeads(k, v, rows, f.dim, s)
	qb, dots := d.scratch(rows*s.Heads*f.dim/2), d.scratch(rows*s.Heads)
	// dy as bfloat16 is left by the first kernel for the second, or lies so already.
	_, at := typed("", dy)
	var gb *block
	fresh, rounded := uint64(0), at(dy, wide, "dy")
	if brainFlag(dy) == 0 || s.Dim != f.dim || rounded%16 != 0 {
		gb = d.scratch(rows * s.Heads * f.dim / 2)
		fresh, rounded = gb.at, gb.at
	}
	common := func(tiles uint64, share int) []uint64 {
		return []uint64{kb, vb, tiles, num(share), num(s.Heads), num(s.KVHeads), num(s.Dim), real32(s.Scale), num(s.Window), real32(s.SoftCap)}
	}
	share := flashShare(s, 64)
	queries, n := d.flashTiles(runs, 1<<share, f.rows, false)
	d.launch(f.kernel("flashBackQ"), s.Heads>>share, n, 128, f.backQ(),
		append([]uint64{on(dq, wide, "dq"), qb.at, fresh, dots.at, at(dy, wide, "dy"), at(y, wide, "y"), brainFlag(dy), on(lse, rows*s.Heads, "lse"), on(q, wide, "q")},
			common(queries, share)...)...)
	share = flashShare(s, flashShareKV)
	keys, n := d.flashTiles(runs, 1, flashOwnKeys, true)
	d.launch(f.kernel("flashBackKV"), s.KVHeads*(f.dim/f.out), n, 256, f.backKV(),
		append([]uint64{on(dk, narrow, "dk"), on(dv, narrow, "dv"), rounded, on(lse, rows*s.Heads, "lse"), dots.at, qb.at}, common(keys, share)...)...)
	for _, b := range []*block{mem, qb, gb, dots} {
		d.release(b)
	}
}

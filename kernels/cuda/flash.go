package cuda

import (
	"fmt"

	"github.com/evalrun/evalrun/kernels"
)

// Tiles of src/flash.cu: rows that a block owns, and the largest head.
const flashRows, flashDim = 64, 256

// flashTile says how a head of a size is multiplied: the size filled up, keys a
// tile of the way forward, and columns that a block of the way back has.
type flashTile struct {
	dim, keys, out int
}

// flashBackKeys is the number of keys, or rows, a tile of the way back.
const flashBackKeys = 32

func flashTileOf(dim int) flashTile {
	switch {
	case dim <= 64:
		return flashTile{64, 64, 64}
	case dim <= 128:
		return flashTile{128, 64, 128}
	}
	return flashTile{256, 32, 128}
}

// words is the shared memory of rows of so many bfloat16 values, in bytes.
func words(rows, values int) int { return rows * (values/2 + 4) * 4 }

func (f flashTile) kernel(name string) string { return fmt.Sprintf("%s_%d", name, f.dim) }

// flashTiles lists the 64 rows that each block owns, those that have most to do
// first: the last rows of a run as queries, its first as keys.
func (d *Device) flashTiles(runs []kernels.Run, lastFirst bool) (at uint64, n int) {
	var list []int32
	for _, r := range runs {
		for own := 0; own < r.N; own += flashRows {
			from := own
			if lastFirst {
				from = (r.N-1)/flashRows*flashRows - own
			}
			list = append(list, int32(r.Row), int32(r.N), int32(from), 0)
		}
	}
	return d.table(list), len(list) / 4
}

// brainHeads is x [rows, heads·dim] as bfloat16, heads filled up to size wide.
func (d *Device) brainHeads(x kernels.Buffer, rows, dim, wide int, what string) *block {
	mem := d.scratch(rows * wide / 2)
	d.each("brainHeads", rows*wide/2, mem.at, on(x, rows*dim, what), num(rows), num(dim), num(wide))
	return mem
}

// flash is AttentionTrain on the matrix units.
func (d *Device) flash(dst, lse, q, k, v kernels.Buffer, runs []kernels.Run, s kernels.AttentionShape, rows int) {
	f := flashTileOf(s.Dim)
	tiles, n := d.flashTiles(runs, true)
	qb := d.brainHeads(q, rows*s.Heads, s.Dim, f.dim, "q")
	kb, vb := d.brainHeads(k, rows*s.KVHeads, s.Dim, f.dim, "k"), d.brainHeads(v, rows*s.KVHeads, s.Dim, f.dim, "v")
	d.launch(f.kernel("flash"), n, s.Heads, 128, words(flashRows+f.keys, f.dim)+words(f.dim, f.keys),
		on(dst, rows*s.Heads*s.Dim, "dst"), on(lse, rows*s.Heads, "lse"), qb.at, kb.at, vb.at, tiles,
		num(s.Heads), num(s.KVHeads), num(s.Dim), real32(s.Scale), num(s.Window), real32(s.SoftCap))
	d.release(qb)
	d.release(kb)
	d.release(vb)
}

// flashBack is AttentionBack on the matrix units.
func (d *Device) flashBack(dq, dk, dv, dy, y, lse, q, k, v kernels.Buffer, runs []kernels.Run, s kernels.AttentionShape, rows int) {
	f := flashTileOf(s.Dim)
	wide, narrow := rows*s.Heads*s.Dim, rows*s.KVHeads*s.Dim
	dots := d.scratch(rows * s.Heads)
	d.launch("attentionDots", (rows*s.Heads+7)/8, 1, 256, 0, dots.at, on(dy, wide, "dy"), on(y, wide, "y"), num(rows*s.Heads), num(s.Dim))
	qb, gb := d.brainHeads(q, rows*s.Heads, s.Dim, f.dim, "q"), d.brainHeads(dy, rows*s.Heads, s.Dim, f.dim, "dy")
	kb, vb := d.brainHeads(k, rows*s.KVHeads, s.Dim, f.dim, "k"), d.brainHeads(v, rows*s.KVHeads, s.Dim, f.dim, "v")
	queries, n := d.flashTiles(runs, true)
	keys, _ := d.flashTiles(runs, false)
	common := func(tiles uint64) []uint64 {
		return []uint64{gb.at, on(lse, rows*s.Heads, "lse"), dots.at, qb.at, kb.at, vb.at, tiles,
			num(s.Heads), num(s.KVHeads), num(s.Dim), real32(s.Scale), num(s.Window), real32(s.SoftCap)}
	}
	parts := f.dim / f.out
	shared := words(2*flashRows+2*flashBackKeys, f.dim) + words(f.out, flashBackKeys)
	d.launch(f.kernel("flashBackQ"), n, s.Heads*parts, 128, shared, append([]uint64{on(dq, wide, "dq")}, common(queries)...)...)
	// Where query heads share a head of k and v, each has a place of its own first.
	toK, toV := on(dk, narrow, "dk"), on(dv, narrow, "dv")
	var partK, partV *block
	if s.Heads != s.KVHeads {
		partK, partV = d.scratch(wide), d.scratch(wide)
		toK, toV = partK.at, partV.at
	}
	shared += words(f.out, flashBackKeys) + 8*flashBackKeys
	d.launch(f.kernel("flashBackKV"), n, s.Heads*parts, 128, shared, append([]uint64{toK, toV}, common(keys)...)...)
	if partK != nil {
		d.launch("sumHeads", n, 8, 256, 0, on(dk, narrow, "dk"), partK.at, keys, num(s.Heads), num(s.KVHeads), num(s.Dim))
		d.launch("sumHeads", n, 8, 256, 0, on(dv, narrow, "dv"), partV.at, keys, num(s.Heads), num(s.KVHeads), num(s.Dim))
	}
	for _, b := range []*block{dots, qb, gb, kb, vb, partK, partV} {
		d.release(b)
	}
}

package cuda

import (
	"fmt"

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

// PairsForward is two kernels, shrink and expand.
func (d *Device) PairsForward(x kernels.Buffer, rows int, ps []kernels.TrainedPair) {
	if rows == 0 || len(ps) == 0 {
		return
	}
	plan := planPairs(rows, ps, 0)
	table, k := d.table(plan.table), plan.k
	d.launch("pairShrink", len(ps)*groupsOf(rows, pairTall), groupsOf(plan.rank, pairRank), 256, 0,
		append([]uint64{table, wholly(x, rows*k, "x"), num(rows), num(k)}, d.drawing(ps)...)...)
	d.launch("pairExpand", plan.expands, groupsOf(rows, pairExpands), 256, 0, table, num(len(ps)), num(rows))
}

// PairsBack is two kernels, of what is summed of Y and of x, each with a gradient.
func (d *Device) PairsBack(dx, x kernels.Buffer, rows int, ps []kernels.TrainedPair) {
	if rows == 0 || len(ps) == 0 {
		return
	}
	values := 0
	for _, p := range ps {
		values += rows * p.A.(*weight).n
	}
	dlow := d.scratch(values)
	plan := planPairs(rows, ps, dlow.at)
	table, k := d.table(plan.table), plan.k
	d.launch("pairBack", plan.backs, groupsOf(plan.rank, pairRank), 256, 0, table, num(len(ps)), num(rows))
	blocks, to := len(ps)*groupsOf(k, pairStripe), uint64(0)
	if dx != nil {
		blocks, to = blocks+groupsOf(k, pairAcross)*groupsOf(rows, pairTall), wholly(dx, rows*k, "dx")
	}
	d.launch("pairInput", blocks, groupsOf(plan.rank, pairRank), 256, 0,
		append([]uint64{table, num(len(ps)), to, wholly(x, rows*k, "x"), num(rows), num(k)}, d.drawing(ps)...)...)
	d.release(dlow)
}

// pairPlan is the table of src/pair.cu, with the most of the ranks and the blocks of
// two of its kernels.
type pairPlan struct {
	table                   []int32
	k, rank, expands, backs int
}

func planPairs(rows int, ps []kernels.TrainedPair, dlow uint64) pairPlan {
	var plan pairPlan
	words := make([]uint64, 0, 15*len(ps))
	for _, p := range ps {
		below, scale := keeping(p.Dropping)
		a, b := p.A.(*weight), p.B.(*weight)
		var da, db uint64
		if dlow != 0 {
			da, db = on(p.GradA, a.n*a.k, "gradient of A"), on(p.GradB, b.n*b.k, "gradient of B")
		}
		words = append(words, a.args[0], b.args[0], wholly(p.Y, rows*b.n, "y"), wholly(p.Low, rows*a.n, "low"), dlow, da, db,
			num(b.n), num(a.n), num(plan.expands), num(plan.backs),
			uint64(p.Stream), below, scale, real32(p.Scale))
		if dlow != 0 {
			dlow += 4 * uint64(rows*a.n)
		}
		plan.k, plan.rank = a.k, max(plan.rank, a.n)
		plan.expands += groupsOf(b.n, pairColumn)
		plan.backs += groupsOf(rows, pairTall) + groupsOf(b.n, pairStripe)
	}
	plan.table = halvesOf(words)
	return plan
}

// drawing are the rows' keys and the seed of pairs.
func (d *Device) drawing(ps []kernels.TrainedPair) []uint64 {
	return d.dropping(ps[0].Dropping)[:2]
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
	if len(o.Rows) > 0 {
		keys = d.table(halvesOf(o.Rows))
	}
	below, scale := keeping(o)
	return []uint64{keys, o.Seed, uint64(o.Stream), below, scale}
}

// keeping is the word below which what is drawn drops a value, and what the others
// are multiplied with.
func keeping(o kernels.Dropping) (below, scale uint64) {
	return uint64(float64(o.P) * (1 << 32)), real32(1 / (1 - o.P))
}

package cpu

import (
	"math/rand/v2"
	"time"

	"github.com/evalrun/evalrun/kernels"
)

// Ceiling is what a machine gives at most, to hold kernels against.
type Ceiling struct {
	Copy   float64 // bytes a second copied from memory to memory
	Read   float64 // bytes a second read from memory
	FLOPS  float64 // float32 operations a second of the device's instructions, data in registers
	Length int     // bytes of the arrays copied and read
}

// windowFloats is the part of the arrays that a round reads or copies: short,
// so that among many rounds some are not disturbed by other programs.
const windowFloats = 1 << 22

// Measure finds the ceiling for the device's threads and path: the best of
// short rounds, for each of the three figures about a budget's time of them.
// Rounds walk through arrays that no cache holds.
func (d *Device) Measure(budget time.Duration) Ceiling {
	const length = 1 << 25 // values: 128 MiB
	from, to := make([]float32, length), make([]float32, length)
	for i := 0; i < length; i += 1024 { // bring the pages in
		from[i], to[i] = rand.Float32(), 1
	}
	threads := d.pool.threads
	part := windowFloats / threads / 64 * 64
	round := 0
	walk := func(f func(from, to []float32)) func() {
		return func() {
			at := round % (length / windowFloats) * windowFloats
			round++
			d.pool.do(threads, true, func(t, _ int) { f(from[at+t*part:][:part], to[at+t*part:][:part]) })
		}
	}
	bytes := 4 * float64(part*threads)
	c := Ceiling{Length: 4 * length}
	c.Copy = bytes * best(budget, walk(func(from, to []float32) { copy(to, from) }))
	c.Read = bytes * best(budget, walk(func(from, _ []float32) { d.path.read(from) }))
	const rounds = 1 << 15
	c.FLOPS = float64(threads*rounds*d.path.flops) * best(budget, func() {
		d.pool.do(threads, true, func(int, int) { d.path.fma(rounds) })
	})
	return c
}

// best runs f for about a budget's time, five times at least, and gives the
// rate of the fastest run, in runs a second.
func best(budget time.Duration, f func()) (rate float64) {
	f()
	start := time.Now()
	for n := 0; n < 5 || time.Since(start) < budget; n++ {
		before := time.Now()
		f()
		rate = max(rate, 1/time.Since(before).Seconds())
	}
	return rate
}

// Reached is what MatMul reaches with a prepared weight.
type Reached struct {
	// Read is the bytes of prepared weight a second that go through a product
	// with one row.
	Read float64
	// FLOPS is the operations a second of a product with many rows.
	FLOPS float64
}

// MeasureMatMul finds the rates for a weight: of one row and of rows rows.
func (d *Device) MeasureMatMul(p kernels.Prepared, rows int, budget time.Duration) Reached {
	w := p.(*weight)
	x, y := make(kernels.Floats, rows*w.k), make(kernels.Floats, rows*w.n)
	for i := range x {
		x[i] = rand.Float32()
	}
	run := func(rows int) float64 {
		return best(budget, func() { d.MatMul(y, x, rows, p, kernels.Store) })
	}
	return Reached{Read: float64(w.traffic()) * run(1), FLOPS: 2 * float64(rows) * float64(w.n) * float64(w.k) * run(rows)}
}

// traffic is the number of bytes that a product reads of the weight.
func (w *weight) traffic() int64 { return w.Bytes() + w.Reads() }

// The plain twins of the loops that do nothing but load the machine.

func readGo(x []float32) {
	var a, b, c, d float32
	for ; len(x) >= 4; x = x[4:] {
		v := (*[4]float32)(x)
		a, b, c, d = a+v[0], b+v[1], c+v[2], d+v[3]
	}
	sink(a + b + c + d)
}

func fmaGo(n int) {
	var s [8]float32
	x := float32(n) * 1e-30
	for range n {
		s[0], s[1], s[2], s[3] = float32(x*x)+s[0], float32(x*x)+s[1], float32(x*x)+s[2], float32(x*x)+s[3]
		s[4], s[5], s[6], s[7] = float32(x*x)+s[4], float32(x*x)+s[5], float32(x*x)+s[6], float32(x*x)+s[7]
	}
	sink(sum8(&s))
}

//go:noinline
func sink(float32) {}

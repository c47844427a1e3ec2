//go:build emulate && amd64

package cuda

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/cuda/emulate"
	"github.com/evalrun/evalrun/kernels/format"
)

// brainBench multiplies in bfloat16 and knows what is to come out: sums in float32 in the
// order of k.
type brainBench struct {
	t   testing.TB
	d   *Device
	rng *rand.Rand
}

// matrix is of bfloat16, where a product reads it, with its values.
type matrix struct {
	at     kernels.Buffer
	values []float32
	k      int
}

func (b brainBench) matrix(rows, k int) matrix {
	buf, err := b.d.Alloc(format.BF16, rows*k)
	if err != nil {
		b.t.Fatal(err)
	}
	values := make([]float32, rows*k)
	for i := range values {
		values[i] = b.rng.Float32() - 0.5
	}
	format.RoundTo(values, format.BF16)
	b.d.Write(buf, values)
	return matrix{buf, values, k}
}

// output is a target of m rows and n columns with values around it that nobody may write.
type output struct {
	whole   kernels.Buffer
	to      target
	m       int
	typ     format.Type
	before  []float32 // of whole
	plus    []float32 // nil where nothing is added
	rounded bool
	other   kernels.Buffer // plus, where it is not dst
}

const margin = 32

// Ways of a target.
const (
	storeFloat = iota
	storeRounded
	addOther
	addSelf
	addRounded
	storeBrain
	waysOfStoring
)

func (b brainBench) output(m, n, way int) *output {
	o := &output{m: m, typ: format.F32, to: target{n: n}}
	if way == storeBrain {
		o.typ, o.to.how = format.BF16, howBrain
	}
	if way == storeRounded || way == addRounded {
		o.to.how, o.rounded = howRound, true
	}
	buf := func() (kernels.Buffer, kernels.Buffer, []float32) {
		whole, err := b.d.Alloc(o.typ, m*n+2*margin)
		if err != nil {
			b.t.Fatal(err)
		}
		values := make([]float32, m*n+2*margin)
		for i := range values {
			values[i] = b.rng.Float32()
		}
		format.RoundTo(values, o.typ)
		b.d.Write(whole, values)
		return whole, whole.Slice(margin, margin+m*n), values
	}
	whole, part, values := buf()
	o.whole, o.before = whole, values
	if o.typ == format.BF16 {
		o.to.dst = onBrain(part, m*n, "out")
		return o
	}
	o.to.dst = on(part, m*n, "out")
	switch way {
	case addOther, addRounded:
		other, part, values := buf()
		o.other = other // an address holds no memory
		o.to.plus, o.plus = on(part, m*n, "plus"), values[margin:]
	case addSelf:
		o.to.plus, o.plus = o.to.dst, values[margin:]
	}
	return o
}

// dot is what a [m, k] times w [n, k] gives at row r and column c.
func dot(a, w matrix, r, c int) (sum float32) {
	x, y := a.values[r*a.k:(r+1)*a.k], w.values[c*a.k:(c+1)*a.k]
	for i, v := range x {
		sum += v * y[i]
	}
	return sum
}

// check holds an output to the links' products, one added after another.
func (b brainBench) check(o *output, as, ws []matrix) error {
	got := make([]float32, len(o.before))
	b.d.Read(got, o.whole)
	one := make([]float32, 1)
	n := o.to.n
	for i, v := range got {
		e := i - margin
		if e < 0 || e >= o.m*n {
			if v != o.before[i] {
				return fmt.Errorf("value %d beside the output was written", e)
			}
			continue
		}
		var want float32
		for l := range as {
			one[0] = dot(as[l], ws[l], e/n, e%n)
			if o.rounded || o.typ == format.BF16 {
				format.RoundTo(one, format.BF16)
			}
			switch {
			case l > 0:
				want += one[0]
			case o.plus != nil:
				want = o.plus[e] + one[0]
			default:
				want = one[0]
			}
		}
		if v != want {
			return fmt.Errorf("row %d, column %d is %g, want %g", e/n, e%n, v, want)
		}
	}
	return nil
}

// several multiplies a [m, k] with weights of ns columns, each stored in its own way.
func (b brainBench) several(m, k int, ns []int, way int) error {
	a := b.matrix(m, k)
	var ps []product
	var ws []matrix
	var outs []*output
	for i, n := range ns {
		w, o := b.matrix(n, k), b.output(m, n, (way+i)%waysOfStoring)
		ws, outs = append(ws, w), append(outs, o)
		ps = append(ps, product{onBrain(w.at, n*k, "w"), o.to})
	}
	b.d.gemmBrain(onBrain(a.at, m*k, "a"), m, k, ps...)
	for i, o := range outs {
		if err := b.check(o, []matrix{a}, ws[i:i+1]); err != nil {
			return fmt.Errorf("%d rows, depth %d, columns %d, way %d, product %d: %w", m, k, ns, way, i, err)
		}
	}
	return nil
}

// chain adds up products of so many depths.
func (b brainBench) chain(m, n int, ks []int, way int) error {
	o := b.output(m, n, way)
	var as, ws []matrix
	var links []link
	for _, k := range ks {
		a, w := b.matrix(m, k), b.matrix(n, k)
		as, ws = append(as, a), append(ws, w)
		links = append(links, link{onBrain(a.at, m*k, "a"), onBrain(w.at, n*k, "w"), k})
	}
	b.d.gemmChain(o.to, m, links)
	if err := b.check(o, as, ws); err != nil {
		return fmt.Errorf("%d rows, %d columns, chain of depths %d, way %d: %w", m, n, ks, way, err)
	}
	return nil
}

// The kernels of bfloat16 products, instruction by instruction: rows and columns that fill
// no tile, halves of tiles, fewer and more of them than blocks and than stages, several
// weights, chains, and every way of storing; with each width, and with copies by threads
// as Hopper and as others do it.
func TestEmulatedHopper(t *testing.T) {
	all := brainTiles
	defer func() { brainTiles = all }()
	for i := range len(all) + len(brainKernels) {
		d := Over(emulate.New(), nil)
		name, cols := "", 0
		if i < len(all) {
			brainTiles, name, cols = all[i:i+1], all[i].name, all[i].cols
			d.product = brainKernels[0] // where the unit takes no matrix
		} else {
			d.copies, d.product = true, brainKernels[i-len(all)]
			name, cols = d.product.name, d.product.cols
		}
		t.Run(name, func(t *testing.T) {
			defer d.Close()
			b := brainBench{t, d, rand.New(rand.NewPCG(uint64(i), 3))}
			failed := func(err error) {
				if err != nil {
					t.Error(err)
				}
			}
			for way, m := range []int{1, 64, 65, 128, 130, 193} {
				failed(b.several(m, 64, []int{cols}, way))
				failed(b.several(m, 320, []int{8, cols + 8}, way))
			}
			for way := range waysOfStoring {
				failed(b.several(300, 64*(3+way), []int{cols - 8, 2*cols + 40, 136}, way))
			}
			failed(b.several(70, 128, []int{131, 3}, storeFloat)) // rows of outputs at no multiple of 16 bytes
			failed(b.several(70, 128, []int{131}, storeBrain))
			failed(b.chain(130, cols+16, []int{64, 320}, storeFloat))
			failed(b.chain(300, 2*cols, []int{128, 64, 256, 64, 192}, addOther))
			failed(b.chain(40, 136, []int{192, 64, 64}, addRounded))
			failed(b.chain(256, 72, []int{64, 64}, storeRounded))
			failed(b.chain(64, 72, []int{64}, storeBrain))
		})
	}
}

// processors is the emulation with so many.
type processors struct {
	*emulate.Machine
	n int
}

func (p processors) Processors() int { return p.n }

// However many blocks share the tiles, with a last row of halves and without.
func TestEmulatedHopperTurns(t *testing.T) {
	all := brainTiles
	defer func() { brainTiles = all }()
	brainTiles = all[len(all)-1:]
	for n := 1; n <= 9; n++ {
		d := Over(processors{emulate.New(), n}, nil)
		d.product = brainKernels[0]
		b := brainBench{t, d, rand.New(rand.NewPCG(uint64(n), 6))}
		for _, m := range []int{20, 300, 320, 330} {
			if err := b.several(m, 64, []int{360, 176}, n); err != nil {
				t.Errorf("%d processors: %v", n, err)
			}
		}
		if err := b.chain(180, 720, []int{320, 64}, storeFloat); err != nil {
			t.Errorf("%d processors: %v", n, err)
		}
		d.Close()
	}
}

// older is a driver that does not take the kernels of the tensor memory unit.
type older struct{ *emulate.Machine }

func (o older) Function(name string) (uintptr, error) {
	if strings.HasPrefix(name, "gemmBrainTiles_") {
		return 0, errors.New("a newer version of PTX")
	}
	return o.Machine.Function(name)
}

// It has the same products all the same, with copies by threads.
func TestEmulatedHopperOlder(t *testing.T) {
	d := Over(older{emulate.New()}, nil)
	defer d.Close()
	if err := d.Brain(); err != nil {
		t.Fatal(err)
	}
	b := brainBench{t, d, rand.New(rand.NewPCG(8, 8))}
	if err := errors.Join(b.several(130, 128, []int{264, 136}, storeRounded), b.chain(130, 136, []int{64, 128}, addSelf)); err != nil {
		t.Error(err)
	}
}

// In whatever order threads and what they wait for come, one warp or another far behind.
func TestEmulatedHopperOrders(t *testing.T) {
	all := brainTiles
	defer func() { brainTiles = all }()
	const warps = 9
	for i, cols := range []int{256, 232, 0} {
		for slow := range warps + 1 {
			for _, backwards := range []bool{false, true} {
				restore := emulate.Order{Backwards: backwards, Slow: slow}.Set()
				d := Over(emulate.New(), func(f *Fault) { t.Fatalf("backwards %v, warp %d of 1 to 9 slow: %v", backwards, slow, f) })
				d.copies, d.product = cols == 0, brainKernels[0]
				for j, tile := range all {
					if tile.cols == cols {
						brainTiles = all[j : j+1]
					}
				}
				b := brainBench{t, d, rand.New(rand.NewPCG(uint64(i), 4))}
				for _, err := range []error{b.several(300, 640, []int{520, 136}, i), b.chain(180, 264, []int{64, 320, 64}, addOther)} {
					if err != nil {
						t.Errorf("backwards %v, warp %d of 1 to 9 slow: %v", backwards, slow, err)
					}
				}
				d.Close()
				restore()
			}
		}
	}
}

// What the emulation finds of kernels that lack an instruction or have a wrong one. Where a
// GPU may be early or late, one order shows it.
func TestEmulatedHopperBroken(t *testing.T) {
	all := brainTiles
	defer func() { brainTiles = all }()
	brainTiles = all[:1]
	const dead, values, read, fence = "no thread can go on", "values: ", "ends with products that nobody waited for", "without a wgmma.fence"
	for _, c := range []struct {
		what                emulate.Broken
		copies              bool
		forwards, backwards string // what is said; "" where all seems well
	}{
		{emulate.Whole, false, "", ""},
		{emulate.Whole, true, "", ""},
		{emulate.NoFullWait, false, dead, dead},
		{emulate.NoEmptyWait, false, "threads 0 to 255 wait for phase", "thread 256 arrives at mbarrier 0, which lacks none of its 1 arrivals in phase 0, but 49152 bytes"},
		{emulate.FewBytes, false, "lacks 0 of 1 arrivals and -16384 bytes", dead},
		{emulate.ManyBytes, false, "lacks 0 of 1 arrivals and 128 bytes", "lacks 0 of 1 arrivals and 128 bytes"},
		{emulate.NoArrival, false, "thread 256 waits for phase 0 of mbarrier 1, which lacks 1 of 2 arrivals and 0 bytes", dead},
		{emulate.TwoArrivals, false, "", values},
		{emulate.NoProductWait, false, "", values},
		{emulate.NoProductWait, true, "", values},
		{emulate.NoLastWait, false, "wrote to a sum of products that are under way", "wrote to a sum of products that are under way"},
		{emulate.NoLastWait, true, read, read},
		{emulate.NoSumFence, false, fence, fence},
		{emulate.NoSumFence, true, fence, fence},
		{emulate.NoAsyncFence, true, "which thread 0 wrote without a fence.proxy.async since", "which thread 0 wrote without a fence.proxy.async since"},
		{emulate.NoBarrierFence, false, "mbarrier 0, whose beginning was not fenced", "mbarrier 0, whose beginning was not fenced"},
		{emulate.NoMapFence, false, "by a map that its block has not fenced", "by a map that its block has not fenced"},
		{emulate.OtherSwizzle, false, values, values},
		{emulate.OtherStride, false, "a product reaches byte", "a product reaches byte"},
		{emulate.OtherStride, true, "a product reaches byte", "a product reaches byte"},
	} {
		for _, backwards := range []bool{false, true} {
			got := func() (said string) {
				var fault *Fault
				d := Over(emulate.New(), func(f *Fault) { fault = f; panic(f) })
				defer emulate.Break(c.what)()
				defer emulate.Order{Backwards: backwards}.Set()()
				defer func() {
					if fault != nil {
						recover()
						said = fault.Error()
					}
					d.Close()
				}()
				d.copies, d.product = c.copies, brainKernels[0]
				b := brainBench{t, d, rand.New(rand.NewPCG(5, 5))}
				if err := b.several(300, 640, []int{520, 136}, storeFloat); err != nil {
					return values + err.Error()
				}
				return ""
			}()
			want := c.forwards
			if backwards {
				want = c.backwards
			}
			// Checked, it is found first that the product reads a stage which is being copied.
			raced := c.what == emulate.OtherStride && c.copies && strings.Contains(got, "race: ")
			if (want == "") != (got == "") || !strings.Contains(got, want) && !raced {
				t.Errorf("broken in way %d (copies by threads %v), backwards %v: %q, want %q", c.what, c.copies, backwards, got, want)
			}
		}
	}
}

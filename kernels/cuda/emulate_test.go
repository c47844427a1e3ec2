//go:build emulate && amd64

package cuda

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/cuda/emulate"
	"github.com/evalrun/evalrun/kernels/format"
	"github.com/evalrun/evalrun/kernels/kerneltest"
)

// The kernels on the processor: their logic, not their speed.
func TestEmulated(t *testing.T) {
	d := Over(emulate.New(), nil)
	defer d.Close()
	kerneltest.Run(t, d)
	kerneltest.RunTrain(t, d)
}

// The same with the shared memory of GPUs for games, capability 8.6, 8.9 and 12.0, the
// least that there is.
func TestEmulatedInLittle(t *testing.T) {
	m := emulate.New()
	m.Together = 99 << 10
	d := Over(m, nil)
	defer d.Close()
	kerneltest.Run(t, d)
	kerneltest.RunTrain(t, d)
}

func TestEmulatedRounded(t *testing.T) {
	eachTile(t, func(t testing.TB) *Device { return Over(emulate.New(), nil) })
}

func TestEmulatedTiles(t *testing.T) {
	d := Over(emulate.New(), nil)
	defer d.Close()
	if err := d.Brain(); err != nil {
		t.Fatal(err)
	}
	for _, m := range []int{300, 340} {
		tilesAgree(t, d, m, []int{520, 136, 200}, 64)
	}
}

func TestEmulatedSameBits(t *testing.T) {
	open := func(int) *Device { return Over(emulate.New(), nil) }
	kerneltest.SameBits(t, func(threads int) kernels.Device { return open(threads) })
	kerneltest.SameBitsTrain(t, func(threads int) kernels.TrainDevice { return open(threads) })
}

// Dequantising to bfloat16 gives the weight's values rounded.
func TestEmulatedDequantise(t *testing.T) {
	d := Over(emulate.New(), nil)
	defer d.Close()
	dequantised(t, d)
}

// Decoding steps become graphs, and what differs between tokens changes few of
// their parameters.
func TestEmulatedGraphs(t *testing.T) {
	machine := emulate.New()
	d := Over(machine, nil)
	defer d.Close()
	a, _ := d.Alloc(format.F32, 64)
	cosine, _ := d.Alloc(format.F32, 32)
	x := on(a, 64, "a")
	for step := range 10 {
		d.Together(func() {
			for range 3 {
				d.Rope(a, 2, 16, cosine, cosine, 8, []int32{int32(step % 4), 1}, kernels.RopeHalves)
				d.Add(a, a, 64)
			}
		})
	}
	if c, why := d.Steps(); c != (StepCounts{Graphs: 9, Single: 6}) || why != nil {
		t.Errorf("%+v, %v: want 9 steps as graphs, nothing set in them, and 6 kernels one by one", c, why)
	}
	if err := d.TryGraphs(); err != nil {
		t.Error(err)
	}
	// Another buffer is another parameter.
	b, _ := d.Alloc(format.F32, 64)
	d.Together(func() {
		for i := range 3 {
			d.Rope(a, 2, 16, cosine, cosine, 8, []int32{2, 1}, kernels.RopeHalves)
			d.Add([]kernels.Buffer{a, b, a}[i], a, 64)
		}
	})
	if c, _ := d.Steps(); c.Set != 1 || c.Graphs != 11 {
		t.Errorf("%+v: want one kernel's parameters set", c)
	}
	if on(a, 64, "a") != x {
		t.Error("a moved")
	}
}

// Where a driver keeps no graphs, steps run kernel by kernel, with the same bits.
func TestEmulatedWithoutGraphs(t *testing.T) {
	machine := emulate.New()
	machine.NoGraphs = errors.New("no graphs today")
	d := Over(machine, nil)
	defer d.Close()
	a, _ := d.Alloc(format.F32, 4)
	for range 5 {
		d.Together(func() { d.Fill(a, 4, 2); d.Add(a, a, 4) })
	}
	got := make([]float32, 4)
	d.Read(got, a)
	if err := d.TryGraphs(); !errors.Is(err, machine.NoGraphs) {
		t.Errorf("why there are no graphs: %v", err)
	}
	if c, why := d.Steps(); c.Graphs != 0 || !errors.Is(why, machine.NoGraphs) || got[3] != 4 {
		t.Errorf("%+v, %v, value %g", c, why, got[3])
	}
}

// Attention of training on the matrix units, whose fragments the emulation
// exchanges between the lanes of a warp.
func TestEmulatedFlash(t *testing.T) {
	d := Over(emulate.New(), nil)
	defer d.Close()
	flashOn(t, d)
}

func TestEmulatedThirds(t *testing.T) {
	d := Over(emulate.New(), nil)
	defer d.Close()
	thirdsOn(t, d)
}

func TestEmulatedNarrow(t *testing.T) {
	d := Over(emulate.New(), nil)
	defer d.Close()
	narrowOn(t, d)
}

func TestEmulatedBlocks(t *testing.T) {
	d := Over(emulate.New(), nil)
	defer d.Close()
	blocksOn(t, d, blockTypes)
}

// little is the emulation with less shared memory than a row of x, or a tile of 64 rows,
// takes.
func little() *emulate.Machine {
	m := emulate.New()
	m.Together = 64 << 10
	return m
}

func TestEmulatedBlocksInLittle(t *testing.T) {
	d := Over(little(), nil)
	defer d.Close()
	blocksOn(t, d, []format.Type{format.Q8_0, format.Q4_K})
}

// The window that is measured on a GPU, in a small shape.
func TestEmulatedWindow(t *testing.T) {
	d := Over(emulate.New(), nil)
	defer d.Close()
	if err := d.Brain(); err != nil {
		t.Fatal(err)
	}
	w := newWindow(t, d, modelShape{2, 128, 192, 2, 1, 64, 128}, 2, 20, true)
	if err := w.pass.Decode(); err != nil {
		t.Fatal(err)
	}
	w.step(d)
	t.Log(profile(d, func() { w.step(d) }))
}

func TestEmulatedWindowsAgree(t *testing.T) {
	d := Over(emulate.New(), nil)
	defer d.Close()
	if err := d.Brain(); err != nil {
		t.Fatal(err)
	}
	windowsAgree(t, d)
}

// The same as an RTX 3090 or 4090 computes it.
func TestEmulatedWindowsAgreeInLittle(t *testing.T) {
	m := emulate.New()
	m.Together = 99 << 10
	d := Over(m, nil)
	defer d.Close()
	d.brain, d.copies, d.product = true, true, brainKernels[1]
	windowsAgree(t, d)
}

// A row of a layer of NF4 goes through the kernels that join operations; what
// kerneltest compares there is not twice the same.
func TestEmulatedFused(t *testing.T) {
	for _, round := range []format.Type{format.BF16, format.F16} {
		t.Run(round.String(), func(t *testing.T) { fusedOn(t, Over(emulate.New(), nil), round) })
	}
}

func fusedOn(t *testing.T, d *Device, round format.Type) {
	defer d.Close()
	var ws []kernels.Prepared
	for _, n := range []int{96, 70, 70} {
		w, err := d.Prepare(nf4(t, n, 128, round), kernels.ForMatMul)
		if err != nil {
			t.Fatal(err)
		}
		ws = append(ws, w)
	}
	a, _ := d.Alloc(format.F32, 2*96)
	b, _ := d.Alloc(format.F32, 2*96)
	c, _ := d.Alloc(format.F32, 2*96)
	x, _ := d.Alloc(format.F32, 2*128)
	if !d.MatMuls([]kernels.Buffer{a, b, c}, x, 1, ws) || !d.MatMulGate(b, x, 1, ws[1], ws[2], kernels.SiLU) {
		t.Error("products of one row were not joined")
	}
	if !d.MatMuls([]kernels.Buffer{a, b}, x, 2, ws[:2]) {
		t.Error("products of two rows were not joined")
	}
	if d.MatMulGate(b, x, 1, ws[0], ws[1], kernels.SiLU) {
		t.Error("a gate of another width was joined")
	}
	other, err := d.Prepare(kernels.Weight{Name: "w", Type: format.F32, N: 4, K: 128, Data: make([]byte, 4*4*128)}, kernels.ForMatMul)
	if err != nil {
		t.Fatal(err)
	}
	if d.MatMuls([]kernels.Buffer{a, b}, x, 1, []kernels.Prepared{ws[0], other}) {
		t.Error("weights of two formats were joined")
	}
	var blocks []kernels.Prepared
	for _, typ := range []format.Type{format.Q8_0, format.Q8_0, format.Q4_0} {
		w, err := d.Prepare(blocksOf(t, typ, 20, 64), kernels.ForMatMul)
		if err != nil {
			t.Fatal(err)
		}
		blocks = append(blocks, w)
	}
	if !d.MatMuls([]kernels.Buffer{a, b}, x, 1, blocks[:2]) || !d.MatMulGate(b, x, 1, blocks[0], blocks[1], kernels.SiLU) || d.MatMulGate(b, x, 1, blocks[1], blocks[2], kernels.SiLU) {
		t.Error("not just weights of one of GGUF's formats were joined")
	}
}

// manyProcessors is the emulation with enough of them to share out pages.
type manyProcessors struct{ *emulate.Machine }

func (manyProcessors) Processors() int { return 6 }

func TestEmulatedAttention(t *testing.T) {
	d := Over(manyProcessors{emulate.New()}, nil)
	defer d.Close()
	longAttention(t, d, []int{1, 560, 33, 833, 256, 30, 40, 50}, attentionShapes()...)
}

// The way back through attention gives the same bits in tiles of 32, 16 and 8 rows, which
// are those that the shared memory of different GPUs has room for.
func TestEmulatedAttentionBackTiles(t *testing.T) {
	const heads, kvHeads, dim, rows = 4, 2, 80, 50
	s := kernels.AttentionShape{Heads: heads, KVHeads: kvHeads, Dim: dim, AttentionOptions: kernels.AttentionOptions{Scale: 0.1, Window: 29, SoftCap: 3}}
	rng := rand.New(rand.NewPCG(9, 9))
	random := func(n int) []float32 {
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(rng.NormFloat64())
		}
		return x
	}
	wide, narrow := rows*heads*dim, rows*kvHeads*dim
	inputs := [][]float32{random(wide), random(wide), random(rows * heads), random(wide), random(narrow), random(narrow)} // dy, y, lse, q, k, v
	var want []float32
	for _, room := range []int{227 << 10, 48 << 10, 20 << 10} {
		m := emulate.New()
		m.Together = room
		d := Over(m, nil)
		var in, out []kernels.Buffer
		for _, x := range inputs {
			b, _ := d.Alloc(format.F32, len(x))
			d.Write(b, x)
			in = append(in, b)
		}
		for _, n := range []int{wide, narrow, narrow} {
			b, _ := d.Alloc(format.F32, n)
			d.Fill(b, n, 7)
			out = append(out, b)
		}
		d.AttentionBack(out[0], out[1], out[2], in[0], in[1], in[2], in[3], in[4], in[5], []kernels.Run{{Row: 0, N: 9}, {Row: 10, N: 40}}, s)
		var got []float32
		for i, n := range []int{wide, narrow, narrow} {
			part := make([]float32, n)
			d.Read(part, out[i])
			got = append(got, part...)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		if want == nil {
			want = got
		}
		if got[9*heads*dim] != 7 || got[0] == 7 || !slices.Equal(got, want) {
			t.Fatalf("with %d bytes of shared memory the gradients are others than with %d, or a row of no run was written", room, 227<<10)
		}
	}
}

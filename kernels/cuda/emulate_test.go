//go:build emulate && amd64

package cuda

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/cuda/emulate"
	"github.com/evalrun/evalrun/kernels/format"
	"github.com/evalrun/evalrun/kernels/kerneltest"
)

// counted is the emulation that holds each start to the number of parameters that
// the PTX declares: a GPU refuses another, the emulation would not see it.
type counted struct {
	*emulate.Machine
	t          testing.TB
	parameters map[string]int
	names      map[uintptr]string
}

func newCounted(t testing.TB) *counted {
	c := &counted{emulate.New(), t, map[string]int{}, map[uintptr]string{}}
	files, err := filepath.Glob("ptx/*.ptx")
	if err != nil || len(files) == 0 {
		t.Fatal("no PTX: ", err)
	}
	entry := regexp.MustCompile(`(?s)\.entry (\w+)\((.*?)\)`)
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range entry.FindAllStringSubmatch(string(text), -1) {
			c.parameters[m[1]] = strings.Count(m[2], ".param")
		}
	}
	return c
}

func (c *counted) Function(name string) (uintptr, error) {
	f, err := c.Machine.Function(name)
	c.names[f] = name
	return f, err
}

func (c *counted) Launch(f uintptr, gridX, gridY, threads, shared int, args []uint64) error {
	if name := c.names[f]; len(args) != c.parameters[name] {
		c.t.Errorf("kernel %s is started with %d parameters and declares %d", name, len(args), c.parameters[name])
	}
	return c.Machine.Launch(f, gridX, gridY, threads, shared, args)
}

// The kernels on the processor: their logic, not their speed.
func TestEmulated(t *testing.T) {
	d := Over(newCounted(t), nil)
	defer d.Close()
	kerneltest.Run(t, d)
	kerneltest.RunTrain(t, d)
}

func TestEmulatedRounded(t *testing.T) {
	eachTile(t, func(t testing.TB) *Device { return Over(newCounted(t), nil) })
}

func TestEmulatedTiles(t *testing.T) {
	d := Over(newCounted(t), nil)
	defer d.Close()
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
	x, cosine := on(a, 64, "a"), a.Slice(0, 32)
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
	d := Over(newCounted(t), nil)
	defer d.Close()
	thirdsOn(t, d)
}

func TestEmulatedNarrow(t *testing.T) {
	d := Over(emulate.New(), nil)
	defer d.Close()
	narrowOn(t, d)
}

func TestEmulatedBlocks(t *testing.T) {
	d := Over(newCounted(t), nil)
	defer d.Close()
	blocksOn(t, d, blockTypes)
}

// little is the emulation with less shared memory than a row of x, or a tile of 64 rows,
// takes.
type little struct{ *counted }

func (little) Shared() int { return 64 << 10 }

func TestEmulatedBlocksInLittle(t *testing.T) {
	d := Over(little{newCounted(t)}, nil)
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
	d := Over(newCounted(t), nil)
	defer d.Close()
	if err := d.Brain(); err != nil {
		t.Fatal(err)
	}
	windowsAgree(t, d)
}

// A row of a layer of NF4 goes through the kernels that join operations; what
// kerneltest compares there is not twice the same.
func TestEmulatedFused(t *testing.T) {
	for _, round := range []format.Type{format.BF16, format.F16} {
		t.Run(round.String(), func(t *testing.T) { fusedOn(t, Over(newCounted(t), nil), round) })
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
	x, _ := d.Alloc(format.F32, 2*128)
	if !d.MatMuls([]kernels.Buffer{a, b, b}, x, 1, ws) || !d.MatMulGate(b, x, 1, ws[1], ws[2], kernels.SiLU) {
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

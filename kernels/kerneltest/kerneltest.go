// Package kerneltest is the contract of kernels.Device as tests: every device
// computes what ref computes, and computes the same bits however its work is
// cut and shared out. A device's own tests call Run and SameBits.
package kerneltest

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/format"
	"github.com/evalrun/evalrun/kernels/ref"
)

// guard surrounds every output; a device that writes beyond its output changes
// it.
const guard = 8

// bench is one test's pair of devices and its source of numbers.
type bench struct {
	*testing.T
	dev  kernels.Device
	ref  kernels.Device
	rand *rand.Rand
}

// Run compares dev with ref on random shapes. dev stays open.
func Run(t *testing.T, dev kernels.Device) {
	for _, c := range []struct {
		name string
		test func(bench)
	}{
		{"Embed", embed}, {"MatMul", matmul}, {"LoRA", lora}, {"RowNorms", rowNorms},
		{"RMSNorm", rmsNorm}, {"LayerNorm", layerNorm}, {"Rope", rope},
		{"Activations", activations}, {"Elementwise", elementwise}, {"Columns", columns}, {"Round", round}, {"Gather", gather},
		{"Attention", attention}, {"CopyPage", copyPage}, {"Fused", fused}, {"Together", together}, {"Stage", stage}, {"Refusals", refusals},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.test(bench{t, dev, ref.New64(), rand.New(rand.NewPCG(7, uint64(len(c.name))))})
		})
	}
}

func (b bench) normal(n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(b.rand.NormFloat64())
	}
	return x
}

// on puts values on a device.
func on(t testing.TB, dev kernels.Device, values []float32) kernels.Buffer {
	t.Helper()
	buf, err := dev.Alloc(format.F32, len(values))
	if err != nil {
		t.Fatal(err)
	}
	dev.Write(buf, values)
	return buf
}

// output is a buffer for n results between guards, filled with start.
func output(t testing.TB, dev kernels.Device, n int, start []float32) (inner, whole kernels.Buffer) {
	t.Helper()
	fill := make([]float32, n+2*guard)
	for i := range fill {
		fill[i] = 12345.5
	}
	copy(fill[guard:], start)
	whole = on(t, dev, fill)
	return whole.Slice(guard, guard+n), whole
}

// result reads an output and checks its guards.
func result(t testing.TB, dev kernels.Device, whole kernels.Buffer) []float32 {
	t.Helper()
	all := make([]float32, whole.Len())
	dev.Read(all, whole)
	n := len(all) - 2*guard
	for i := range guard {
		if all[i] != 12345.5 || all[guard+n+i] != 12345.5 {
			t.Fatalf("%s wrote beyond its output", dev.Name())
		}
	}
	return all[guard : guard+n]
}

// both runs f on the device and on ref and compares the n results.
func (b bench) both(what string, n int, tolerance float64, start []float32, f func(dev kernels.Device, dst kernels.Buffer)) {
	b.Helper()
	var got [2][]float32
	for i, dev := range []kernels.Device{b.dev, b.ref} {
		dst, whole := output(b, dev, n, start)
		f(dev, dst)
		got[i] = result(b, dev, whole)
	}
	near(b, what, got[0], got[1], tolerance)
}

func near(t testing.TB, what string, got, want []float32, tolerance float64) {
	t.Helper()
	for i := range want {
		diff := math.Abs(float64(got[i]) - float64(want[i]))
		if !(diff <= tolerance*(1+math.Abs(float64(want[i])))) && got[i] != want[i] {
			t.Fatalf("%s: value %d is %g, ref has %g", what, i, got[i], want[i])
		}
	}
}

// same wants equal bits.
func same(t testing.TB, what string, got, want []float32) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d values, want %d", what, len(got), len(want))
	}
	for i := range want {
		if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
			t.Fatalf("%s: value %d is %v, was %v: not the same bits", what, i, got[i], want[i])
		}
	}
}

// A layout is a way in which a checkpoint stores a weight.
type layout struct {
	name string
	make func(b bench, n, k int) kernels.Weight
	rows int // the length of a row is a multiple of it
}

// layouts are those that hold weights.
var layouts = []layout{
	plain(format.F32), plain(format.F16), plain(format.BF16), plain(format.Q8_0), plain(format.Q4_0), kQuant(format.Q4_1), kQuant(format.Q5_0), kQuant(format.Q5_1),
	kQuant(format.Q2_K), kQuant(format.Q3_K), kQuant(format.Q4_K), kQuant(format.Q5_K), kQuant(format.Q6_K),
	quantised("NF4", format.NF4, format.F32, false), quantised("NF4 double BF16", format.NF4, format.BF16, true),
	quantised("FP4 F16", format.FP4, format.F16, false), quantised("INT8", format.Int8, format.F32, false),
}

// values are of the size that keeps products near 1.
func (b bench) values(n, k int) []float32 {
	values := b.normal(n * k)
	for i := range values {
		values[i] /= float32(math.Sqrt(float64(k)))
	}
	return values
}

// weight makes a random weight of a plain type.
func (b bench) weight(typ format.Type, n, k int) kernels.Weight { return plain(typ).make(b, n, k) }

func plain(typ format.Type) layout {
	return layout{typ.Name(), func(b bench, n, k int) kernels.Weight {
		size, ok := typ.Bytes(int64(n * k))
		if !ok {
			b.Fatalf("%d values of %v", n*k, typ)
		}
		data := make([]byte, size)
		typ.Encode(data, b.values(n, k))
		return kernels.Weight{Name: "w", Type: typ, N: n, K: k, Data: data}
	}, typ.BlockSize()}
}

// kQuant makes random blocks of a type that is only read, with binary16 scales
// of a sensible size.
func kQuant(typ format.Type) layout {
	return layout{typ.Name(), func(b bench, n, k int) kernels.Weight {
		size, ok := typ.Bytes(int64(n * k))
		if !ok {
			b.Fatalf("%d values of %v", n*k, typ)
		}
		data := make([]byte, size)
		RandomBlocks(b.rand, typ, data, func() float32 { return 2e-4 * b.rand.Float32() })
		return kernels.Weight{Name: "w", Type: typ, N: n, K: k, Data: data}
	}, typ.BlockSize()}
}

// RandomBlocks fills blocks of a format of GGML's with random codes, and with scales and
// minima that scale gives.
func RandomBlocks(rng *rand.Rand, typ format.Type, data []byte, scale func() float32) {
	at := map[format.Type][]int{format.Q8_0: {0}, format.Q4_0: {0}, format.Q4_1: {0, 2}, format.Q5_0: {0}, format.Q5_1: {0, 2},
		format.Q2_K: {80, 82}, format.Q3_K: {108}, format.Q4_K: {0, 2}, format.Q5_K: {0, 2}, format.Q6_K: {208}}[typ]
	for i := range data {
		data[i] = byte(rng.Uint32())
	}
	for block := 0; block < len(data); block += typ.BlockBytes() {
		for _, a := range at {
			binary.LittleEndian.PutUint16(data[block+a:], format.F32ToF16(scale()))
		}
	}
}

// quantised makes weights whose values do not begin with the first code, as in
// a part of a fused matrix.
func quantised(name string, kind format.QuantKind, round format.Type, double bool) layout {
	return layout{name, func(b bench, n, k int) kernels.Weight {
		lead := b.rand.IntN(3) // rows
		values := b.values(n+lead, k)
		block := 64
		if kind == format.Int8 {
			block = k
		}
		q, err := format.Quantize(kind, block, len(values), round, func(dst []float32, from int) { copy(dst, values[from:]) })
		if err != nil {
			b.Fatal(err)
		}
		if double {
			q.Double()
		}
		return kernels.Weight{Name: "w", N: n + lead, K: k, Quant: q}.Rows(lead, n+lead)
	}, 1}
}

func prepare(t testing.TB, dev kernels.Device, w kernels.Weight, use kernels.Use) kernels.Prepared {
	t.Helper()
	p, err := dev.Prepare(w, use)
	if err != nil {
		t.Fatal(err)
	}
	if n, k := p.Shape(); n != w.N || k != w.K {
		t.Fatalf("prepared as [%d, %d], want [%d, %d]", n, k, w.N, w.K)
	}
	return p
}

func embed(b bench) {
	for _, l := range layouts {
		w := l.make(b, 13, 3*max(l.rows, 31))
		ids := []int32{0, 12, 5, 5}
		b.both(l.name, len(ids)*w.K, 0, nil, func(dev kernels.Device, dst kernels.Buffer) {
			dev.Embed(dst, prepare(b, dev, w, kernels.ForEmbed|kernels.ForMatMul), ids)
		})
	}
}

func matmul(b bench) {
	for _, l := range layouts {
		for _, s := range [][3]int{{1, 1, 32}, {1, 16, 32}, {2, 17, 64}, {3, 70, 96}, {7, 64, 256}, {5, 131, 352}, {25, 33, 160}, {67, 80, 64}} {
			m, n, k := s[0], s[1], s[2]
			b.matmulOnce(l, m, n, (k+l.rows-1)/l.rows*l.rows)
		}
		if l.rows > 1 {
			continue
		}
		for _, k := range []int{1, 2, 3, 5, 7, 13, 31, 67, 101} { // rows of any length
			b.matmulOnce(l, 1+k%9, 1+k%37, k)
		}
	}
	b.matmulOnce(quantised("NF4", format.NF4, format.F32, true), 2, 40, 9001) // long rows go in narrower panels
}

func (b bench) matmulOnce(l layout, m, n, k int) {
	b.Helper()
	w, x, start := l.make(b, n, k), b.normal(m*k), b.normal(m*n)
	for _, e := range []kernels.Epilogue{kernels.Store, kernels.Add} {
		what := fmt.Sprintf("%s [%d, %d] x [%d, %d], epilogue %d", l.name, m, k, n, k, e)
		b.both(what, m*n, 2e-5, start, func(dev kernels.Device, dst kernels.Buffer) {
			dev.MatMul(dst, on(b, dev, x), m, prepare(b, dev, w, kernels.ForMatMul), e)
		})
	}
}

func refusals(b bench) {
	w := b.weight(format.Q8_0, 4, 64)
	for what, broken := range map[string]kernels.Weight{
		"short data":  {Name: "w", Type: w.Type, N: 4, K: 64, Data: w.Data[:len(w.Data)-1]},
		"ragged rows": {Name: "w", Type: w.Type, N: 4, K: 48, Data: w.Data},
		"no rows":     {Name: "w", Type: w.Type, N: 0, K: 64, Data: w.Data},
		"no type":     {Name: "w", N: 4, K: 64, Data: w.Data},
		"few codes":   {Name: "w", N: 4, K: 64, Quant: &format.Quant{Kind: format.NF4, Codes: make([]byte, 127), Block: 64, Map: make([]float32, 16), Absmax: make([]float32, 4), Round: format.F32}},
		"few scales":  {Name: "w", N: 4, K: 64, Quant: &format.Quant{Kind: format.NF4, Codes: make([]byte, 128), Block: 64, Map: make([]float32, 16), Absmax: make([]float32, 3), Round: format.F32}},
	} {
		if _, err := b.dev.Prepare(broken, kernels.ForMatMul); err == nil {
			b.Errorf("%s: prepared", what)
		}
	}
	if _, err := b.dev.AllocKV(0, 1, 1); err == nil {
		b.Error("a cache without pages was given")
	}
	if _, err := b.dev.Alloc(format.F32, -1); err == nil {
		b.Error("a negative buffer was given")
	}
}

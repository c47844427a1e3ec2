//go:build cuda

package cuda

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/format"
	"github.com/evalrun/evalrun/kernels/kerneltest"
)

func openGPU(t testing.TB) *Device {
	t.Helper()
	d, err := Open(0, nil)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestContract(t *testing.T) {
	d := openGPU(t)
	defer d.Close()
	t.Log(d.Description())
	kerneltest.Run(t, d)
	kerneltest.RunTrain(t, d)
}

func TestSameBits(t *testing.T) {
	keep := openGPU(t) // the context stays while the test's devices come and go
	defer keep.Close()
	kerneltest.SameBits(t, func(int) kernels.Device { return openGPU(t) })
	kerneltest.SameBitsTrain(t, func(int) kernels.TrainDevice { return openGPU(t) })
}

func TestDequantise(t *testing.T) {
	d := openGPU(t)
	defer d.Close()
	dequantised(t, d)
}

func TestThirds(t *testing.T) {
	d := openGPU(t)
	defer d.Close()
	thirdsOn(t, d)
}

func TestFlash(t *testing.T) {
	d := openGPU(t)
	defer d.Close()
	flashOn(t, d)
}

func TestNarrow(t *testing.T) {
	d := openGPU(t)
	defer d.Close()
	narrowOn(t, d)
}

// Products of bfloat16 values: against the exact ones of the rounded operands,
// in shapes that fill no tile, and a row the same alone.
func TestBrain(t *testing.T) {
	t.Run("tiles", func(t *testing.T) { brainOn(t, nil) })
	for _, k := range brainKernels {
		t.Run(k.name, func(t *testing.T) { brainOn(t, &k) })
	}
}

// brainOn goes through a kernel whose threads copy, or through the tensor memory unit.
func brainOn(t *testing.T, by *brainKernel) {
	exact, fast := openGPU(t), openGPU(t)
	defer exact.Close()
	defer fast.Close()
	if err := fast.Brain(); err != nil {
		t.Skip(err)
	}
	if by != nil {
		fast.copies, fast.product = true, *by
	}
	rng := rand.New(rand.NewPCG(5, 5))
	for _, s := range [][3]int{{1, 64, 64}, {3, 70, 192}, {130, 300, 128}, {257, 513, 1024}, {64, 4096, 4096}} {
		m, n, k := s[0], s[1], s[2]
		w := nf4(t, n, k, format.BF16)
		x, back := make([]float32, m*k), make([]float32, m*n)
		for _, v := range [][]float32{x, back} {
			for i := range v {
				v[i] = float32(rng.NormFloat64())
			}
			format.RoundTo(v, format.BF16)
		}
		run := func(d *Device, rows int, add kernels.Epilogue, turned bool) []float32 {
			p, err := d.Prepare(w, kernels.ForMatMul)
			if err != nil {
				t.Fatal(err)
			}
			in, width := x[:rows*k], n
			if turned {
				in, width = back[:rows*n], k
			}
			a, _ := d.Alloc(format.F32, len(in))
			b, _ := d.Alloc(format.F32, rows*width)
			d.Write(a, in)
			d.Fill(b, rows*width, 0.5)
			if turned {
				d.MatMulBack(b, a, rows, p, add)
			} else {
				d.MatMul(b, a, rows, p, add)
			}
			got := make([]float32, rows*width)
			d.Read(got, b)
			return got
		}
		for _, turned := range []bool{false, true} {
			for _, e := range []kernels.Epilogue{kernels.Store, kernels.Add} {
				got, want := run(fast, m, e, turned), run(exact, m, e, turned)
				for i := range want {
					if math.Abs(float64(got[i]-want[i])) > 3e-5*math.Sqrt(float64(len(want)/m))+1e-4 {
						t.Fatalf("%v, turned %v, epilogue %d: value %d is %g, want %g", s, turned, e, i, got[i], want[i])
					}
				}
				one := run(fast, 1, e, turned)
				for i := range one {
					if one[i] != got[i] {
						t.Fatalf("%v: value %d of a row alone is %g, was %g", s, i, one[i], got[i])
					}
				}
			}
		}
	}
}

// Products that round, and values of bfloat16 between them: copies by threads, and each
// width of tiles.
func TestRounded(t *testing.T) { eachTile(t, openGPU) }

func TestWindowsAgree(t *testing.T) {
	d := openGPU(t)
	defer d.Close()
	if err := d.Brain(); err != nil {
		t.Skip(err)
	}
	windowsAgree(t, d)
}

// Tiles of every width give the bits of copies by threads, over several turns of all
// processors, the last row of tiles half empty or not.
func TestTiles(t *testing.T) {
	d := openGPU(t)
	defer d.Close()
	if err := d.Brain(); err != nil {
		t.Skip(err)
	}
	for _, m := range []int{820, 3280} {
		tilesAgree(t, d, m, []int{4096, 1024, 14336}, 192)
	}
}

// ceilings of an H100 SXM, for the figures' shares.
const (
	peakBytes = 3.35e12
	peakBrain = 790e12 // what a library's product reaches
	peakFloat = 67e12
)

// measure finds the time of one f on the GPU, over a quarter of a second after a
// warm-up. b.N is not looked at: run with -test.benchtime 1x.
func measure(d *Device, f func()) time.Duration {
	f()
	d.Sync()
	for n := 2; ; n *= 2 {
		start := time.Now()
		for range n {
			f()
		}
		d.Sync()
		if t := time.Since(start); t > 250*time.Millisecond {
			return t / time.Duration(n)
		}
	}
}

// timed reports the rate of f beside its ceiling.
func timed(b *testing.B, d *Device, amount, ceiling float64, unit string, f func()) {
	rate := amount / measure(d, f).Seconds()
	b.ReportMetric(rate/1e12, unit)
	b.ReportMetric(100*rate/ceiling, "%ofceiling")
}

func BenchmarkCopy(b *testing.B) {
	d := openGPU(b)
	defer d.Close()
	const n = 512 << 20 / 4
	x, _ := d.Alloc(format.F32, n)
	y, _ := d.Alloc(format.F32, n)
	timed(b, d, 8*n, peakBytes, "TB/s", func() { d.Scale(y, x, n, 2) })
}

func BenchmarkDequantiseNF4(b *testing.B) {
	d := openGPU(b)
	defer d.Close()
	w := nf4(b, 8192, 14336, format.BF16)
	p, err := d.Prepare(w, kernels.ForMatMul)
	if err != nil {
		b.Fatal(err)
	}
	n := w.N * w.K
	out := d.scratch(n / 2)
	timed(b, d, float64(w.Quant.Bytes(int64(n)))+2*float64(n), peakBytes, "TB/s", func() { d.dequantise(out.at, p.(*weight)) })
}

func BenchmarkGEMMBF16(b *testing.B) {
	d := openGPU(b)
	defer d.Close()
	if err := d.Brain(); err != nil {
		b.Skip(err)
	}
	for _, s := range []struct {
		n  int
		by string
	}{{4096, "gemmMatrix"}, {4096, "gemmBrain"}, {4096, "tiles"}, {8192, "gemmMatrix"}, {8192, "gemmBrain"}, {8192, "tiles"}} {
		b.Run(fmt.Sprintf("%d/%s", s.n, s.by), func(b *testing.B) {
			n := s.n
			x, _ := d.Alloc(format.F32, n*n)
			host := make([]float32, n*n)
			rng := rand.New(rand.NewPCG(1, 1))
			for i := range host {
				host[i] = rng.Float32() - 0.5
			}
			d.Write(x, host)
			a, w, out := d.scratch(n*n/2), d.scratch(n*n/2), d.scratch(n*n)
			d.each("toBrain", n*n/8, a.at, on(x, n*n, "x"), num(n*n))
			d.each("toBrain", n*n/8, w.at, on(x, n*n, "x"), num(n*n))
			d.copies = s.by != "tiles"
			for _, k := range brainKernels {
				if k.name == s.by {
					d.product = k
				}
			}
			timed(b, d, 2*float64(n)*float64(n)*float64(n), peakBrain, "TFLOP/s", func() { d.gemmBrain(a.at, n, n, product{w.at, target{dst: out.at, n: n}}) })
		})
	}
}

// BenchmarkTiles is a product of training by the columns of a tile; which is taken, the
// device says by a count alone. A shape of [820, 6144] is queries, keys and values.
func BenchmarkTiles(b *testing.B) {
	d := openGPU(b)
	defer d.Close()
	if err := d.Brain(); err != nil {
		b.Skip(err)
	}
	all := brainTiles
	defer func() { brainTiles = all }()
	for _, s := range [][3]int{{820, 4096, 4096}, {820, 6144, 4096}, {820, 4096, 14336}, {3280, 4096, 4096}, {3280, 14336, 4096}} {
		m, n, k := s[0], s[1], s[2]
		host := make([]float32, max(m, n)*k)
		rng := rand.New(rand.NewPCG(1, 1))
		for i := range host {
			host[i] = rng.Float32() - 0.5
		}
		x, _ := d.Alloc(format.BF16, m*k)
		w, _ := d.Alloc(format.BF16, n*k)
		d.Write(x, host[:m*k])
		d.Write(w, host[:n*k])
		out, _ := d.Alloc(format.BF16, m*n)
		ps := []product{{onBrain(w, n*k, "w"), target{dst: onBrain(out, m*n, "out"), n: n, how: howBrain}}}
		brainTiles = all
		taken, _ := d.brainTile((m+brainRows-1)/brainRows, halfEmpty(m), ps)
		for i, t := range all {
			name := fmt.Sprintf("%dx%dx%d/%d", m, n, k, t.cols)
			if i == taken {
				name += ",taken"
			}
			b.Run(name, func(b *testing.B) {
				brainTiles = all[i : i+1]
				timed(b, d, 2*float64(m)*float64(n)*float64(k), peakBrain, "TFLOP/s", func() { d.gemmBrain(onBrain(x, m*k, "x"), m, k, ps...) })
			})
		}
	}
}

// BenchmarkRows are the operations on values and rows of a window of 820 and of 3280
// tokens in Mistral-7B's shape, beside the memory's bandwidth.
func BenchmarkRows(b *testing.B) {
	d := openGPU(b)
	defer d.Close()
	for _, rows := range []int{820, 3280} {
		n, m := rows*width, rows*inner
		buf := func(t format.Type, n int) kernels.Buffer {
			x, err := d.Alloc(t, n)
			if err != nil {
				b.Fatal(err)
			}
			return x
		}
		x, y, w, half := buf(format.F32, n), buf(format.F32, n), buf(format.F32, width), buf(format.BF16, n)
		g, u, a := buf(format.BF16, m), buf(format.BF16, m), buf(format.BF16, m)
		cos, pos := buf(format.F32, rows*dim/2), make([]int32, rows)
		for i := range pos {
			pos[i] = int32(i)
		}
		for _, c := range []struct {
			name  string
			bytes int
			f     func()
		}{
			{"RMSNorm", 8 * n, func() { d.RMSNorm(y, x, w, rows, 1e-5) }},
			{"RMSNorm to bfloat16", 6 * n, func() { d.RMSNorm(half, x, w, rows, 1e-5) }},
			{"RMSNormBack added", 16 * n, func() { d.RMSNormBack(y, nil, x, x, w, rows, 1e-5, kernels.Add) }},
			{"Round to bfloat16", 6 * n, func() { d.Round(half, x, n, format.BF16) }},
			{"Gate", 6 * m, func() { d.Gate(a, g, u, m, kernels.SiLU) }},
			{"GateBack", 10 * m, func() { d.GateBack(g, a, a, g, u, m, kernels.SiLU) }},
			{"Rope", 8 * n, func() { d.Rope(x, heads, dim, cos, cos, dim/2, pos, kernels.RopeHalves) }},
		} {
			b.Run(fmt.Sprintf("%d/%s", rows, c.name), func(b *testing.B) { timed(b, d, float64(c.bytes), peakBytes, "TB/s", c.f) })
		}
	}
}

func BenchmarkGEMMF32(b *testing.B) {
	d := openGPU(b)
	defer d.Close()
	const n = 4096
	for _, rows := range []int{16, 64, 820} {
		b.Run(fmt.Sprint(rows), func(b *testing.B) {
			p, err := d.Prepare(nf4(b, n, n, format.BF16), kernels.ForMatMul)
			if err != nil {
				b.Fatal(err)
			}
			x, _ := d.Alloc(format.F32, rows*n)
			y, _ := d.Alloc(format.F32, rows*n)
			timed(b, d, 2*float64(rows)*n*n, peakFloat, "TFLOP/s", func() { d.MatMul(y, x, rows, p, kernels.Store) })
		})
	}
}

// mistral is the shape of Mistral-7B: 32 layers of random NF4 weights and a
// head in bfloat16.
type mistral struct {
	d                      *Device
	q, k, v, o, up, down   []kernels.Prepared
	gate                   []kernels.Prepared
	head                   kernels.Prepared
	caches                 []kernels.KV
	norm, cos, sin         kernels.Buffer
	x, h, qs, ks, vs, a, b kernels.Buffer
	logits                 kernels.Buffer
	bytes                  int64
	single                 bool // kernel by kernel, without graphs
}

const (
	width, inner, vocab    = 4096, 14336, 32000
	heads, kvHeads, dim    = 32, 8, 128
	layers, context, batch = 32, 1024, 64
)

// newMistral has matrices that random makes.
func newMistral(b *testing.B, d *Device, pages int, random func(n, k int) kernels.Weight) *mistral {
	m := &mistral{d: d}
	prepare := func(w kernels.Weight) kernels.Prepared {
		p, err := d.Prepare(w, kernels.ForMatMul)
		if err != nil {
			b.Fatal(err)
		}
		m.bytes += p.Bytes()
		return p
	}
	square, narrow, wide, tall := random(width, width), random(kvHeads*dim, width), random(inner, width), random(width, inner)
	for range layers {
		m.q, m.o = append(m.q, prepare(square)), append(m.o, prepare(square))
		m.k, m.v = append(m.k, prepare(narrow)), append(m.v, prepare(narrow))
		m.gate, m.up = append(m.gate, prepare(wide)), append(m.up, prepare(wide))
		m.down = append(m.down, prepare(tall))
		kv, err := d.AllocKV(pages, kvHeads, dim)
		if err != nil {
			b.Fatal(err)
		}
		m.caches = append(m.caches, kv)
	}
	m.head = prepare(kernels.Weight{Name: "head", Type: format.BF16, N: vocab, K: width, Data: make([]byte, 2*vocab*width)})
	buf := func(n int) kernels.Buffer {
		x, err := d.Alloc(format.F32, n)
		if err != nil {
			b.Fatal(err)
		}
		return x
	}
	m.norm, m.cos, m.sin = buf(width), buf(context*dim/2), buf(context*dim/2)
	d.Fill(m.norm, width, 1)
	m.x, m.h, m.a, m.b = buf(batch*width), buf(batch*width), buf(batch*inner), buf(batch*inner)
	m.qs, m.ks, m.vs, m.logits = buf(batch*width), buf(batch*kvHeads*dim), buf(batch*kvHeads*dim), buf(batch*vocab)
	d.Fill(m.x, batch*width, 0.01)
	return m
}

// step is the work of one token for each span, and the read of its logits.
func (m *mistral) step(spans []kernels.Span, logits []float32) {
	d, rows := m.d, len(spans)
	pos := make([]int32, rows)
	for i, s := range spans {
		pos[i] = int32(s.Pos)
	}
	work := func() {
		for l := range layers {
			d.RMSNorm(m.h, m.x, m.norm, rows, 1e-5)
			kernels.MatMuls(d, []kernels.Buffer{m.qs, m.ks, m.vs}, m.h, rows, []kernels.Prepared{m.q[l], m.k[l], m.v[l]})
			kernels.RopeStoreKV(d, m.qs, m.ks.Slice(0, rows*kvHeads*dim), m.vs.Slice(0, rows*kvHeads*dim), heads, kvHeads,
				kernels.Rotation{Dim: dim, Cos: m.cos, Sin: m.sin, Half: dim / 2}, pos, m.caches[l], spans)
			d.Attention(m.h, m.qs.Slice(0, rows*width), m.caches[l], spans, heads, kernels.AttentionOptions{Scale: 0.088})
			d.MatMul(m.x, m.h, rows, m.o[l], kernels.Add)
			d.RMSNorm(m.h, m.x, m.norm, rows, 1e-5)
			kernels.MatMulGate(d, m.a, m.b, m.h, rows, m.gate[l], m.up[l], kernels.SiLU)
			d.MatMul(m.x, m.a, rows, m.down[l], kernels.Add)
		}
		d.RMSNorm(m.h, m.x, m.norm, rows, 1e-5)
		d.MatMul(m.logits, m.h, rows, m.head, kernels.Store)
	}
	if m.single {
		work()
	} else {
		d.Together(work)
	}
	d.Read(logits, m.logits)
}

// BenchmarkDecode is the decoding step of Mistral-7B in NF4 at position 200,
// all of a token's operations and the read of its logits, by rows.
func BenchmarkDecode(b *testing.B) {
	d := openGPU(b)
	defer d.Close()
	m := newMistral(b, d, 50*decodePages, func(n, k int) kernels.Weight { return nf4(b, n, k, format.BF16) })
	decode(b, d, m, 1, 8, 50, -1)
}

// The position of a step that is measured, and the pages of a sequence.
const (
	decodeAt    = 200
	decodePages = decodeAt/kernels.PageTokens + 1
)

// decode measures steps of so many rows; -1 is one row without graphs.
func decode(b *testing.B, d *Device, m *mistral, counts ...int) {
	for _, rows := range counts {
		name := fmt.Sprint(rows)
		if m.single = rows < 0; m.single {
			rows, name = 1, "1 without graphs"
		}
		b.Run(name, func(b *testing.B) {
			var spans []kernels.Span
			for i := range rows {
				s := kernels.Span{Row: i, N: 1, Pos: decodeAt}
				for p := range decodePages {
					s.Pages = append(s.Pages, int32(i*decodePages+p))
				}
				spans = append(spans, s)
			}
			logits := make([]float32, rows*vocab)
			rate := 1 / measure(d, func() { m.step(spans, logits) }).Seconds()
			b.ReportMetric(rate*float64(rows), "tok/s")
			b.ReportMetric(100*rate*float64(m.bytes)/peakBytes, "%ofceiling")
		})
	}
}

// BenchmarkGEMV is each product of a decoding step alone.
func BenchmarkGEMV(b *testing.B) {
	d := openGPU(b)
	defer d.Close()
	for _, s := range [][2]int{{4096, 4096}, {1024, 4096}, {14336, 4096}, {4096, 14336}} {
		w := nf4(b, s[0], s[1], format.BF16)
		b.Run(fmt.Sprint(s), func(b *testing.B) {
			var ps []kernels.Prepared // more than the cache holds
			for bytes := int64(0); bytes < 200<<20; bytes += ps[0].Bytes() {
				p, err := d.Prepare(w, kernels.ForMatMul)
				if err != nil {
					b.Fatal(err)
				}
				ps = append(ps, p)
			}
			x, _ := d.Alloc(format.F32, s[1])
			y, _ := d.Alloc(format.F32, s[0])
			i := 0
			timed(b, d, float64(w.Quant.Bytes(int64(s[0]*s[1]))), peakBytes, "TB/s", func() {
				d.MatMul(y, x, 1, ps[i%len(ps)], kernels.Store)
				i++
			})
		})
	}
}

// BenchmarkLaunch is a kernel that does nothing to speak of.
func BenchmarkLaunch(b *testing.B) {
	d := openGPU(b)
	defer d.Close()
	x, _ := d.Alloc(format.F32, 1)
	b.ReportMetric(float64(measure(d, func() { d.Fill(x, 1, 0) }).Nanoseconds())/1000, "µs")
}

// BenchmarkOperations is each operation of a decoding step at position 200.
func BenchmarkOperations(b *testing.B) {
	d := openGPU(b)
	defer d.Close()
	m := newMistral(b, d, 7, func(n, k int) kernels.Weight { return nf4(b, n, k, format.BF16) })
	spans := []kernels.Span{{N: 1, Pos: 200, Pages: []int32{0, 1, 2, 3, 4, 5, 6}}}
	for name, f := range map[string]func(){
		"RMSNorm": func() { d.RMSNorm(m.h, m.x, m.norm, 1, 1e-5) },
		"RopeStoreKV": func() {
			kernels.RopeStoreKV(d, m.qs, m.ks.Slice(0, kvHeads*dim), m.vs.Slice(0, kvHeads*dim), heads, kvHeads,
				kernels.Rotation{Dim: dim, Cos: m.cos, Sin: m.sin, Half: dim / 2}, []int32{200}, m.caches[0], spans)
		},
		"Attention": func() {
			d.Attention(m.h, m.qs.Slice(0, width), m.caches[0], spans, heads, kernels.AttentionOptions{Scale: 0.088})
		},
		"GateUp": func() { kernels.MatMulGate(d, m.a, m.b, m.h, 1, m.gate[0], m.up[0], kernels.SiLU) },
		"Head":   func() { d.MatMul(m.logits, m.h, 1, m.head, kernels.Store) },
		"QKV": func() {
			kernels.MatMuls(d, []kernels.Buffer{m.qs, m.ks, m.vs}, m.h, 1, []kernels.Prepared{m.q[0], m.k[0], m.v[0]})
		},
		"O":    func() { d.MatMul(m.x, m.h, 1, m.o[0], kernels.Add) },
		"Down": func() { d.MatMul(m.x, m.a, 1, m.down[0], kernels.Add) },
	} {
		b.Run(name, func(b *testing.B) { b.ReportMetric(float64(measure(d, f).Nanoseconds())/1000, "µs") })
	}
}

// BenchmarkWindow is a window of QLoRA in Mistral-7B's shape, forward, backward
// and norm, and where its time goes by kernel.
func BenchmarkWindow(b *testing.B) {
	for _, c := range []struct {
		name             string
		examples         int
		brain, keep, own bool // own: weights kept decoded
	}{
		{"bf16/1x820/decoded", 1, true, true, true}, {"bf16/1x820", 1, true, true, false},
		{"bf16/4x820/decoded", 4, true, true, true}, {"bf16/16x820/decoded,recomputed", 16, true, false, true},
		{"cuda/1x820", 1, false, true, false},
	} {
		b.Run(c.name, func(b *testing.B) {
			d := openGPU(b)
			defer d.Close()
			if c.brain {
				if err := d.Brain(); err != nil {
					b.Skip(err)
				}
			}
			const tokens = 820
			w := newWindow(b, d, mistral7B, c.examples, tokens, c.keep)
			if c.own {
				if err := w.pass.Decode(); err != nil {
					b.Fatal(err)
				}
			}
			rate := float64(c.examples*tokens) / measure(d, func() { w.step(d) }).Seconds()
			b.ReportMetric(rate, "tok/s")
			b.ReportMetric(100*rate/28300, "%ofceiling")
			b.ReportMetric(float64(d.Held())/(1<<30), "GiB")
			b.Log(profile(d, func() { w.step(d) }))
		})
	}
}

package cuda

import (
	"fmt"
	"testing"
	"unsafe"

	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/cuda/driver"
	"github.com/evalrun/evalrun/kernels/cuda/ptx"
	"github.com/evalrun/evalrun/kernels/format"
)

// refusing is the counter that refuses what a GPU would refuse to start; it
// computes nothing, so that shapes may be as large as real ones.
type refusing struct {
	*counter
	kernels map[string]ptx.Kernel
	names   []string
	started map[string]bool
}

func (r *refusing) Function(name string) (uintptr, error) {
	if _, ok := r.kernels[name]; !ok {
		return 0, fmt.Errorf("no kernel %s", name)
	}
	r.names = append(r.names, name)
	return uintptr(len(r.names)), nil
}

func (r *refusing) Launch(f uintptr, gridX, gridY, threads, shared int, args []uint64) error {
	name := r.names[f-1]
	r.started[name] = true
	return r.kernels[name].Fits(gridX, gridY, threads, shared, r.shared, len(args))
}

type mappingRefusing struct{ *refusing }

func (mappingRefusing) TensorMap(uint64, int, int, int) (m [32]int32, err error) { return m, nil }

// realShape is what the operations of a model's layer go by.
type realShape struct {
	name                                      string
	hidden, inner, heads, kvHeads, dim, vocab int
	options                                   kernels.AttentionOptions
}

var realShapes = []realShape{
	{"Mistral-7B", 4096, 14336, 32, 8, 128, 32000, kernels.AttentionOptions{Scale: 1, Window: 4096}},
	{"Llama-3-70B", 8192, 28672, 64, 8, 128, 128256, kernels.AttentionOptions{Scale: 1}},
	{"Gemma-2-9B", 3584, 14336, 16, 8, 256, 256000, kernels.AttentionOptions{Scale: 1, Window: 4096, SoftCap: 50}},
	{"Gemma-2B", 2048, 16384, 8, 1, 256, 256000, kernels.AttentionOptions{Scale: 1}},
	{"Phi-2", 2560, 10240, 32, 32, 80, 51200, kernels.AttentionOptions{Scale: 1}},
	{"Phi-3-mini", 3072, 8192, 32, 32, 96, 32064, kernels.AttentionOptions{Scale: 1, Window: 2047}},
	{"Qwen2-0.5B", 896, 4864, 14, 2, 64, 151936, kernels.AttentionOptions{Scale: 1}},
	{"GPT-2", 768, 3072, 12, 12, 64, 50257, kernels.AttentionOptions{Scale: 1}},
	{"heads of 512", 1024, 2048, 4, 2, 512, 1000, kernels.AttentionOptions{Scale: 1}},
	{"tiny", 72, 200, 3, 1, 24, 500, kernels.AttentionOptions{Scale: 1, SoftCap: 5}},
}

// nothing is memory whose first bytes alone are there: nobody looks at more.
var nothing = unsafe.Slice(unsafe.SliceData(make([]byte, 2<<20)), 16<<30)

// realWeight is a weight of a format's name whose values nobody looks at.
func realWeight(name string, n, k int) kernels.Weight {
	w := kernels.Weight{Name: name, N: n, K: k}
	blocks := (n*k + 63) / 64
	four := func(round format.Type, double bool) *format.Quant {
		q := &format.Quant{Kind: format.NF4, Block: 64, Round: round, Codes: nothing[:(n*k+1)/2], Map: make([]float32, 16)}
		if double {
			q.Nested = &format.Nested{Block: 256, Codes: nothing[:blocks], Map: make([]float32, 256), Absmax: make([]float32, (blocks+255)/256)}
		} else {
			q.Absmax = unsafe.Slice((*float32)(unsafe.Pointer(&nothing[0])), blocks)
		}
		return q
	}
	switch name {
	case "NF4":
		w.Quant = four(format.BF16, true)
	case "NF4, plain":
		w.Quant = four(format.BF16, false)
	case "NF4 of F16":
		w.Quant = four(format.F16, true)
	case "NF4 of F16, plain":
		w.Quant = four(format.F16, false)
	case "NF4 of F32":
		w.Quant = four(format.F32, true)
	case "int8":
		w.Quant = &format.Quant{Kind: format.Int8, Block: k, Round: format.F16, Codes: nothing[:n*k], Absmax: make([]float32, n)}
	default:
		for _, t := range append([]format.Type{format.F32, format.BF16, format.F16}, blockTypes...) {
			if t.Name() == name {
				w.Type = t
			}
		}
		bytes, _ := w.Type.Bytes(int64(n * k))
		w.Data = nothing[:bytes]
	}
	return w
}

// trial is a device on which nothing is computed.
type trial struct {
	t *testing.T
	*Device
	realShape
	weights string
}

func (d trial) buf(n int) kernels.Buffer { return d.typed(format.F32, n) }
func (d trial) typed(typ format.Type, n int) kernels.Buffer {
	b, err := d.Alloc(typ, n)
	if err != nil {
		d.t.Fatal(err)
	}
	return b
}

func (d trial) matrix(name string, n, k int) kernels.Prepared {
	p, err := d.Prepare(realWeight(name, n, k), kernels.ForMatMul)
	if err != nil {
		d.t.Fatal(err)
	}
	return p
}

// decode is a layer's part in a step of so many sequences, at a position.
func (d trial) decode(rows, at int) {
	q, k := d.matrix(d.weights, d.heads*d.dim, d.hidden), d.matrix(d.weights, d.kvHeads*d.dim, d.hidden)
	o, gate, down := d.matrix(d.weights, d.hidden, d.heads*d.dim), d.matrix(d.weights, d.inner, d.hidden), d.matrix(d.weights, d.hidden, d.inner)
	pages := at/kernels.PageTokens + 1
	kv, err := d.AllocKV(pages, d.kvHeads, d.dim)
	if err != nil {
		d.t.Fatal(err)
	}
	var spans []kernels.Span
	list, pos := make([]int32, pages), make([]int32, rows)
	for i := range list {
		list[i] = int32(i)
	}
	for i := range rows {
		spans, pos[i] = append(spans, kernels.Span{Row: i, N: 1, Pos: at, Pages: list}), int32(at)
	}
	if rows > 64 { // a prompt
		spans = []kernels.Span{{N: rows, Pos: at + 1 - rows, Pages: list}}
	}
	x, h, norm := d.buf(rows*d.hidden), d.buf(rows*d.hidden), d.buf(d.hidden)
	qs, ks, vs := d.buf(rows*d.heads*d.dim), d.buf(rows*d.kvHeads*d.dim), d.buf(rows*d.kvHeads*d.dim)
	a, b := d.buf(rows*d.inner), d.buf(rows*d.inner)
	turns := d.buf((at + 1) * d.dim / 2)
	var segments []kernels.Segment
	for i := range min(rows, 25) {
		rank := 8 + 8*i
		segments = append(segments, kernels.Segment{Row: i, N: 1, LowRank: kernels.LowRank{A: d.matrix("F32", rank, d.hidden), B: d.matrix("F32", d.heads*d.dim, rank), Scale: 1}})
	}
	d.RMSNorm(h, x, norm, rows, 1e-5)
	d.LayerNorm(h, x, norm, norm, rows, 1e-5)
	kernels.MatMuls(d.Device, []kernels.Buffer{qs, ks, vs}, h, rows, []kernels.Prepared{q, k, k})
	d.LoRA(qs, h, segments)
	d.LoRA(qs, h, []kernels.Segment{{N: rows, LowRank: segments[0].LowRank}})
	kernels.RopeStoreKV(d.Device, qs, ks, vs, d.heads, d.kvHeads, kernels.Rotation{Dim: d.dim, Cos: turns, Sin: turns, Half: d.dim / 2}, pos, kv, spans)
	d.Rope(qs, d.heads, d.dim, turns, turns, d.dim/4, pos, kernels.RopePairs)
	d.StoreKV(kv, ks, vs, spans)
	d.Attention(d.buf(rows*d.heads*d.dim), qs, kv, spans, d.heads, d.options)
	d.MatMul(x, qs, rows, o, kernels.Add)
	kernels.MatMulGate(d.Device, a, b, h, rows, gate, gate, kernels.SiLU)
	d.Gate(a, a, b, rows*d.inner, kernels.GELUTanh)
	d.MatMul(x, a, rows, down, kernels.Add)
	d.Add(x, h, rows*d.hidden)
	last := min(rows, 64)
	d.MatMul(d.buf(last*d.vocab), x, last, d.matrix("BF16", d.vocab, d.hidden), kernels.Store)
	d.SoftCap(d.buf(last*d.vocab), d.buf(last*d.vocab), last*d.vocab, 30)
	d.Activate(a, a, rows*d.inner, kernels.GELUErf)
	d.AddBias(x, norm, rows)
	d.Scale(x, x, rows*d.hidden, 2)
	d.ScaleColumns(x, norm, rows)
	d.Round(x, x, rows*d.hidden, format.F16)
	d.CopyPage(kv, 0, 1, 7)
	d.Embed(x, d.matrix(d.weights, d.vocab, d.hidden), make([]int32, rows))
	d.RowNorms(d.buf(d.heads*d.dim), q, kernels.LowRank{A: d.matrix(d.weights, 256, d.hidden), B: d.matrix(d.weights, d.heads*d.dim, 256), Scale: 1})
	d.Fill(x, rows*d.hidden, 1)
	d.Gather(h, x, make([]int32, rows), d.hidden)
	d.Columns(h, a, rows, d.inner, 0, min(d.inner, d.hidden))
}

// train is a layer's part in a window of training, and its loss.
func (d trial) train(examples, tokens int) {
	rows := examples * tokens
	shape := kernels.AttentionShape{Heads: d.heads, KVHeads: d.kvHeads, Dim: d.dim, AttentionOptions: d.options}
	w, down := d.matrix(d.weights, d.inner, d.hidden), d.matrix(d.weights, d.hidden, d.inner)
	x, dx, norm := d.buf(rows*d.hidden), d.buf(rows*d.hidden), d.buf(max(d.hidden, d.inner))
	up, wide := d.buf(rows*d.inner), d.heads*d.dim
	q, k := d.buf(rows*wide), d.buf(rows*d.kvHeads*d.dim)
	lse, turns := d.buf(rows*d.heads), d.buf(tokens*d.dim/2)
	var runs []kernels.Run
	pos, keys := make([]int32, rows), make([]uint64, rows)
	for e := range examples {
		runs = append(runs, kernels.Run{Row: e * tokens, N: tokens})
	}
	drop := kernels.Dropping{P: 0.1, Rows: keys}
	d.MatMul(up, x, rows, w, kernels.Store)
	d.MatMulBack(dx, up, rows, w, kernels.Add)
	d.AttentionTrain(q, lse, q, k, k, runs, shape)
	d.AttentionBack(q, k, k, q, q, lse, q, k, k, runs, shape)
	d.RopeBack(q, d.heads, d.dim, turns, turns, d.dim/2, pos, kernels.RopeHalves)
	d.RMSNormBack(dx, norm.Slice(0, d.hidden), dx, x, norm.Slice(0, d.hidden), rows, 1e-5, kernels.Add)
	d.LayerNormBack(dx, norm.Slice(0, d.hidden), norm.Slice(0, d.hidden), dx, x, norm.Slice(0, d.hidden), rows, 1e-5, kernels.Store)
	d.GateBack(up, up, up, up, up, rows*d.inner, kernels.SiLU)
	d.ActivateBack(up, up, up, rows*d.inner, kernels.GELUErf)
	d.SoftCapBack(up, up, up, rows*d.inner, 5)
	d.Divide(x, x, x, rows*d.hidden)
	d.ColumnDots(norm.Slice(0, d.hidden), x, nil, rows)
	d.Dropout(dx, x, d.hidden, drop, kernels.Add)
	d.Scatter(dx, x, pos, d.hidden)
	d.PutColumns(up, x, rows, d.inner, 0, min(d.inner, d.hidden))
	judged := min(rows, 512)
	logits := d.buf(judged * d.vocab)
	d.CrossEntropy(lse, logits, logits, d.vocab, make([]int32, judged), make([]float32, judged))
	for _, rank := range []int{8, 16, 64, 256} {
		pair := kernels.TrainedPair{Dropping: drop, Y: up, Low: d.buf(rows * rank), GradA: d.buf(rank * d.hidden), GradB: d.buf(d.inner * rank)}
		pair.A, _ = d.PrepareTrained(d.buf(rank*d.hidden), rank, d.hidden, kernels.ForMatMul)
		pair.B, _ = d.PrepareTrained(d.buf(d.inner*rank), d.inner, rank, kernels.ForMatMul)
		pair.Scale = 1
		if d.TrainsPair(pair.LowRank) {
			d.PairsForward(x, rows, []kernels.TrainedPair{pair, pair})
			d.PairsBack(dx, x, rows, []kernels.TrainedPair{pair, pair})
		}
		d.WeightGrad(pair.GradB, up, pair.Low, rows, d.inner, rank)
		d.MatMulBack(dx, pair.Low, rows, pair.A, kernels.Add)
		d.MatMulBack(pair.Low, up, rows, pair.B, kernels.Add)
	}
	d.WeightGrad(d.buf(d.inner*d.hidden), up, x, rows, d.inner, d.hidden)
	p := kernels.AdamParameter{P: up, G: up, M: up, V: up, N: d.inner}
	d.AdamAll([]kernels.AdamParameter{p, p}, kernels.AdamOptions{Step: 1})
	d.SumSquares(dx, up)
	if err := d.Dequantise(w); err != nil {
		d.t.Fatal(err)
	}
	if !d.brain || !d.Rounds(w) {
		return
	}
	if err := d.Keep(w, true); err != nil {
		d.t.Fatal(err)
	}
	half, halfUp := d.typed(format.BF16, rows*d.hidden), d.typed(format.BF16, rows*d.inner)
	for _, plus := range []kernels.Buffer{nil, x} {
		d.MatMulsRounded([]kernels.Buffer{dx}, plus, halfUp, rows, []kernels.Prepared{down})
	}
	d.MatMulsRounded([]kernels.Buffer{halfUp, up}, nil, half, rows, []kernels.Prepared{w, w})
	d.MatMulBacksRounded(dx, x, []kernels.Buffer{halfUp, halfUp}, rows, []kernels.Prepared{w, w})
	d.RMSNormBoth(dx, half, x, norm.Slice(0, d.hidden), rows, 1e-5)
	d.RMSNormBackBoth(dx, half, nil, dx, x, norm.Slice(0, d.hidden), rows, 1e-5, kernels.Add)
	d.Fill(half, rows*d.hidden, 0)
	d.Round(half, x, rows*d.hidden, format.BF16)
	d.Gather(half, half, pos, d.hidden)
	d.Scatter(half, half, pos, d.hidden)
	d.RMSNorm(half, x, norm.Slice(0, d.hidden), rows, 1e-5)
	d.LayerNorm(half, x, norm.Slice(0, d.hidden), norm.Slice(0, d.hidden), rows, 1e-5)
	d.Activate(halfUp, halfUp, rows*d.inner, kernels.SiLU)
	d.ActivateBack(halfUp, halfUp, halfUp, rows*d.inner, kernels.SiLU)
	d.Gate(halfUp, halfUp, halfUp, rows*d.inner, kernels.SiLU)
	d.GateBack(halfUp, halfUp, halfUp, halfUp, halfUp, rows*d.inner, kernels.SiLU)
	if d.RoundsAttention(shape) {
		y := d.typed(format.BF16, rows*wide)
		d.AttentionTrain(y, lse, q, k, k, runs, shape)
		d.AttentionBack(q, k, k, y, y, lse, q, k, k, runs, shape)
		d.RopeBackBoth(q, y, d.heads, d.dim, turns, turns, pos, kernels.RopeHalves)
	}
}

// Every operation of real models is one that GPUs of every kind would start, and every
// kernel is among what is so tried.
func TestStarts(t *testing.T) {
	formats := []string{"NF4", "NF4, plain", "NF4 of F16", "NF4 of F16, plain", "NF4 of F32", "int8", "BF16", "F16", "F32"}
	for _, b := range blockTypes {
		formats = append(formats, b.Name())
	}
	const plain = 9
	started := map[string]bool{}
	for _, gpu := range []struct {
		name                      string
		major, shared, processors int // shared memory of a block in KiB
	}{{"A100", 8, 163, 108}, {"RTX 3090", 8, 99, 82}, {"H100", 9, 227, 132}, {"RTX 5090", 12, 99, 170}} {
		t.Run(gpu.name, func(t *testing.T) {
			for _, s := range realShapes {
				t.Run(s.name, func(t *testing.T) {
					for i, weights := range formats {
						c := &counter{name: gpu.name, processors: gpu.processors, shared: gpu.shared << 10, next: slabBytes, free: 1 << 50, total: 1 << 50, sizes: map[uint64]int64{}}
						r := &refusing{c, ptx.Kernels(gpu.major), nil, started}
						var drv driver.Driver = r
						if gpu.major == 9 {
							drv = mappingRefusing{r}
						}
						fault := func(f *Fault) { t.Fatalf("weights %s: %v", weights, f) }
						if i >= plain && s.hidden%256 != 0 {
							continue // rows of K-quants are of whole blocks
						}
						d := trial{t, Over(drv, fault), s, weights}
						for _, rows := range []int{1, 2, 4, 5, 8, 9, 16, 17, 24, 33, 48, 50, 64, 65, 300, 3280} {
							d.decode(rows, 5000)
						}
						d.decode(1, 100)
						d.Dequantise(d.matrix("NF4", 3, 5)) // codes that fill no word
						d.decode(1, 130000)
						d.decode(128, 130000)
						d.train(1, 820)
						d.train(4, 820)
						d.train(70, 9)
						if i == 0 || gpu.major == 9 {
							d = trial{t, Over(drv, fault), s, weights}
							if err := d.Brain(); err != nil {
								t.Fatal(err)
							}
							d.decode(300, 5000)
							d.train(1, 820)
							d.train(4, 820)
							d.train(70, 9)
							d.train(1, 16384)
						}
					}
				})
			}
		})
	}
	for name, k := range ptx.Kernels(9) {
		if !started[name] {
			t.Errorf("kernel %s of %s was not started by any operation tried", name, k.File)
		}
	}
}

package engine

import (
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/evalrun/evalrun/backends/local/arch"
	"github.com/evalrun/evalrun/backends/local/internal/fixture"
	"github.com/evalrun/evalrun/backends/local/weights"
	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/cpu"
	"github.com/evalrun/evalrun/kernels/format"
	"github.com/evalrun/evalrun/kernels/kerneltest"
)

// writeBlocks writes a model as a GGUF file whose matrices have all of GGML's formats in
// turn: random blocks, with scales that make values of a model's size. It
// tells the bytes of the matrices.
func writeBlocks(t testing.TB, s fixture.Shape) (path string, bytes int64) {
	t.Helper()
	f, err := weights.Open(s.WriteGGUF(t, 1, format.Q8_0, format.Q8_0))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rng := rand.New(rand.NewPCG(6, 1))
	formats := []format.Type{format.Q4_K, format.Q6_K, format.Q8_0, format.Q5_K, format.Q4_1, format.Q2_K, format.Q3_K, format.Q5_0, format.Q5_1, format.Q4_0}
	var out []weights.Tensor
	turn := 0
	for _, name := range f.Names() {
		w, err := f.Tensor(name)
		if err != nil {
			t.Fatal(err)
		}
		if len(w.Shape) != 2 {
			out = append(out, w)
			continue
		}
		values, err := w.Floats()
		if err != nil {
			t.Fatal(err)
		}
		typ := formats[turn%len(formats)]
		if strings.HasPrefix(w.Name, "blk.") {
			turn++
		} else {
			typ = format.Q8_0
		}
		size, _ := typ.Bytes(int64(len(values)))
		made := weights.Tensor{Name: w.Name, Type: typ, Stored: typ.Name(), Shape: w.Shape, Data: make([]byte, size)}
		bytes += size
		if typ.CanEncode() {
			typ.Encode(made.Data, values)
		} else {
			randomBlocks(rng, typ, made.Data, len(values), 1/math.Sqrt(float64(w.Shape[1])))
		}
		out = append(out, made)
	}
	path = filepath.Join(t.TempDir(), "model.gguf")
	if err := weights.WriteGGUF(path, out, f.Meta()); err != nil {
		t.Fatal(err)
	}
	return path, bytes
}

// randomBlocks fills blocks of n values whose root mean square is of a size.
func randomBlocks(rng *rand.Rand, typ format.Type, data []byte, n int, size float64) {
	values := make([]float32, n)
	fill := func(scale float32) (square float64) {
		kerneltest.RandomBlocks(rng, typ, data, func() float32 { return scale * (0.5 + rng.Float32()) * float32(1-2*rng.IntN(2)) })
		typ.Decode(values, data)
		for _, v := range values {
			square += float64(v) * float64(v)
		}
		return square / float64(n)
	}
	fill(float32(size * 0.01 / math.Sqrt(fill(0.01))))
}

// blocksAsOnCPU holds a device to the CPU's greedy answers of a model in GGUF's
// formats, alone and with others.
func blocksAsOnCPU(t *testing.T, dev kernels.Device) {
	shape := fixture.Shape{Hidden: 256, Layers: 2, Heads: 4, KVHeads: 2, MLP: 512, Vocab: 131, Context: 128}
	path, bytes := writeBlocks(t, shape)
	host, err := cpu.New(cpu.Options{Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	rng := rand.New(rand.NewPCG(8, 3))
	var requests []Request
	for i := range 3 {
		r := Request{ID: string(rune('a' + i)), Kind: Generate, MaxTokens: 5, IgnoreEOS: true, Logprobs: true}
		for range 3 + 9*i {
			r.Tokens = append(r.Tokens, int32(3+rng.IntN(shape.Vocab-3)))
		}
		requests = append(requests, r)
	}
	answers := func(dev kernels.Device, requests ...Request) map[string]*Response {
		config, file, err := arch.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		m, err := arch.Build(dev, config, file, 0, arch.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		// Small matrices take a power of two of bytes.
		if held := m.Bytes(); dev != kernels.Device(host) && (held < bytes || held > 2*bytes) {
			t.Errorf("the file's matrices have %d bytes, the model holds %d", bytes, held)
		}
		e, err := Over(m, Options{Device: dev, Tokenizer: bytewise{}})
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		return ask(t, e, requests...)
	}
	want, got := answers(host, requests...), answers(dev, requests...)
	for id, w := range want {
		g := got[id]
		if !slices.Equal(g.Tokens, w.Tokens) {
			t.Errorf("answer %s is %d, the CPU's %d", id, g.Tokens, w.Tokens)
		}
		for i, x := range w.Logprobs {
			if d := math.Abs(g.Logprobs[i] - x); !(d < 1e-4) {
				t.Errorf("answer %s, token %d: log-probability %g, the CPU's %g", id, i, g.Logprobs[i], x)
			}
		}
	}
	alone := answers(dev, requests[0])["a"]
	if bits(alone) != bits(got["a"]) {
		t.Errorf("alone: %s, with others: %s", bits(alone), bits(got["a"]))
	}
}

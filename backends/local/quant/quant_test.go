package quant

import (
	"bytes"
	"errors"
	"maps"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/evalrun/evalrun/backends/local/weights"
	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/format"
)

// fixture is what bitsandbytes saved (testdata/make_fixture.py).
func fixture(t testing.TB) *weights.File {
	t.Helper()
	f, err := weights.Open("testdata/bitsandbytes.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestLoadBitsandbytes(t *testing.T) {
	f := fixture(t)
	for name, shape := range map[string][2]int{"a.weight": {6, 20}, "b.weight": {6, 20}, "c.weight": {6, 20}, "d.weight": {6, 20}, "e.weight": {3, 7}} {
		w, err := Load(f, name, shape[0], shape[1])
		if err != nil {
			t.Fatal(err)
		}
		if err := kernels.CheckWeight(w); err != nil {
			t.Fatal(err)
		}
		got := make([]float32, w.N*w.K)
		w.Decode(got, 0)
		want, _, err := Values(f, "values."+name)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
		if values, dims, err := Values(f, name); err != nil || !slices.Equal(values, want) || !slices.Equal(dims, shape[:]) {
			t.Errorf("%s: values %v of shape %v, %v", name, values, dims, err)
		}
		if len(w.Quant.Codes) > 0 {
			part := w.Rows(1, 3) // a part of a fused projection, in the middle of a block
			line := make([]float32, 2*w.K)
			part.Decode(line, 0)
			if !slices.Equal(line, want[w.K:3*w.K]) {
				t.Errorf("%s: rows 1 and 2 are %v", name, line)
			}
		}
	}
	for _, name := range []string{"a.weight.absmax", "a.weight.quant_state.bitsandbytes__nf4", "c.weight.nested_quant_map", "e.SCB"} {
		if v, _, err := Values(f, name); v != nil || err != nil {
			t.Errorf("%s was decoded by itself: %v, %v", name, v, err)
		}
	}
}

// What Store writes of what Load read are the bytes of the file.
func TestStoreIsBitsandbytes(t *testing.T) {
	f := fixture(t)
	for name, shape := range map[string][]int{"a.weight": {6, 20}, "b.weight": {6, 20}, "d.weight": {6, 20}, "e.weight": {3, 7}} {
		w, err := Load(f, name, shape[0], shape[1])
		if err != nil {
			t.Fatal(err)
		}
		tensors, err := Store(name, shape, w.Quant)
		if err != nil {
			t.Fatal(err)
		}
		for _, got := range tensors {
			want, err := f.Tensor(got.Name)
			if err != nil {
				t.Fatal(err)
			}
			if got.Stored != want.Stored || !slices.Equal(got.Shape, want.Shape) || !bytes.Equal(got.Data, want.Data) {
				t.Errorf("%s: %s %v %q, want %s %v %q", got.Name, got.Stored, got.Shape, got.Data, want.Stored, want.Shape, want.Data)
			}
		}
	}
}

// A file with one thing wrong.
func TestLoadRefuses(t *testing.T) {
	f := fixture(t)
	const state = "a.weight.quant_state.bitsandbytes__nf4"
	change := func(name string, edit func(t *weights.Tensor)) func(map[string]weights.Tensor) {
		return func(all map[string]weights.Tensor) {
			t := all[name]
			edit(&t)
			all[name] = t
		}
	}
	text := func(old, new string) func(map[string]weights.Tensor) {
		return change(state, func(t *weights.Tensor) {
			t.Data = []byte(strings.Replace(string(t.Data), old, new, 1))
			t.Shape = []int{len(t.Data)}
		})
	}
	for _, c := range []struct {
		want string
		edit func(all map[string]weights.Tensor)
	}{
		{`"a.weight.absmax"`, func(all map[string]weights.Tensor) { delete(all, "a.weight.absmax") }},
		{`"a.weight.absmax": U8 [1], want U8 [2]`, change("a.weight.absmax", func(t *weights.Tensor) { t.Data, t.Shape = t.Data[:1], []int{1} })},
		{`"a.weight.quant_map"`, func(all map[string]weights.Tensor) { delete(all, "a.weight.quant_map") }},
		{`"a.weight.nested_quant_map": F32 [255], want F32 [256]`, change("a.weight.nested_quant_map", func(t *weights.Tensor) { t.Data, t.Shape = t.Data[:1020], []int{255} })},
		{`"a.weight.nested_absmax": value 0 is NaN`, change("a.weight.nested_absmax", func(t *weights.Tensor) { t.Data = []byte{0, 0, 0xc0, 0x7f} })},
		{"belong together", func(all map[string]weights.Tensor) { delete(all, "a.weight.nested_absmax") }},
		{"59 bytes of NF4 codes for 120 values, want 60", change("a.weight", func(t *weights.Tensor) { t.Data, t.Shape = t.Data[:59], []int{59, 1} })},
		{"of shape [20 6], want [6 20]", text("[6, 20]", "[20, 6]")},
		{"blocksize 0", text("64", "0")},
		{"want nf4 or fp4", text(`"nf4"`, `"nf5"`)},
		{`quant_type "fp4" under that name`, text(`"nf4"`, `"fp4"`)},
		{"want float32, bfloat16 or float16", text("bfloat16", "int8")},
		{"no JSON object", text("{", "")},
		{"more text", text("}", "}}")},
		{"shape [-6 20]", text("[6,", "[-6,")},
		{"shape [6 9999999999999]", text("20]", "9999999999999]")},
		{"no JSON object", text("20]", "99999999999999999999999]")},
		{"which say what they mean", func(all map[string]weights.Tensor) { delete(all, state) }},
	} {
		all := map[string]weights.Tensor{}
		for _, name := range f.Names() {
			all[name], _ = f.Tensor(name)
		}
		c.edit(all)
		path := filepath.Join(t.TempDir(), "model.safetensors")
		if err := weights.WriteSafetensors(path, slices.Collect(maps.Values(all)), nil); err != nil {
			t.Fatal(err)
		}
		broken, err := weights.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		_, err = Load(broken, "a.weight", 6, 20)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want %q", err, c.want)
		}
		broken.Close()
	}
	if _, err := Load(f, "z.weight", 1, 1); !errors.Is(err, weights.ErrNoTensor) {
		t.Errorf("error %v", err)
	}
	if _, err := Load(f, "values.b.weight", 20, 6); err == nil || !strings.Contains(err.Error(), "shape [6 20], want [20 6]") {
		t.Errorf("error %v", err)
	}
}

func TestPolicies(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	x := make([]float32, 70*33)
	for i := range x {
		x[i] = float32(rng.NormFloat64())
	}
	data := make([]byte, 4*len(x))
	format.F32.Encode(data, x)
	w := kernels.Weight{Name: "q_proj", Type: format.F32, N: 70, K: 33, Data: data}
	for _, name := range Policies() {
		p, err := ParsePolicy(name)
		if err != nil || p.String() != name {
			t.Fatalf("%s: %v, %v", name, p, err)
		}
		q, err := p.Apply(w, format.BF16)
		if err != nil {
			t.Fatal(err)
		}
		if p == None {
			if q.Quant != nil || p.Applies("q_proj.weight") {
				t.Error("none quantises")
			}
			continue
		}
		if err := kernels.CheckWeight(q); err != nil {
			t.Fatal(err)
		}
		o := p.Outline(w, format.BF16)
		if got, want := o.Bytes(int64(w.N*w.K)), q.Quant.Bytes(int64(w.N*w.K)); got != want || o.Round != q.Quant.Round {
			t.Errorf("%s: %d bytes of values rounded to %v planned, %d to %v taken", name, got, o.Round, want, q.Quant.Round)
		}
		y := make([]float32, len(x))
		q.Decode(y, 0)
		var square, total float64
		for i := range x {
			square += math.Pow(float64(x[i]-y[i]), 2)
			total += math.Pow(float64(x[i]), 2)
		}
		if e, most := math.Sqrt(square/total), map[string]float64{"nf4": 0.1, "int8": 0.011}[name]; e > most || e < most/10 {
			t.Errorf("%s: relative error %g", name, e)
		}
		if p.Applies("lm_head.weight") || !p.Applies("model.layers.0.mlp.fc1.weight") {
			t.Errorf("%s covers the wrong layers", name)
		}
		again, err := p.Apply(q, format.F32)
		if err != nil || again.Quant != q.Quant {
			t.Errorf("%s: what is quantised was quantised again", name)
		}
	}
	if _, err := ParsePolicy("q4"); err == nil || !strings.Contains(err.Error(), "nf4") {
		t.Errorf("error %v", err)
	}
	format.F32.Encode(data[40:], []float32{float32(math.NaN())})
	if _, err := NF4.Apply(w, format.Invalid); err == nil || !strings.Contains(err.Error(), `"q_proj": value 10 is NaN`) {
		t.Errorf("error %v", err)
	}
}

// The plain rounding to bfloat16 comes before the quantisation.
func TestApplyRoundsFirst(t *testing.T) {
	data := make([]byte, 4*64)
	format.F32.Encode(data, []float32{1.001, -0.3})
	w := kernels.Weight{Name: "w", Type: format.F32, N: 1, K: 64, Data: data}
	q, err := Int8.Apply(w, format.BF16)
	if err != nil {
		t.Fatal(err)
	}
	if q.Quant.Absmax[0] != 1 {
		t.Errorf("scale %g, want 1: 1.001 in bfloat16", q.Quant.Absmax[0])
	}
}

func TestPythonFloat(t *testing.T) {
	for x, want := range map[float64]string{1: "1.0", 0: "0.0", 0.25: "0.25", 1e-5: "1e-05", 0.0001: "0.0001", 1e16: "1e+16", 123456.5: "123456.5", -0.03984379768371582: "-0.03984379768371582"} {
		if got := pythonFloat(x); got != want {
			t.Errorf("%g is written %s, want %s", x, got, want)
		}
	}
}

// Whatever stands in a description, what is accepted is consistent, and with
// arrays as long as it says can be read.
func FuzzState(f *testing.F) {
	f.Add([]byte(`{"quant_type": "nf4", "blocksize": 64, "dtype": "bfloat16", "shape": [6, 20], "nested_blocksize": 256, "nested_dtype": "float32", "nested_offset": 0.03}`))
	f.Add([]byte(`{"quant_type": "fp4", "blocksize": 1, "dtype": "float32", "shape": [1099511627776]}`))
	f.Add([]byte(`{"shape": [3, -1, 1e9], "blocksize": 1e400}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := parseState(text)
		if err != nil {
			return
		}
		n := 1
		for _, d := range s.Shape {
			n *= d
		}
		if n <= 0 || n > 1<<40 || s.Block <= 0 {
			t.Fatalf("accepted %q: %d values in blocks of %d", text, n, s.Block)
		}
		if n > 1<<16 {
			return
		}
		blocks := (n + s.Block - 1) / s.Block
		q := &format.Quant{Kind: kinds[s.QuantType], Codes: make([]byte, (n+1)/2), Block: s.Block, Map: make([]float32, 16), Round: dtypes[s.DType]}
		if s.Offset == nil {
			q.Absmax = make([]float32, blocks)
		} else {
			q.Nested = &format.Nested{Codes: make([]byte, blocks), Map: make([]float32, 256), Block: s.NestedBlock,
				Absmax: make([]float32, (blocks+s.NestedBlock-1)/s.NestedBlock), Offset: float32(*s.Offset)}
		}
		if err := q.Check(int64(n)); err != nil {
			t.Fatalf("accepted %q: %v", text, err)
		}
		q.Decode(make([]float32, n), 0)
		if _, err := Store("w", s.Shape, q); err != nil {
			t.Fatalf("accepted %q, cannot be stored: %v", text, err)
		}
	})
}

package weights

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/evalrun/evalrun/internal/shared"
	"github.com/evalrun/evalrun/kernels/format"
)

func sampleMeta() *Meta {
	m := NewMeta()
	m.SetString("general.architecture", "llama")
	m.SetUint32("llama.block_count", 2)
	m.SetUint64("big", math.MaxUint64)
	m.SetFloat32("llama.attention.layer_norm_rms_epsilon", 1e-5)
	m.SetBool("tokenizer.ggml.add_bos_token", true)
	m.SetStrings("tokenizer.ggml.tokens", []string{"<unk>", "▁a", "\xff", ""})
	m.SetFloats("tokenizer.ggml.scores", []float32{0, -1, float32(math.Inf(-1))})
	m.SetInt32s("tokenizer.ggml.token_type", []int32{2, 1, -1})
	for i, v := range []any{uint8(1), int8(-1), uint16(2), int16(-2), int32(-3), int64(-4), float64(0.1), []bool{true, false}, []uint8{1}, []int8{-1}, []uint16{9}, []int16{-9}, []uint32{7}, []uint64{8}, []int64{-8}, []float64{0.5}, []any{[]string{"x"}, []float32{}}} {
		m.set(fmt.Sprintf("k%d", i), v)
	}
	return m
}

func TestGGUFRoundTrip(t *testing.T) {
	q8 := make([]byte, 2*34)
	format.Q8_0.Encode(q8, make([]float32, 64))
	tensors := []Tensor{
		Float32s("output_norm.weight", []float32{1, 2, 3}, 3),
		{Name: "blk.0.attn_q.weight", Type: format.Q8_0, Stored: "Q8_0", Shape: []int{2, 32}, Data: q8},
		{Name: "iq", Stored: "IQ4_XS", Shape: []int{1, 256}, Data: bytes.Repeat([]byte{5}, 136)},
		{Name: "scalar", Type: format.F16, Stored: "F16", Data: []byte{0, 0x3c}},
	}
	for _, align := range []uint32{0, 8, 256} {
		meta := sampleMeta()
		if align != 0 {
			meta.SetUint32("general.alignment", align)
		}
		path := filepath.Join(t.TempDir(), "m.gguf")
		if err := WriteGGUF(path, tensors, meta); err != nil {
			t.Fatal(err)
		}
		f := mustOpen(t, path)
		for i, want := range tensors {
			got, err := f.Tensor(want.Name)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got.Data, want.Data) || got.Stored != want.Stored || got.Type != want.Type || fmt.Sprint(got.Shape) != fmt.Sprint(want.Shape) {
				t.Errorf("alignment %d, tensor %d: got %+v, want %+v", align, i, got, want)
			}
		}
		if !reflect.DeepEqual(f.Meta().Keys(), meta.Keys()) {
			t.Errorf("keys %q, want %q", f.Meta().Keys(), meta.Keys())
		}
		for _, k := range meta.Keys() {
			if !reflect.DeepEqual(f.Meta().Value(k), meta.Value(k)) {
				t.Errorf("%s: %#v, want %#v", k, f.Meta().Value(k), meta.Value(k))
			}
		}
	}
}

func TestMetaGetters(t *testing.T) {
	m := sampleMeta()
	if v, ok := m.String("general.architecture"); v != "llama" || !ok {
		t.Error("string", v, ok)
	}
	if _, ok := m.String("llama.block_count"); ok {
		t.Error("a number passed for a string")
	}
	if v, ok := m.Uint("llama.block_count"); v != 2 || !ok {
		t.Error("uint", v, ok)
	}
	if v, ok := m.Uint("big"); v != math.MaxUint64 || !ok {
		t.Error("big", v, ok)
	}
	if _, ok := m.Int("big"); ok {
		t.Error("2^64-1 passed for an int64")
	}
	if _, ok := m.Uint("k1"); ok {
		t.Error("-1 passed for an unsigned integer")
	}
	if v, ok := m.Int("k5"); v != -4 || !ok {
		t.Error("int", v, ok)
	}
	if v, ok := m.Float("llama.block_count"); v != 2 || !ok {
		t.Error("float of an integer", v, ok)
	}
	if v, ok := m.Bool("tokenizer.ggml.add_bos_token"); !v || !ok {
		t.Error("bool", v, ok)
	}
	if v, ok := m.Ints("tokenizer.ggml.token_type"); fmt.Sprint(v) != "[2 1 -1]" || !ok {
		t.Error("ints", v, ok)
	}
	if v, ok := m.Strings("tokenizer.ggml.tokens"); len(v) != 4 || !ok {
		t.Error("strings", v, ok)
	}
	if v, ok := m.Floats("tokenizer.ggml.scores"); len(v) != 3 || !ok {
		t.Error("floats", v, ok)
	}
	if m.Has("nothing") || m.Value("nothing") != nil {
		t.Error("an absent key is there")
	}
}

// gguf builds a header by hand: little-endian numbers, strings with a length.
func gguf(parts ...any) []byte {
	var b bytes.Buffer
	for _, p := range parts {
		switch p := p.(type) {
		case string:
			putString(&b, p)
		case []byte:
			b.Write(p)
		default:
			if err := binary.Write(&b, binary.LittleEndian, p); err != nil {
				panic(err)
			}
		}
	}
	return b.Bytes()
}

func TestGGUFRefusals(t *testing.T) {
	magic := []byte("GGUF")
	head := func(tensors, pairs uint64, rest ...any) []byte {
		return gguf(append([]any{magic, uint32(3), tensors, pairs}, rest...)...)
	}
	pad := make([]byte, 64)
	for _, c := range []struct {
		name string
		data []byte
		want string
	}{
		{"empty", nil, "not a GGUF file"},
		{"magic", []byte("GGML0000"), "not a GGUF file"},
		{"cut", []byte("GGUF\x03"), "truncated"},
		{"version 1", gguf(magic, uint32(1), uint64(0), uint64(0)), "version 1 is not supported"},
		{"version 9", gguf(magic, uint32(9), uint64(0), uint64(0)), "version 9 is not supported"},
		{"version 0", gguf(magic, uint32(0), uint64(0), uint64(0)), "version 0 is not supported"},
		{"big-endian", []byte("GGUF\x00\x00\x00\x03"), "big-endian"},
		{"tensor count", head(1<<60, 0, pad), "header names 1152921504606846976 tensors"},
		{"pair count", head(0, 1<<60, pad), "metadata pairs, more than"},
		{"key length", head(0, 1, uint64(1<<40), pad), "limit 65536"},
		{"key utf-8", head(0, 1, "\xff", pad), "not UTF-8"},
		{"value type", head(0, 1, "k", uint32(77), pad), "value type 77 is not known"},
		{"bool", head(0, 1, "k", uint32(7), uint8(2), pad), "a truth value of 2"},
		{"string length", head(0, 1, "k", uint32(8), uint64(1<<62), pad), "truncated"},
		{"array count", head(0, 1, "k", uint32(9), uint32(8), uint64(1<<62), pad), "more than the"},
		{"array type", head(0, 1, "k", uint32(9), uint32(13), uint64(1), pad), "type 13, which is not known"},
		{"array depth", head(0, 1, "k", bytes.Repeat(gguf(uint32(9), uint64(1)), 2), pad), `metadata "k"`},
		{"key twice", head(0, 2, "k", uint32(7), uint8(1), "k", uint32(7), uint8(1), pad), `metadata "k" stands there twice`},
		{"alignment 0", head(0, 1, "general.alignment", uint32(4), uint32(0), pad), "power of two"},
		{"alignment 3", head(0, 1, "general.alignment", uint32(4), uint32(3), pad), "power of two"},
		{"alignment word", head(0, 1, "general.alignment", uint32(8), "x", pad), "power of two"},
		{"dimensions", head(1, 0, "t", uint32(5), pad), "5 dimensions, want at most 4"},
		{"element type", head(1, 0, "t", uint32(1), uint64(1), uint32(4), uint64(0), pad), "element type 4 is not known"},
		{"block", head(1, 0, "t", uint32(1), uint64(33), uint32(8), uint64(0), pad), "not whole blocks of 32 values, which Q8_0 needs"},
		{"offset", head(1, 0, "t", uint32(1), uint64(1), uint32(0), uint64(4), pad), "not a multiple of the alignment"},
		{"beyond", head(1, 0, "t", uint32(1), uint64(1000), uint32(0), uint64(0), pad), `tensor "t": bytes 0 to 4000`},
		{"far beyond", head(1, 0, "t", uint32(1), uint64(1), uint32(0), uint64(1<<63), pad), "truncated"},
		{"overflow", head(1, 0, "t", uint32(2), uint64(1<<40), uint64(1<<40), uint32(0), uint64(0), pad), "more values than can be counted"},
		{"tensor twice", head(2, 0, "t", uint32(1), uint64(1), uint32(0), uint64(0), "t", uint32(1), uint64(1), uint32(0), uint64(32), pad), "stands there twice"},
		{"overlap", head(2, 0, "t", uint32(1), uint64(9), uint32(0), uint64(0), "u", uint32(1), uint64(1), uint32(0), uint64(32), make([]byte, 200)), `tensor "u": bytes 32 to 36 overlap tensor "t"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "bad.gguf")
			if err := os.WriteFile(path, c.data, 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := Open(path)
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("got %v, want the path and %q", err, c.want)
			}
		})
	}
}

func TestGGUFSplits(t *testing.T) {
	dir := t.TempDir()
	name := func(n, of int) string { return filepath.Join(dir, fmt.Sprintf("m-%05d-of-%05d.gguf", n, of)) }
	for n := 1; n <= 3; n++ {
		meta := NewMeta()
		meta.SetUint32("split.count", 3)
		meta.SetUint32("split.no", uint32(n-1))
		if err := WriteGGUF(name(n, 3), []Tensor{Float32s(fmt.Sprintf("t%d", n), []float32{float32(n)}, 1)}, meta); err != nil {
			t.Fatal(err)
		}
	}
	f := mustOpen(t, dir)
	if len(f.Files()) != 3 || fmt.Sprint(f.Names()) != "[t1 t2 t3]" {
		t.Errorf("%v in %v", f.Names(), f.Files())
	}
	if x, err := f.Tensor("t3"); err != nil {
		t.Error(err)
	} else if v, err := x.Floats(); err != nil || v[0] != 3 {
		t.Errorf("t3 is %v, %v", v, err)
	}
	if _, err := Open(name(2, 3)); err == nil || !strings.Contains(err.Error(), "open the one whose name ends in -00001-of-00003.gguf") {
		t.Errorf("the second part: %v", err)
	}
	again := NewMeta()
	if err := WriteGGUF(name(3, 3), []Tensor{Float32s("t1", []float32{1}, 1)}, again); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), `tensor "t1" stands in another file`) {
		t.Errorf("a tensor in two parts: %v", err)
	}
	if err := os.Remove(name(3, 3)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "m-00003-of-00003.gguf") {
		t.Errorf("a missing part: %v", err)
	}
}

// A file cut anywhere is refused, whatever was cut.
func TestGGUFCutAnywhere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.gguf")
	if err := WriteGGUF(path, []Tensor{Float32s("t", make([]float32, 8), 8)}, sampleMeta()); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := parseGGUF(data); err != nil {
		t.Fatal(err)
	}
	for n := range data {
		if _, _, err := parseGGUF(data[:n]); err == nil {
			t.Fatalf("%d of %d bytes were accepted", n, len(data))
		}
	}
}

func TestGGUFFromLlamaCpp(t *testing.T) {
	f := mustOpen(t, shared.Path(t, "models", "llama-2-tiny-random", "llama-2-tiny-random.gguf"))
	if a, ok := f.Meta().String("general.architecture"); a != "llama" || !ok {
		t.Errorf("architecture %q", a)
	}
	if tokens, _ := f.Meta().Strings("tokenizer.ggml.tokens"); len(tokens) != 32000 {
		t.Errorf("%d tokens, want 32000", len(tokens))
	}
	x, err := f.Tensor("token_embd.weight")
	if err != nil {
		t.Fatal(err)
	}
	if x.Type != format.F16 || fmt.Sprint(x.Shape) != "[32000 8]" {
		t.Errorf("token_embd.weight is %s %v, want F16 [32000 8]", x.Type, x.Shape)
	}
	v, err := x.Floats()
	if err != nil {
		t.Fatal(err)
	}
	for i, y := range v {
		if y != y || math.Abs(float64(y)) > 100 {
			t.Fatalf("value %d is %g", i, y)
		}
	}
}

func FuzzGGUF(f *testing.F) {
	path := filepath.Join(f.TempDir(), "m.gguf")
	if err := WriteGGUF(path, []Tensor{Float32s("t", make([]float32, 4), 2, 2)}, sampleMeta()); err != nil {
		f.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add(gguf([]byte("GGUF"), uint32(2), uint64(1), uint64(0), "t", uint32(1), uint64(32), uint32(8), uint64(0), make([]byte, 64)))
	f.Add(gguf([]byte("GGUF"), uint32(3), uint64(0), uint64(1), "k", uint32(9), uint32(9), uint64(1), uint32(9), uint64(0)))
	f.Fuzz(func(t *testing.T, data []byte) {
		tensors, meta, err := parseGGUF(data)
		if err != nil {
			return
		}
		for _, x := range tensors {
			e := ggmlElements[ggmlNumbers[x.Stored]]
			if x.Len()/e.block*e.bytes != len(x.Data) {
				t.Fatalf("%q: %d bytes for %s %v", x.Name, len(x.Data), x.Stored, x.Shape)
			}
		}
		for _, k := range meta.Keys() {
			if !meta.Has(k) {
				t.Fatalf("key %q is listed and not there", k)
			}
		}
	})
}

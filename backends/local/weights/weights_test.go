package weights

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/evalrun/evalrun/internal/shared"
	"github.com/evalrun/evalrun/kernels/format"
)

func mustOpen(t testing.TB, path string) *File {
	t.Helper()
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

// some are tensors of several widths, in the order in which they are written.
func some() []Tensor {
	return []Tensor{
		Float32s("a.weight", []float32{1, -2, 3.5, 0, float32(math.Inf(1)), 6}, 2, 3),
		{Name: "z.empty", Type: format.F32, Stored: "F32", Shape: []int{0, 4}},
		Float32s("é scalar", []float32{7}),
		{Name: "b.half", Type: format.F16, Stored: "F16", Shape: []int{2}, Data: []byte{0, 0x3c, 0, 0xc0}},
		{Name: "c.codes", Type: format.U8, Stored: "U8", Shape: []int{3}, Data: []byte{1, 2, 255}},
	}
}

func TestSafetensorsRoundTrip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.safetensors")
	meta := map[string]string{"format": "pt", "note": "<a & b>"}
	shuffled := some()
	slices.Reverse(shuffled)
	if err := WriteSafetensors(path, shuffled, meta); err != nil {
		t.Fatal(err)
	}
	f := mustOpen(t, path)
	var want []string
	for _, w := range some() {
		want = append(want, w.Name)
		got, err := f.Tensor(w.Name)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Data, w.Data) || got.Stored != w.Stored || got.Type != w.Type || fmt.Sprint(got.Shape) != fmt.Sprint(w.Shape) {
			t.Errorf("%s: got %+v, want %+v", w.Name, got, w)
		}
	}
	if !slices.Equal(f.Names(), want) {
		t.Errorf("names %q, want %q", f.Names(), want)
	}
	if !reflect.DeepEqual(f.Metadata(), meta) {
		t.Errorf("metadata %v, want %v", f.Metadata(), meta)
	}
	if f.Meta() != nil {
		t.Error("a safetensors file has GGUF metadata")
	}
	a, err := f.Tensor("b.half")
	if err != nil {
		t.Fatal(err)
	}
	if v, err := a.Floats(); err != nil || !slices.Equal(v, []float32{1, -2}) {
		t.Errorf("half: %v, %v", v, err)
	}
	if err := f.Release(); err != nil {
		t.Fatal(err)
	}
	if v, err := a.Floats(); err != nil || !slices.Equal(v, []float32{1, -2}) {
		t.Errorf("half, after the pages were released: %v, %v", v, err)
	}
	if _, err := f.Tensor("nope"); !errors.Is(err, ErrNoTensor) || !strings.Contains(err.Error(), `"nope"`) {
		t.Errorf("missing tensor: %v", err)
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 1 {
		t.Errorf("%d files beside the checkpoint: %v", len(left), err)
	}
}

// container builds a safetensors file around a header, with n bytes of values.
func container(header string, n int) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(b, header...), make([]byte, n)...)
}

func TestSafetensorsRefusals(t *testing.T) {
	entry := func(dtype, shape, offsets string) string {
		return fmt.Sprintf(`{"x":{"dtype":"%s","shape":%s,"data_offsets":%s}}`, dtype, shape, offsets)
	}
	for _, c := range []struct {
		name string
		data []byte
		want string
	}{
		{"empty", nil, "not a safetensors file"},
		{"short", []byte{1, 2, 3}, "not a safetensors file: 3 bytes"},
		{"html", []byte("<!DOCTYPE html><html></html>"), "not a safetensors file"},
		{"header beyond file", binary.LittleEndian.AppendUint64(nil, 1000), "header length 1000, but the file has 0"},
		{"no object", container("[1]", 0), "does not begin with {"},
		{"not utf-8", container("{\"\xff\":1}", 0), "not UTF-8"},
		{"cut json", container(`{"x":{"dtype":"F32"`, 0), `tensor "x"`},
		{"twice", container(`{"x":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"x":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}`, 0), `tensor "x" stands there twice`},
		{"dtype", container(entry("F3", "[1]", "[0,4]"), 4), `dtype "F3" is not one of BF16`},
		{"no dtype", container(`{"x":{"shape":[1],"data_offsets":[0,4]}}`, 4), "no dtype"},
		{"no shape", container(`{"x":{"dtype":"F32","data_offsets":[0,4]}}`, 4), "no shape"},
		{"one offset", container(entry("F32", "[1]", "[0]"), 4), "want two numbers"},
		{"negative", container(entry("F32", "[-1]", "[0,4]"), 4), `tensor "x"`},
		{"size", container(entry("F32", "[2]", "[0,4]"), 4), "hold 4 bytes, want 8 for F32 [2]"},
		{"backwards", container(entry("F32", "[1]", "[4,0]"), 4), "run backwards"},
		{"beyond", container(entry("F32", "[2]", "[0,8]"), 4), "end at byte 8, but the file has 4"},
		{"overflow", container(entry("F32", "[4294967296,4294967296,4294967296]", "[0,4]"), 4), "more values than can be counted"},
		{"byte overflow", container(entry("F64", "[4611686018427387904]", "[0,4]"), 4), "more bytes than can be counted"},
		{"huge dimension", container(entry("F32", "[18446744073709551615]", "[0,4]"), 4), "too large"},
		{"hole", container(entry("F32", "[1]", "[4,8]"), 8), "a hole"},
		{"tail", container(entry("F32", "[1]", "[0,4]"), 5), "end at byte 4 of the values, but the file has 5"},
		{"overlap", container(`{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"y":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}}`, 6), "overlap"},
		{"metadata", container(`{"__metadata__":{"a":1}}`, 0), "__metadata__"},
		{"after", container(`{}x`, 0), "after its closing brace"},
		{"deep", container(`{"x":`+strings.Repeat("[", 200000), 0), `tensor "x"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "bad.safetensors")
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

func TestShards(t *testing.T) {
	dir := t.TempDir()
	all := some()
	one, two := "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
	if err := WriteSafetensors(filepath.Join(dir, one), all[:2], nil); err != nil {
		t.Fatal(err)
	}
	if err := WriteSafetensors(filepath.Join(dir, two), all[2:], nil); err != nil {
		t.Fatal(err)
	}
	write := func(m map[string]string) {
		text, err := json.Marshal(map[string]any{"metadata": map[string]any{"total_size": 40}, "weight_map": m})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "model.safetensors.index.json"), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	good := map[string]string{"a.weight": one, "z.empty": one, "é scalar": two, "b.half": two, "c.codes": two}
	write(good)
	f := mustOpen(t, dir)
	if len(f.Names()) != 5 || len(f.Files()) != 2 {
		t.Errorf("names %q in %q", f.Names(), f.Files())
	}
	if x, err := f.Tensor("c.codes"); err != nil || !bytes.Equal(x.Data, []byte{1, 2, 255}) {
		t.Errorf("c.codes: %v, %v", x, err)
	}

	for _, c := range []struct{ tensor, file, want string }{
		{"ghost", one, `tensor "ghost", which the index puts here`},
		{"a.weight", "missing.safetensors", "missing.safetensors"},
		{"a.weight", "../" + one, "is not a file name beside the index"},
		{"a.weight", filepath.Join(dir, one), "is not a file name beside the index"},
		{"a.weight", "..", "is not a file name beside the index"},
	} {
		bad := map[string]string{c.tensor: c.file}
		write(bad)
		if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: got %v, want %q", bad, err, c.want)
		}
	}
	write(good)
	whole, err := os.ReadFile(filepath.Join(dir, two))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, two), whole[:len(whole)-1], 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), two) || !strings.Contains(err.Error(), "truncated") {
		t.Errorf("truncated shard: %v", err)
	}
}

func TestFolderWithoutWeights(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "no model.safetensors") {
		t.Errorf("empty folder: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "pytorch_model.bin"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "pickles") {
		t.Errorf("pickle: %v", err)
	}
	if _, err := Open(filepath.Join(dir, "nothing")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no folder: %v", err)
	}
	for _, n := range []string{"a.gguf", "b.gguf"} {
		if err := WriteGGUF(filepath.Join(dir, n), nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "2 .gguf files (a.gguf, b.gguf): name one") {
		t.Errorf("two files: %v", err)
	}
}

func TestWriteRefusals(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.safetensors")
	x := Float32s("x", []float32{1, 2}, 2)
	short, odd, q8 := x, x, x
	short.Shape = []int{3}
	odd.Stored = "F3"
	q8.Stored = "Q8_0"
	for _, c := range []struct {
		tensors []Tensor
		want    string
	}{
		{[]Tensor{short}, `tensor "x": 8 bytes, want 12 for F32 [3]`},
		{[]Tensor{odd}, `no element type "F3"`},
		{[]Tensor{q8}, `no element type "Q8_0"`},
		{[]Tensor{x, x}, "twice"},
		{[]Tensor{Float32s("a\xff", nil, 0)}, "not UTF-8"},
		{[]Tensor{Float32s("x", nil, -1)}, "negative"},
	} {
		if err := WriteSafetensors(path, c.tensors, nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %q", err, c.want)
		}
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Error("a refused file was written")
		}
	}
}

// Files that the Python library wrote come out byte for byte when written again.
func TestSafetensorsAsPythonWrites(t *testing.T) {
	for _, name := range []string{"llama/model.safetensors", "llama/bf16/model.safetensors", "llama/adapter/adapter_model.safetensors", "phi/expected.safetensors"} {
		t.Run(name, func(t *testing.T) {
			path := shared.Path(t, "golden", "models", filepath.FromSlash(name))
			f := mustOpen(t, path)
			var all []Tensor
			for _, n := range f.Names() {
				x, err := f.Tensor(n)
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, x)
			}
			out := filepath.Join(t.TempDir(), "again.safetensors")
			if err := WriteSafetensors(out, all, f.Metadata()); err != nil {
				t.Fatal(err)
			}
			want, err := Hash(path)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := Hash(out); err != nil || got != want {
				t.Errorf("%d tensors written again differ from the original (%v)", len(all), err)
			}
		})
	}
}

// The same weights whole and in shards.
func TestShardsEqualWhole(t *testing.T) {
	whole := mustOpen(t, shared.Path(t, "golden", "models", "llama"))
	parts := mustOpen(t, shared.Path(t, "golden", "models", "llama", "sharded"))
	if len(parts.Files()) != 3 || len(parts.Names()) != len(whole.Names()) {
		t.Fatalf("%d tensors in %d files, want %d in 3", len(parts.Names()), len(parts.Files()), len(whole.Names()))
	}
	for _, n := range whole.Names() {
		a, _ := whole.Tensor(n)
		b, err := parts.Tensor(n)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(a.Data, b.Data) || !slices.Equal(a.Shape, b.Shape) {
			t.Errorf("%s differs", n)
		}
	}
}

func TestElementsAgreeWithFormat(t *testing.T) {
	for _, list := range []map[string]element{safetensorsElements, func() map[string]element {
		m := map[string]element{}
		for _, e := range ggmlElements {
			m[e.name] = e
		}
		return m
	}()} {
		for name, e := range list {
			typ := e.typ()
			if typ == format.Invalid {
				continue
			}
			if typ.BlockSize() != e.block || typ.BlockBytes() != e.bytes {
				t.Errorf("%s: blocks of %d in %d bytes, package format says %d in %d", name, e.block, e.bytes, typ.BlockSize(), typ.BlockBytes())
			}
		}
	}
	for id, e := range ggmlElements {
		if typ, ok := format.GGML(id); ok && typ != e.typ() {
			t.Errorf("ggml type %d: %s here, %s in package format", id, e.name, typ)
		}
	}
}

func FuzzSafetensors(f *testing.F) {
	f.Add(container(`{"x":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},"__metadata__":{"a":"b"}}`, 8))
	f.Add(container(`{"x":{"dtype":"BOOL","shape":[],"data_offsets":[0,1]},"y":{"dtype":"U8","shape":[0],"data_offsets":[1,1]}}  `, 1))
	f.Add(container(`{}`, 0))
	f.Add(container(`{"x":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,18446744073709551615]}}`, 8))
	f.Fuzz(func(t *testing.T, data []byte) {
		tensors, _, err := parseSafetensors(data)
		if err != nil {
			return
		}
		total := 0
		for _, x := range tensors {
			e := safetensorsElements[x.Stored]
			if x.Len()*e.bytes != len(x.Data) {
				t.Fatalf("%q: %d bytes for %s %v", x.Name, len(x.Data), x.Stored, x.Shape)
			}
			total += len(x.Data)
		}
		if n := 8 + int(binary.LittleEndian.Uint64(data)) + total; n != len(data) {
			t.Fatalf("tensors and header cover %d of %d bytes", n, len(data))
		}
	})
}

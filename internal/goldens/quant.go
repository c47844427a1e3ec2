package main

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"

	"github.com/evalrun/evalrun/backends/local/weights"
)

// checkNF4 holds `debug quantize` and `debug dequantize` to bitsandbytes.
func checkNF4(e *env) error {
	dir := e.path("training/nf4")
	text, err := os.ReadFile(filepath.Join(dir, "meta.json"))
	if err != nil {
		return err
	}
	var meta struct {
		Cases []struct {
			Name       string `json:"name"`
			Type       string `json:"quant_type"`
			NotNearest int    `json:"nested_codes_not_nearest"`
		}
	}
	if err := json.Unmarshal(text, &meta); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp("", "goldens")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	c := nf4Check{
		env: e, tmp: tmp,
		packed: e.tally("codes", "equal, zero blocks by value"), absmax: e.tally("scales", "equal"), dequant: e.tally("values", "equal"),
		nested: e.tally("quantised scales", "equal, 1 code where the original errs"), offset: e.tally("offset", "1e-6 relative"),
		double: e.tally("values, double, own codes", "equal given the codes"), files: e.tally("checkpoints of bitsandbytes", "equal"),
		maps: e.tally("maps", "equal"),
	}
	for _, m := range meta.Cases {
		if err := c.one(filepath.Join(dir, m.Name+".safetensors"), m.Name, m.Type, m.NotNearest); err != nil {
			return err
		}
	}
	if err := c.checkpoint(dir); err != nil {
		return err
	}
	return c.models()
}

type nf4Check struct {
	*env
	tmp                                                          string
	packed, absmax, dequant, nested, offset, double, files, maps *tally
}

// open reads a safetensors file into memory.
func open(path string) (map[string]weights.Tensor, error) {
	f, err := weights.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	all := map[string]weights.Tensor{}
	for _, n := range f.Names() {
		t, err := f.Tensor(n)
		if err != nil {
			return nil, err
		}
		t.Data = bytes.Clone(t.Data)
		all[n] = t
	}
	return all, nil
}

func floats(t weights.Tensor) []float32 {
	v, err := t.Floats()
	if err != nil {
		panic(err)
	}
	return v
}

// one quantises an input with single and with double quantisation.
func (c nf4Check) one(path, name, kind string, notNearest int) error {
	want, err := open(path)
	if err != nil {
		return err
	}
	in, single, double := filepath.Join(c.tmp, "in.safetensors"), filepath.Join(c.tmp, "single.safetensors"), filepath.Join(c.tmp, "double.safetensors")
	values := filepath.Join(c.tmp, "values.safetensors")
	x := want["input"]
	x.Name = "W"
	if err := weights.WriteSafetensors(in, []weights.Tensor{x}, nil); err != nil {
		return err
	}
	for out, flags := range map[string][]string{single: nil, double: {"--double"}} {
		if _, err := c.window(nil, append([]string{"quantize", "--in", in, "--out", out, "--type", kind}, flags...)...); err != nil {
			return err
		}
	}
	got, err := open(single)
	if err != nil {
		return err
	}
	if _, err := c.window(nil, "dequantize", "--in", single, "--out", values); err != nil {
		return err
	}
	dec, err := open(values)
	if err != nil {
		return err
	}
	mine, theirs := floats(dec["W"]), floats(want["dequant"])
	for i := range theirs {
		c.dequant.row(mine[i] == theirs[i], "%s[%d]: %g, want %g", name, i, mine[i], theirs[i])
	}
	scales, wantScales := floats(got["W.absmax"]), floats(want["absmax"])
	for i := range wantScales {
		c.absmax.row(scales[i] == wantScales[i], "%s block %d: %g, want %g", name, i, scales[i], wantScales[i])
	}
	for i, b := range want["packed"].Data {
		zero := scales[2*i/64] == 0 // such a block's nibbles are 0 on a GPU
		c.packed.row(got["W"].Data[i] == b || zero, "%s byte %d: %02x, want %02x", name, i, got["W"].Data[i], b)
	}

	got, err = open(double)
	if err != nil {
		return err
	}
	var state struct {
		Offset float64 `json:"nested_offset"`
	}
	if err := json.Unmarshal(got["W.quant_state.bitsandbytes__"+kind].Data, &state); err != nil {
		return err
	}
	wantOffset := float64(floats(want["double.offset"])[0])
	c.offset.near(0, math.Abs(state.Offset-wantOffset)/math.Abs(wantOffset), 1e-6, "%s", name)
	c.packed.row(bytes.Equal(got["W"].Data, want["packed"].Data) || strings.HasPrefix(name, "zero"), "%s: other codes with double quantisation", name)
	m := floats(got["W.nested_quant_map"])
	for i, b := range want["double.absmax"].Data {
		g := got["W.absmax"].Data[i]
		near := notNearest > 0 && (abs(int(g)-int(b)) <= 1 || math.Abs(float64(m[g]-m[b])) <= 3e-5)
		c.nested.row(g == b || near, "%s scale %d: code %d, want %d", name, i, g, b)
	}

	// Given the original's own codes the values are the same to the bit.
	t := []weights.Tensor{{Name: "W", Stored: "U8", Shape: want["packed"].Shape, Data: want["packed"].Data}, got["W.quant_map"], got["W.nested_quant_map"]}
	text := strings.Replace(string(got["W.quant_state.bitsandbytes__"+kind].Data), "\"nested_offset\": ", "\"nested_offset\": "+number32(wantOffset)+", \"was\": ", 1)
	t = append(t, weights.Tensor{Name: "W.quant_state.bitsandbytes__" + kind, Stored: "U8", Shape: []int{len(text)}, Data: []byte(text)},
		rename(want["double.absmax"], "W.absmax"), rename(want["double.nested_absmax"], "W.nested_absmax"))
	if err := weights.WriteSafetensors(double, t, nil); err != nil {
		return err
	}
	if _, err := c.window(nil, "dequantize", "--in", double, "--out", values); err != nil {
		return err
	}
	if dec, err = open(values); err != nil {
		return err
	}
	mine, theirs = floats(dec["W"]), floats(want["double.dequant"])
	for i := range theirs {
		c.double.row(mine[i] == theirs[i], "%s[%d]: %g, want %g", name, i, mine[i], theirs[i])
	}
	return nil
}

func number32(x float64) string {
	b, _ := json.Marshal(x)
	return string(b)
}

func rename(t weights.Tensor, name string) weights.Tensor {
	t.Name = name
	return t
}

func abs(x int) int { return max(x, -x) }

// checkpoint reads what bitsandbytes saved, and the maps.
func (c nf4Check) checkpoint(dir string) error {
	values := filepath.Join(c.tmp, "values.safetensors")
	if _, err := c.window(nil, "dequantize", "--in", filepath.Join(dir, "serialized.safetensors"), "--out", values); err != nil {
		return err
	}
	got, err := open(values)
	if err != nil {
		return err
	}
	want, err := open(filepath.Join(dir, "serialized_dequant.safetensors"))
	if err != nil {
		return err
	}
	c.files.row(len(got) == len(want), "%d tensors, want %d", len(got), len(want))
	for name, t := range want {
		mine := floats(got[name])
		for i, x := range floats(t) {
			c.files.row(i < len(mine) && mine[i] == x, "%s[%d]", name, i)
		}
	}
	maps, err := open(filepath.Join(dir, "maps.safetensors"))
	if err != nil {
		return err
	}
	in, out := filepath.Join(c.tmp, "in.safetensors"), filepath.Join(c.tmp, "out.safetensors")
	if err := weights.WriteSafetensors(in, []weights.Tensor{weights.Float32s("W", make([]float32, 64), 64)}, nil); err != nil {
		return err
	}
	for _, kind := range []string{"nf4", "fp4"} {
		if _, err := c.window(nil, "quantize", "--in", in, "--out", out, "--double", "--type", kind); err != nil {
			return err
		}
		made, err := open(out)
		if err != nil {
			return err
		}
		c.maps.row(bytes.Equal(made["W.quant_map"].Data, maps[kind].Data), "%s", kind)
		c.maps.row(bytes.Equal(made["W.nested_quant_map"].Data, maps["dynamic"].Data), "dynamic")
	}
	return nil
}

// models compares the codes and restored scales of one weight of each model.
func (c nf4Check) models() error {
	folders, err := filepath.Glob(c.path("models/*/expected.json"))
	if err != nil || len(folders) == 0 {
		return err
	}
	codes, scales := c.tally("models: codes", "equal"), c.tally("models: restored scales", "1e-6 relative")
	in, out := filepath.Join(c.tmp, "in.safetensors"), filepath.Join(c.tmp, "out.safetensors")
	for _, path := range folders {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		var expected struct {
			NF4 struct {
				Tensor string `json:"tensor_of_codes"`
			}
		}
		if err := json.Unmarshal(text, &expected); err != nil {
			return err
		}
		dir := filepath.Dir(path)
		model, err := open(filepath.Join(dir, "model.safetensors"))
		if err != nil {
			return err
		}
		want, err := open(filepath.Join(dir, "expected.safetensors"))
		if err != nil {
			return err
		}
		if err := weights.WriteSafetensors(in, []weights.Tensor{rename(model[expected.NF4.Tensor], "W")}, nil); err != nil {
			return err
		}
		if _, err := c.window(nil, "quantize", "--in", in, "--out", out, "--double"); err != nil {
			return err
		}
		got, err := open(out)
		if err != nil {
			return err
		}
		name := filepath.Base(dir)
		codes.row(bytes.Equal(got["W"].Data, want["nf4/packed"].Data), "%s", name)
		var state struct {
			Offset float32 `json:"nested_offset"`
			Block  int     `json:"nested_blocksize"`
		}
		if err := json.Unmarshal(got["W.quant_state.bitsandbytes__nf4"].Data, &state); err != nil {
			return err
		}
		m, second := floats(got["W.nested_quant_map"]), floats(got["W.nested_absmax"])
		for i, x := range floats(want["nf4/absmax"]) {
			y := float64(float32(m[got["W.absmax"].Data[i]]*second[i/state.Block]) + state.Offset)
			scales.near(0, math.Abs(y-float64(x))/math.Abs(float64(x)), 1e-6, "%s block %d", name, i)
		}
	}
	return nil
}

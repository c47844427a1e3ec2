package quant

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/evalrun/evalrun/backends/local/weights"
	"github.com/evalrun/evalrun/kernels/format"
)

// bitsandbytes stores a 4-bit weight W [n, k] as (functional.py, QuantState)
//
//	W                       codes, U8 [ceil(n·k/2), 1] or another type of the
//	                        same bytes
//	W.absmax                scales: F32, or U8 where they are quantised
//	W.quant_map             F32 [16]
//	W.nested_absmax         F32, and
//	W.nested_quant_map      F32 [256], where scales are quantised
//	W.quant_state.bitsandbytes__nf4 (or __fp4)
//	                        the rest, as the bytes of a JSON object in U8
//
// and an 8-bit weight as W, I8 [n, k], with NAME.SCB, F32 [n], where W is
// NAME.weight.

const statePrefix = "quant_state.bitsandbytes__"

// state is that JSON object.
type state struct {
	QuantType   string   `json:"quant_type"`
	Block       int      `json:"blocksize"`
	DType       string   `json:"dtype"`
	Shape       []int    `json:"shape"`
	NestedBlock int      `json:"nested_blocksize"`
	NestedDType string   `json:"nested_dtype"`
	Offset      *float64 `json:"nested_offset"`
}

// kinds are bitsandbytes' names of its 4-bit formats.
var kinds = map[string]format.QuantKind{"nf4": format.NF4, "fp4": format.FP4}

// dtypes are torch's names of the types that a weight may have had.
var dtypes = map[string]format.Type{"float32": format.F32, "bfloat16": format.BF16, "float16": format.F16}

// stateOf finds the tensor that describes a 4-bit weight; "" is none.
func stateOf(f *weights.File, name string) (format.QuantKind, string) {
	for short, kind := range kinds {
		if s := name + "." + statePrefix + short; f.Has(s) {
			return kind, s
		}
	}
	return 0, ""
}

// Find gives the codes and scales of the 4-bit tensor called name, of any
// shape, and the shape. Both are nil where name is no such tensor.
func Find(f *weights.File, name string) (*format.Quant, []int, error) {
	kind, stateName := stateOf(f, name)
	if stateName == "" {
		return nil, nil, nil
	}
	t, err := f.Tensor(stateName)
	if err != nil {
		return nil, nil, err
	}
	s, err := parseState(t.Data)
	if err != nil {
		return nil, nil, fmt.Errorf("tensor %q: %w", stateName, err)
	}
	if kinds[s.QuantType] != kind {
		return nil, nil, fmt.Errorf("tensor %q: quant_type %q under that name", stateName, s.QuantType)
	}
	q, err := s.find(f, name)
	return q, s.Shape, err
}

// find gathers what the description says must be there.
func (s state) find(f *weights.File, name string) (*format.Quant, error) {
	codes, err := f.Tensor(name)
	if err != nil {
		return nil, err
	}
	n := 1
	for _, d := range s.Shape {
		n *= d
	}
	blocks := (n + s.Block - 1) / s.Block
	q := &format.Quant{Kind: kinds[s.QuantType], Codes: codes.Data, Block: s.Block, Round: dtypes[s.DType]}
	if q.Map, err = floats(f, name+".quant_map", 16); err != nil {
		return nil, err
	}
	nested := f.Has(name + ".nested_absmax")
	switch {
	case nested != (s.Offset != nil):
		return nil, fmt.Errorf("tensor %q: nested_offset and nested_absmax belong together, one of them is missing", name)
	case !nested:
		q.Absmax, err = floats(f, name+".absmax", blocks)
	default:
		q.Nested, err = s.nested(f, name, blocks)
	}
	if err != nil {
		return nil, err
	}
	if err := q.Check(int64(n)); err != nil {
		return nil, fmt.Errorf("tensor %q: %w", name, err)
	}
	return q, nil
}

// nested gathers the quantised scales of so many blocks.
func (s state) nested(f *weights.File, name string, blocks int) (*format.Nested, error) {
	t, err := f.Tensor(name + ".absmax")
	if err != nil {
		return nil, err
	}
	if t.Stored != "U8" || t.Len() != blocks {
		return nil, fmt.Errorf("tensor %q: %s %v, want U8 [%d], a quantised scale for each block of %d", t.Name, t.Stored, t.Shape, blocks, s.Block)
	}
	d := &format.Nested{Codes: t.Data, Block: s.NestedBlock, Offset: float32(*s.Offset)}
	if d.Map, err = floats(f, name+".nested_quant_map", 256); err != nil {
		return nil, err
	}
	d.Absmax, err = floats(f, name+".nested_absmax", (blocks+s.NestedBlock-1)/s.NestedBlock)
	return d, err
}

// parseState reads the description and checks what does not depend on other
// tensors.
func parseState(text []byte) (state, error) {
	var s state
	dec := json.NewDecoder(bytes.NewReader(text))
	if err := dec.Decode(&s); err != nil {
		return s, fmt.Errorf("no JSON object: %w", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return s, errors.New("more text after the JSON object")
	}
	switch {
	case kinds[s.QuantType] == 0:
		return s, fmt.Errorf("quant_type %q, want nf4 or fp4", s.QuantType)
	case dtypes[s.DType] == format.Invalid:
		return s, fmt.Errorf("dtype %q, want float32, bfloat16 or float16", s.DType)
	case s.Block < 1 || s.Block > 1<<20:
		return s, fmt.Errorf("blocksize %d", s.Block)
	}
	size := 1
	for _, d := range s.Shape {
		if d < 1 || d > (1<<40)/size {
			return s, fmt.Errorf("shape %v", s.Shape)
		}
		size *= d
	}
	if len(s.Shape) == 0 {
		return s, errors.New("no shape")
	}
	if s.Offset != nil {
		switch {
		case s.NestedBlock < 1 || s.NestedBlock > 1<<20:
			return s, fmt.Errorf("nested_blocksize %d", s.NestedBlock)
		case s.NestedDType != "float32" && s.NestedDType != "":
			return s, fmt.Errorf("nested_dtype %q, want float32", s.NestedDType)
		case math.IsInf(float64(float32(*s.Offset)), 0):
			return s, fmt.Errorf("nested_offset %g is no float32", *s.Offset)
		}
	}
	return s, nil
}

// floats reads an F32 tensor of n values, scales or a map.
func floats(f *weights.File, name string, n int) ([]float32, error) {
	t, err := f.Tensor(name)
	if err != nil {
		return nil, err
	}
	if t.Stored != "F32" || t.Len() != n {
		return nil, fmt.Errorf("tensor %q: %s %v, want F32 [%d]", name, t.Stored, t.Shape, n)
	}
	values, err := t.Floats()
	for i, v := range values {
		if v-v != 0 {
			return nil, fmt.Errorf("tensor %q: value %d is %g", name, i, v)
		}
	}
	return values, err
}

// scaleName is where the scales of an 8-bit weight lie.
func scaleName(name string) string { return strings.TrimSuffix(name, "weight") + "SCB" }

func loadInt8(f *weights.File, t weights.Tensor, n, k int) (*format.Quant, error) {
	if !slices.Equal(t.Shape, []int{n, k}) {
		return nil, fmt.Errorf("tensor %q: shape %v, want %v", t.Name, t.Shape, []int{n, k})
	}
	q := &format.Quant{Kind: format.Int8, Codes: t.Data, Block: k, Round: format.F32}
	var err error
	q.Absmax, err = floats(f, scaleName(t.Name), n)
	return q, err
}

// Store gives the tensors that hold a quantised array in a checkpoint, under
// the names and in the layout of bitsandbytes, byte for byte.
func Store(name string, shape []int, q *format.Quant) ([]weights.Tensor, error) {
	n := 1
	for _, d := range shape {
		n *= d
	}
	if err := q.Check(int64(n)); err != nil {
		return nil, fmt.Errorf("store tensor %q: %w", name, err)
	}
	if q.First != 0 {
		return nil, fmt.Errorf("store tensor %q: it is a part of a larger one", name)
	}
	if q.Kind == format.Int8 {
		return []weights.Tensor{
			{Name: name, Stored: "I8", Type: format.I8, Shape: shape, Data: q.Codes[:n]},
			weights.Float32s(scaleName(name), q.Absmax, len(q.Absmax)),
		}, nil
	}
	short := strings.ToLower(q.Kind.String())
	text := describe(q, short, shape)
	out := []weights.Tensor{
		u8(name, q.Codes[:(n+1)/2], (n+1)/2, 1),
		weights.Float32s(name+".quant_map", q.Map, 16),
		u8(name+"."+statePrefix+short, text, len(text)),
	}
	if d := q.Nested; d != nil {
		return append(out, u8(name+".absmax", d.Codes, len(d.Codes)),
			weights.Float32s(name+".nested_absmax", d.Absmax, len(d.Absmax)),
			weights.Float32s(name+".nested_quant_map", d.Map, len(d.Map))), nil
	}
	return append(out, weights.Float32s(name+".absmax", q.Absmax, len(q.Absmax))), nil
}

func u8(name string, data []byte, shape ...int) weights.Tensor {
	return weights.Tensor{Name: name, Stored: "U8", Type: format.U8, Shape: shape, Data: data}
}

// describe writes the JSON object as Python's json.dumps does.
func describe(q *format.Quant, short string, shape []int) []byte {
	dtype := ""
	for name, t := range dtypes {
		if t == q.Round {
			dtype = name
		}
	}
	dims := make([]string, len(shape))
	for i, d := range shape {
		dims[i] = strconv.Itoa(d)
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, `{"quant_type": "%s", "blocksize": %d, "dtype": "%s", "shape": [%s]`, short, q.Block, dtype, strings.Join(dims, ", "))
	if d := q.Nested; d != nil {
		fmt.Fprintf(&b, `, "nested_blocksize": %d, "nested_dtype": "float32", "nested_offset": %s`, d.Block, pythonFloat(float64(d.Offset)))
	}
	b.WriteByte('}')
	return b.Bytes()
}

// pythonFloat is repr(x) for a finite x: the shortest digits that give x back,
// with an exponent below 1e-4 and from 1e16 on.
func pythonFloat(x float64) string {
	if a := math.Abs(x); a != 0 && (a < 1e-4 || a >= 1e16) {
		return strconv.FormatFloat(x, 'e', -1, 64)
	}
	s := strconv.FormatFloat(x, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

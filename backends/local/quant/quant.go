// Package quant knows how quantised weights lie in checkpoints, and which
// weights are quantised when a model is loaded.
//
// The arithmetic of the formats is kernels/format; this package finds the
// tensors that belong together (bitsandbytes stores a weight's codes, scales
// and description under related names), checks them against each other, and
// writes them.
package quant

import (
	"fmt"
	"slices"
	"strings"

	"github.com/evalrun/evalrun/backends/local/weights"
	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/format"
)

// Block is the number of values that share a scale in bitsandbytes' 4-bit
// formats, unless a checkpoint says otherwise.
const Block = 64

// Load finds the weight called name, [n, k], in whichever form the checkpoint
// stores it: floating point, a GGML type, bitsandbytes' 4-bit formats with or
// without double quantisation, or its 8-bit format. Codes and values stay
// where they are in the file.
//
// Errors name the tensor, what was wanted and what was found; a missing one
// wraps weights.ErrNoTensor.
func Load(f *weights.File, name string, n, k int) (kernels.Weight, error) {
	t, err := f.Tensor(name)
	if err != nil {
		return kernels.Weight{}, err
	}
	w := kernels.Weight{Name: name, N: n, K: k}
	q, shape, err := Find(f, name)
	switch {
	case err != nil:
		return w, err
	case q != nil && !slices.Equal(shape, []int{n, k}):
		return w, fmt.Errorf("tensor %q: %v codes of a weight of shape %v, want %v", name, q.Kind, shape, []int{n, k})
	case q != nil:
		w.Quant = q
		return w, nil
	case t.Stored == "I8":
		w.Quant, err = loadInt8(f, t, n, k)
		return w, err
	case t.Stored == "U8":
		return w, fmt.Errorf("tensor %q: 4-bit codes without %s.%snf4 or …fp4, which say what they mean", name, name, statePrefix)
	}
	if !slices.Equal(t.Shape, []int{n, k}) {
		return w, fmt.Errorf("tensor %q: shape %v, want %v", name, t.Shape, []int{n, k})
	}
	if !slices.Contains(plainTypes, t.Type) {
		return w, fmt.Errorf("tensor %q: weights of type %s are not supported; supported are %s, and NF4, FP4 and INT8 as bitsandbytes stores them", name, t.Stored, plainNames())
	}
	w.Type, w.Data = t.Type, t.Data
	return w, nil
}

// Values decodes the tensor called name whole, of whatever shape and stored in
// whatever form. values is nil where name is a part of another tensor's form:
// its scales, map or description.
func Values(f *weights.File, name string) (values []float32, shape []int, err error) {
	if part(f, name) {
		return nil, nil, nil
	}
	q, shape, err := Find(f, name)
	if err != nil {
		return nil, nil, err
	}
	t, err := f.Tensor(name)
	if err != nil {
		return nil, nil, err
	}
	if q == nil && t.Stored == "I8" && len(t.Shape) == 2 && f.Has(scaleName(name)) {
		shape = t.Shape
		if q, err = loadInt8(f, t, shape[0], shape[1]); err != nil {
			return nil, nil, err
		}
	}
	if q == nil {
		values, err = t.Floats()
		return values, t.Shape, err
	}
	n := 1
	for _, d := range shape {
		n *= d
	}
	values = make([]float32, n)
	q.Decode(values, 0)
	return values, shape, nil
}

// part reports whether a tensor belongs to another's form.
func part(f *weights.File, name string) bool {
	if owner, ok := strings.CutSuffix(name, "SCB"); ok {
		t, err := f.Tensor(owner + "weight")
		return err == nil && t.Stored == "I8"
	}
	for _, end := range []string{".absmax", ".quant_map", ".nested_absmax", ".nested_quant_map", "." + statePrefix + "nf4", "." + statePrefix + "fp4"} {
		if owner, ok := strings.CutSuffix(name, end); ok {
			_, state := stateOf(f, owner)
			return state != ""
		}
	}
	return false
}

// plainTypes are the formats whose scales, if any, lie with their values.
var plainTypes = []format.Type{format.F32, format.F16, format.BF16, format.F64,
	format.Q8_0, format.Q4_0, format.Q4_1, format.Q5_0, format.Q5_1, format.Q2_K, format.Q3_K, format.Q4_K, format.Q5_K, format.Q6_K}

func plainNames() string {
	var names []string
	for _, t := range plainTypes {
		names = append(names, t.Name())
	}
	return strings.Join(names, ", ")
}

// Policy says what becomes of floating-point weights when a model is loaded.
type Policy uint8

const (
	None Policy = iota // they stay as they are
	// NF4 is what QLoRA trains on: 4-bit NormalFloat, blocks of 64, scales
	// quantised as well.
	NF4
	// Int8 is LLM.int8's weight format, one scale a row. Activations stay
	// float32, so that no columns of outliers need a way of their own.
	Int8
)

// Policies are the names of all policies, in the order of their numbers.
func Policies() []string { return []string{"none", "nf4", "int8"} }

// String is the name that ParsePolicy accepts.
func (p Policy) String() string { return Policies()[p] }

// ParsePolicy reads what --quant names; "" is none.
func ParsePolicy(name string) (Policy, error) {
	if name == "" {
		return None, nil
	}
	if i := slices.Index(Policies(), name); i >= 0 {
		return Policy(i), nil
	}
	return None, fmt.Errorf("no quantisation %q; there are %s", name, strings.Join(Policies(), ", "))
}

// Applies reports whether the policy covers the weight called name: every
// linear layer's but lm_head's, as bitsandbytes and transformers do it. Which
// names are linear layers is the caller's business; embeddings and norms are
// not asked about.
func (p Policy) Applies(name string) bool {
	return p != None && !strings.Contains(name, "lm_head") && name != "output.weight"
}

// Apply quantises w, read as values of type as first (Invalid: of the type
// that they have; bitsandbytes quantises what was loaded, and a model loaded
// in bfloat16 was rounded to it before). Weights that are quantised already,
// by bitsandbytes or GGML, stay as they are. The result has memory of its own,
// of Bytes bytes.
func (p Policy) Apply(w kernels.Weight, as format.Type) (kernels.Weight, error) {
	if p == None || w.Quant != nil || w.Type.Quantized() {
		return w, nil
	}
	round := roundOf(w, as)
	kind, block := format.NF4, Block
	if p == Int8 {
		kind, block = format.Int8, w.K
	}
	q, err := format.Quantize(kind, block, w.N*w.K, round, func(dst []float32, from int) {
		w.Decode(dst, from)
		format.RoundTo(dst, round)
	})
	if err != nil {
		return w, fmt.Errorf("quantise tensor %q: %w", w.Name, err)
	}
	if p == NF4 {
		q.Double()
	}
	return kernels.Weight{Name: w.Name, N: w.N, K: w.K, Quant: q}, nil
}

// roundOf is the type that Apply rounds values to.
func roundOf(w kernels.Weight, as format.Type) format.Type {
	if as == format.Invalid {
		as = w.Type
	}
	switch as {
	case format.BF16, format.F16:
		return as
	}
	return format.F32
}

// Outline is what Apply makes of a weight, read as values of type as, without codes and
// scales: for plans of memory. It is nil for None.
func (p Policy) Outline(w kernels.Weight, as format.Type) *format.Quant {
	switch p {
	case NF4:
		return &format.Quant{Kind: format.NF4, Block: Block, Nested: &format.Nested{Block: format.DoubleBlock}, Round: roundOf(w, as)}
	case Int8:
		return &format.Quant{Kind: format.Int8, Block: w.K, Round: format.F32}
	}
	return nil
}

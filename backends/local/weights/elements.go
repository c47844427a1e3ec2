package weights

import (
	"sort"

	"github.com/evalrun/evalrun/kernels/format"
)

// element is one kind of stored value: what the file calls it, how many values
// one block holds and how many bytes it takes. A kind that no kernel knows can
// still be listed, copied and written.
type element struct {
	name  string
	block int
	bytes int
}

// typ is the format that the kernels know the element by, or format.Invalid.
func (e element) typ() format.Type {
	t, err := format.Parse(e.name)
	if err != nil {
		return format.Invalid
	}
	return t
}

// safetensorsElements are the element types of the safetensors format.
var safetensorsElements = byName([]element{
	{"BOOL", 1, 1},
	{"U8", 1, 1},
	{"I8", 1, 1},
	{"F8_E5M2", 1, 1},
	{"F8_E4M3", 1, 1},
	{"F8_E8M0", 1, 1},
	{"I16", 1, 2},
	{"U16", 1, 2},
	{"F16", 1, 2},
	{"BF16", 1, 2},
	{"I32", 1, 4},
	{"U32", 1, 4},
	{"F32", 1, 4},
	{"C64", 1, 8},
	{"F64", 1, 8},
	{"I64", 1, 8},
	{"U64", 1, 8},
})

// safetensorsOrder is the reference implementation's order of element types,
// least alignment first; it writes tensors in the reverse of it.
var safetensorsOrder = map[string]int{
	"BOOL": 0, "U8": 1, "I8": 2, "F8_E5M2": 3, "F8_E4M3": 4, "F8_E8M0": 5, "I16": 6, "U16": 7, "F16": 8,
	"BF16": 9, "I32": 10, "U32": 11, "F32": 12, "C64": 13, "F64": 14, "I64": 15, "U64": 16,
}

// ggmlElements are ggml's element types by number (ggml.h, enum ggml_type) with
// their block layouts (ggml-common.h). Numbers that ggml has withdrawn are left out.
var ggmlElements = map[uint32]element{
	0:  {"F32", 1, 4},
	1:  {"F16", 1, 2},
	2:  {"Q4_0", 32, 18},
	3:  {"Q4_1", 32, 20},
	6:  {"Q5_0", 32, 22},
	7:  {"Q5_1", 32, 24},
	8:  {"Q8_0", 32, 34},
	9:  {"Q8_1", 32, 36},
	10: {"Q2_K", 256, 84},
	11: {"Q3_K", 256, 110},
	12: {"Q4_K", 256, 144},
	13: {"Q5_K", 256, 176},
	14: {"Q6_K", 256, 210},
	15: {"Q8_K", 256, 292},
	16: {"IQ2_XXS", 256, 66},
	17: {"IQ2_XS", 256, 74},
	18: {"IQ3_XXS", 256, 98},
	19: {"IQ1_S", 256, 50},
	20: {"IQ4_NL", 32, 18},
	21: {"IQ3_S", 256, 110},
	22: {"IQ2_S", 256, 82},
	23: {"IQ4_XS", 256, 136},
	24: {"I8", 1, 1},
	25: {"I16", 1, 2},
	26: {"I32", 1, 4},
	27: {"I64", 1, 8},
	28: {"F64", 1, 8},
	29: {"IQ1_M", 256, 56},
	30: {"BF16", 1, 2},
	34: {"TQ1_0", 256, 54},
	35: {"TQ2_0", 256, 66},
	39: {"MXFP4", 32, 17},
}

// ggmlNumbers are the keys of ggmlElements by element name.
var ggmlNumbers = func() map[string]uint32 {
	m := make(map[string]uint32, len(ggmlElements))
	for id, e := range ggmlElements {
		m[e.name] = id
	}
	return m
}()

func byName(list []element) map[string]element {
	m := make(map[string]element, len(list))
	for _, e := range list {
		m[e.name] = e
	}
	return m
}

// safetensorsNames lists the element types for a message, sorted.
func safetensorsNames() []string {
	var names []string
	for n := range safetensorsElements {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}

// Package kernels is the contract between a model and the device that
// computes it. A Device offers the operations that a transformer consists of,
// each named for its formula; ref computes them readably, cpu fast, and
// kerneltest holds every device to the same results.
//
// # Words
//
// T is the number of rows (tokens) of a batch, C a width, N and K the outputs
// and inputs of a weight, H heads of size D. Activations are float32 and
// row-major: row t of a [T, C] buffer starts at t*C.
//
// # Arithmetic
//
// Every operation computes in float32: a weight of any format stands for the
// float32 values that package format decodes, products and sums are float32.
// Round is the one place where less is kept, and the caller asks for it. A
// device that knows a faster arithmetic (quantised activations, say) offers it
// as an option that is off unless it is asked for; an exact run asks for none.
//
// Devices need no NaN-free input, but a NaN may spread along its own row, and
// with attention along its own sequence, never to a neighbour's.
//
// # Same bits
//
// A result depends on its inputs alone: not on the number of threads, not on
// the other rows of a batch, not on how a prompt was cut into pieces.
//
//   - An output element of MatMul is reduced over K by one thread, in an order
//     that depends on K alone.
//   - Attention walks the keys of a token in blocks of PageTokens that are
//     anchored at position 0, each block summed on its own.
//     Which blocks a token walks depends on its position and the window alone.
//   - A row-wise sum (norm, softmax) has an order that depends on the width.
//   - A value of an element-wise operation depends on its operands alone.
//
// The bits hold for one device, one build and one instruction-set path;
// between devices or paths only kerneltest's tolerance holds.
package kernels

import (
	"github.com/evalrun/evalrun/kernels/format"
)

// PageTokens is the number of positions in a page of the key-value cache and
// in a block of keys that attention walks.
const PageTokens = 32

// A Buffer is memory of the device that allocated it. It must not be used
// with another device, nor after the device was closed. Memory that nobody holds
// any more goes back by itself.
type Buffer interface {
	// Type is the layout of the values.
	Type() format.Type
	// Len is the number of values.
	Len() int
	// Slice is the part of the buffer from value from up to, and without, to.
	// Both share the memory.
	Slice(from, to int) Buffer
}

// Use says what a prepared weight will be used for.
type Use uint8

const (
	ForMatMul Use = 1 << iota // as the weight of MatMul
	ForEmbed                  // as the table of Embed
)

// A Prepared weight lies in the form that its device likes best for its use.
// It is read-only and may be used by several batches at once.
type Prepared interface {
	// Shape is that of the weight, [N, K].
	Shape() (n, k int)
	// Bytes is the memory taken beside the checkpoint's own.
	Bytes() int64
}

// Reads is the part of the checkpoint's own bytes that MatMul with a prepared
// weight goes on reading, for a plan of memory: all of it where the device
// keeps no form of its own, 0 where it does or does not say.
func Reads(p Prepared) int64 {
	if r, ok := p.(interface{ Reads() int64 }); ok {
		return r.Reads()
	}
	return 0
}

// KV is the key-value cache of one layer: pages of PageTokens positions.
// Its layout is the device's business.
type KV interface {
	// Bytes is what the cache takes, all pages together.
	Bytes() int64
}

// A Span is the part of a batch that belongs to one sequence: rows Row to
// Row+N-1 hold the tokens at positions Pos to Pos+N-1. Position p lives in
// page Pages[p/PageTokens], place p%PageTokens. Positions below Pos have been
// stored before, by this sequence or by another that shares the page.
type Span struct {
	Row, N int
	Pos    int
	Pages  []int32
}

// Epilogue is what happens to a product before it is stored.
type Epilogue uint8

const (
	Store Epilogue = iota // dst = x·Wᵀ
	Add                   // dst = dst + x·Wᵀ, the sum taken last
)

// RopeStyle says which two values of a head are rotated together.
type RopeStyle uint8

const (
	// RopeHalves pairs value i with value i + R/2, as in Hugging Face
	// checkpoints; R is the number of rotated values.
	RopeHalves RopeStyle = iota
	// RopePairs pairs value 2i with value 2i + 1, as in the original Llama
	// code and in GGUF files of that architecture.
	RopePairs
)

// Activation is the function of a feed-forward layer.
type Activation uint8

const (
	// SiLU is x / (1 + exp(-x)); with Gate, SwiGLU (Shazeer, 2020).
	SiLU Activation = iota
	// GELUTanh is x/2 · (1 + tanh(√(2/π)·(x + 0.044715·x³))), the approximation
	// that checkpoints call gelu_new and gelu_pytorch_tanh (Hendrycks and
	// Gimpel, 2016); with Gate, GeGLU.
	GELUTanh
	// GELUErf is x/2 · (1 + erf(x/√2)), plain "gelu".
	GELUErf
)

// AttentionOptions say how attention scores are made of q·k.
type AttentionOptions struct {
	// Scale is what q·k is multiplied by.
	Scale float32
	// Window is the number of positions that a token sees, itself and the
	// Window-1 before it; 0 is all of them.
	Window int
	// SoftCap bounds scaled scores, as SoftCap the operation does; 0 is no bound.
	SoftCap float32
}

// LowRank is an adapter's change of a weight [N, K], Scale·B·A (Hu et al.,
// 2021): A [R, K] and B [N, R], prepared for MatMul, R of any size.
type LowRank struct {
	A, B  Prepared
	Scale float32
}

// A Segment is the rows Row to Row+N-1 of a batch and the adapter they use.
type Segment struct {
	Row, N int
	LowRank
}

// A Device computes. Its operations run in the order of the calls; one
// goroutine at a time calls them. Sizes and indices are the caller's
// responsibility: a wrong one is a broken invariant and panics with "BUG:".
//
// Outputs come first. dst may be an operand of the same shape where the
// operation works value by value or row by row (said as "in place"); otherwise
// no operand overlaps dst. A buffer may be larger than what an operation uses.
type Device interface {
	// Name is what a user calls the device: "cpu", "ref".
	Name() string

	// Alloc gives n zeroed values of type t.
	Alloc(t format.Type, n int) (Buffer, error)
	// Write copies host values to the start of dst, Read device values to the
	// host, converting from or to the buffer's type.
	Write(dst Buffer, src []float32)
	Read(dst []float32, src Buffer)

	// Prepare brings a weight into the device's own form. Uses are or-ed.
	Prepare(w Weight, use Use) (Prepared, error)

	// Embed: dst[t] = table[ids[t]].
	Embed(dst Buffer, table Prepared, ids []int32)
	// MatMul: x [T, K] times the transposed weight [N, K], to dst [T, N].
	MatMul(dst, x Buffer, rows int, w Prepared, e Epilogue)
	// LoRA: dst[t] = dst[t] + Scale·((x[t]·Aᵀ)·Bᵀ) for the rows of each
	// segment; x [T, K], dst [T, N]. Rows of no segment stay. Both products are
	// reduced as in MatMul; the scale is taken after them, the sum last.
	LoRA(dst, x Buffer, segments []Segment)
	// RowNorms: dst[n] = ‖W[n] + Scale·B[n]·A‖₂ over each row of a weight, the
	// norm that DoRA divides by (Liu et al., 2024). w is prepared for MatMul. A
	// LowRank without A and B counts as zero.
	RowNorms(dst Buffer, w Prepared, l LowRank)

	// RMSNorm: dst[t] = x[t] / √(mean(x[t]²) + eps) · weight (Zhang and
	// Sennrich, 2019), rows as wide as weight. In place. Norms of each head are
	// rows·heads rows; Gemma's 1 + w is added by whoever loads the weight.
	RMSNorm(dst, x, weight Buffer, rows int, eps float32)
	// LayerNorm: dst[t] = (x[t] - mean) / √(var + eps) · weight + bias, var
	// being mean((x[t] - mean)²) (Ba et al., 2016). In place.
	LayerNorm(dst, x, weight, bias Buffer, rows int, eps float32)
	// Rope rotates in place each of the heads of size dim in each row of x by
	// the angles of the row's position: (a, b) becomes (a·cos - b·sin,
	// b·cos + a·sin) (Su et al., 2021). cos and sin hold a row of half = R/2
	// values a position, R <= dim; values from R on stay.
	Rope(x Buffer, heads, dim int, cos, sin Buffer, half int, pos []int32, style RopeStyle)

	// Activate: dst[i] = a(x[i]), n values, in place.
	Activate(dst, x Buffer, n int, a Activation)
	// Gate: dst[i] = a(gate[i]) · up[i], n values, in place on either.
	Gate(dst, gate, up Buffer, n int, a Activation)
	// Add: dst[i] = dst[i] + x[i], n values.
	Add(dst, x Buffer, n int)
	// AddBias: dst[t] = dst[t] + bias, rows as wide as bias.
	AddBias(dst, bias Buffer, rows int)
	// Scale: dst[i] = x[i] · by, n values, in place.
	Scale(dst, x Buffer, n int, by float32)
	// ScaleColumns: dst[t] = dst[t] · scale value by value, rows as wide as scale.
	ScaleColumns(dst, scale Buffer, rows int)
	// SoftCap: dst[i] = cap · tanh(x[i] / cap), n values, in place (Gemma 2).
	SoftCap(dst, x Buffer, n int, cap float32)
	// Round: dst[i] = x[i] rounded to the nearest value of type t (F32, BF16 or
	// F16), ties to even, n values, in place.
	Round(dst, x Buffer, n int, t format.Type)
	// Gather: dst[i] = x[rows[i]], rows of width cols.
	Gather(dst, x Buffer, rows []int32, cols int)
	// Columns: dst[t] = values from to from+n-1 of x[t], rows of x being width
	// wide: one part of a fused projection.
	Columns(dst, x Buffer, rows, width, from, n int)

	// AllocKV gives a layer's cache of zeroed pages.
	AllocKV(pages, heads, dim int) (KV, error)
	// StoreKV puts the rows of k and v [T, heads·dim] to their positions.
	StoreKV(kv KV, k, v Buffer, spans []Span)
	// CopyPage copies the first n positions of page src to page dst.
	CopyPage(kv KV, dst, src int32, n int)
	// Attention: for each row and head, softmax(scores) · V over the positions
	// up to the row's own that the window lets it see; the scores are q·k with
	// the options applied. heads is a multiple g of the cache's: heads i·g to
	// i·g+g-1 of q use head i of the cache. dst and q are [T, heads·dim]. Pages
	// that a window has left behind may hold anything.
	Attention(dst, q Buffer, kv KV, spans []Span, heads int, o AttentionOptions)

	// Close frees everything that the device gave out.
	Close() error
}

// KVBytes is what AllocKV takes on a host device for one layer.
func KVBytes(pages, heads, dim int) int64 {
	padded := (dim + 15) / 16 * 16
	return 4 * PageTokens * int64(pages) * int64(heads) * int64(dim+padded)
}

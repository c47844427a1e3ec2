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
// # Same bits
//
// A result depends on its inputs alone: not on the number of threads, not on
// the other rows of a batch, not on how a prompt was cut into pieces.
//
//   - An output element of MatMul is reduced over K by one thread, in an order
//     that depends on K alone.
//   - Attention walks the keys of a token in blocks of PageTokens that are
//     anchored at position 0, each block summed on its own.
//   - A row-wise sum (norm, softmax) has an order that depends on the width.
//
// The bits hold for one device, one build and one instruction-set path;
// between devices or paths only kerneltest's tolerance holds.
package kernels

import (
	"fmt"

	"github.com/evalrun/evalrun/kernels/format"
)

// PageTokens is the number of positions in a page of the key-value cache and
// in a block of keys that attention walks.
const PageTokens = 32

// A Buffer is memory of the device that allocated it. It must not be used
// with another device, nor after the device was closed.
type Buffer interface {
	// Type is the layout of the values.
	Type() format.Type
	// Len is the number of values.
	Len() int
	// Slice is the part of the buffer from value from up to, and without, to.
	// Both share the memory.
	Slice(from, to int) Buffer
}

// A Weight is a matrix [N, K] as a checkpoint stores it: row-major, each of the
// N rows holding the K factors of one output.
type Weight struct {
	Name string // for messages
	Type format.Type
	N, K int
	Data []byte // stays owned by the caller, valid until the device is closed
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

// KV is the key-value cache of one layer: pages of PageTokens positions.
// Its layout is the device's business.
type KV interface {
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

// A Device computes. Its operations run in the order of the calls; one
// goroutine at a time calls them. Sizes and indices are the caller's
// responsibility: a wrong one is a broken invariant and panics with "BUG:".
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
	// RMSNorm: dst[t] = x[t] / sqrt(mean(x[t]²) + eps) * weight
	// (Zhang and Sennrich, 2019). dst may be x.
	RMSNorm(dst, x, weight Buffer, rows int, eps float32)
	// Rope rotates in place each of the heads of size dim in each row of x by
	// the angles of the row's position: (a, b) becomes (a·cos - b·sin,
	// b·cos + a·sin) (Su et al., 2021). cos and sin hold a row of R/2 values a
	// position, R <= dim; values from R on stay.
	Rope(x Buffer, heads, dim int, cos, sin Buffer, half int, pos []int32, style RopeStyle)
	// SwiGLU: dst[i] = gate[i] / (1 + exp(-gate[i])) * up[i], n values
	// (Shazeer, 2020). dst may be gate or up.
	SwiGLU(dst, gate, up Buffer, n int)
	// Gather: dst[i] = x[rows[i]], rows of width cols. dst is not x.
	Gather(dst, x Buffer, rows []int32, cols int)

	// AllocKV gives a layer's cache of zeroed pages.
	AllocKV(pages, heads, dim int) (KV, error)
	// StoreKV puts the rows of k and v [T, heads·dim] to their positions.
	StoreKV(kv KV, k, v Buffer, spans []Span)
	// CopyPage copies the first n positions of page src to page dst.
	CopyPage(kv KV, dst, src int32, n int)
	// Attention: for each row and head, softmax(scale · q·Kᵀ) · V over the
	// positions up to the row's own. heads is a multiple g of the cache's:
	// heads i·g to i·g+g-1 of q use head i of the cache. dst and q are
	// [T, heads·dim].
	Attention(dst, q Buffer, kv KV, spans []Span, heads int, scale float32)

	// Close frees everything that the device gave out.
	Close() error
}

// KVBytes is what AllocKV takes on a host device for one layer.
func KVBytes(pages, heads, dim int) int64 {
	padded := (dim + 15) / 16 * 16
	return 4 * PageTokens * int64(pages) * int64(heads) * int64(dim+padded)
}

// CheckWeight reports whether the data of w fit its shape and type; devices
// call it at the start of Prepare.
func CheckWeight(w Weight) error {
	if w.N <= 0 || w.K <= 0 {
		return fmt.Errorf("weight %s: shape [%d, %d] is empty", w.Name, w.N, w.K)
	}
	row, ok := w.Type.Bytes(int64(w.K))
	if !ok {
		return fmt.Errorf("weight %s: rows of %d values are no whole number of %v blocks of %d",
			w.Name, w.K, w.Type, w.Type.BlockSize())
	}
	if int64(len(w.Data))/row < int64(w.N) {
		return fmt.Errorf("weight %s: %d bytes hold fewer than %d rows of %d %v values",
			w.Name, len(w.Data), w.N, w.K, w.Type)
	}
	return nil
}

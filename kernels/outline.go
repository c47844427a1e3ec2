package kernels

import (
	"fmt"

	"github.com/evalrun/evalrun/kernels/format"
)

// An Outline stands for a device in a plan of memory: it is given shapes,
// computes nothing, and counts what its device would hold for the same calls.
// Whoever runs his own code over it gets a plan that stays true when the code,
// or a kernel, changes. Weights have a shape and a format but no data, values
// that are read are not written.
type Outline interface {
	TrainDevice
	// Taken is what the device would hold now: all that was allocated and
	// prepared, and the memory of its operations, which they keep.
	Taken() int64
}

// An Outliner is a device that can be planned for.
type Outliner interface {
	Outline() Outline
	// Reserve takes the memory of operations that an outline has counted, so
	// that none of them grows later.
	Reserve(o Outline) error
}

// OutlineOf gives the outline of a device; of one that has none, a Shapes.
func OutlineOf(d Device) Outline {
	if o, ok := d.(Outliner); ok {
		return o.Outline()
	}
	return &Shapes{}
}

// Shapes is the outline of a device in host memory whose operations need no
// memory and whose weights are float32. Outlines of others begin with it.
type Shapes struct{ given int64 }

// Taken is what was given out.
func (s *Shapes) Taken() int64 { return s.given }

// Give counts bytes.
func (s *Shapes) Give(bytes int64) { s.given += bytes }

// Shaped is a prepared weight of which there is only the shape.
type Shaped struct {
	N, K       int
	Held, Read int64 // what Bytes and Reads tell
}

func (s *Shaped) Shape() (n, k int) { return s.N, s.K }
func (s *Shaped) Bytes() int64      { return s.Held }
func (s *Shaped) Reads() int64      { return s.Read }

// length is a buffer of which there is only the length.
type length int

func (n length) Type() format.Type         { return format.F32 }
func (n length) Len() int                  { return int(n) }
func (n length) Slice(from, to int) Buffer { return length(to - from) }

func (*Shapes) Name() string { return "shapes" }
func (*Shapes) Close() error { return nil }

func (s *Shapes) Alloc(_ format.Type, n int) (Buffer, error) {
	if n < 0 {
		return nil, fmt.Errorf("allocate buffer: %d values", n)
	}
	s.Give(4 * int64(n))
	return length(n), nil
}

func (s *Shapes) Prepare(w Weight, _ Use) (Prepared, error) {
	bytes := 4 * int64(w.N) * int64(w.K)
	s.Give(bytes)
	return &Shaped{N: w.N, K: w.K, Held: bytes}, nil
}

func (s *Shapes) PrepareTrained(_ Buffer, n, k int, _ Use) (Prepared, error) {
	return &Shaped{N: n, K: k}, nil
}

func (s *Shapes) AllocKV(pages, heads, dim int) (KV, error) {
	kv := kvBytes(KVBytes(pages, heads, dim))
	s.Give(int64(kv))
	return kv, nil
}

type kvBytes int64

func (n kvBytes) Bytes() int64 { return int64(n) }

func (*Shapes) SumSquares(xs ...Buffer) []float64 { return make([]float64, len(xs)) }

func (*Shapes) Write(Buffer, []float32)                                             {}
func (*Shapes) Read([]float32, Buffer)                                              {}
func (*Shapes) Embed(Buffer, Prepared, []int32)                                     {}
func (*Shapes) MatMul(_, _ Buffer, _ int, _ Prepared, _ Epilogue)                   {}
func (*Shapes) LoRA(_, _ Buffer, _ []Segment)                                       {}
func (*Shapes) RowNorms(Buffer, Prepared, LowRank)                                  {}
func (*Shapes) RMSNorm(_, _, _ Buffer, _ int, _ float32)                            {}
func (*Shapes) LayerNorm(_, _, _, _ Buffer, _ int, _ float32)                       {}
func (*Shapes) Rope(_ Buffer, _, _ int, _, _ Buffer, _ int, _ []int32, _ RopeStyle) {}
func (*Shapes) Activate(_, _ Buffer, _ int, _ Activation)                           {}
func (*Shapes) Gate(_, _, _ Buffer, _ int, _ Activation)                            {}
func (*Shapes) Add(_, _ Buffer, _ int)                                              {}
func (*Shapes) AddBias(_, _ Buffer, _ int)                                          {}
func (*Shapes) Scale(_, _ Buffer, _ int, _ float32)                                 {}
func (*Shapes) ScaleColumns(_, _ Buffer, _ int)                                     {}
func (*Shapes) SoftCap(_, _ Buffer, _ int, _ float32)                               {}
func (*Shapes) Round(_, _ Buffer, _ int, _ format.Type)                             {}
func (*Shapes) Gather(_, _ Buffer, _ []int32, _ int)                                {}
func (*Shapes) Columns(_, _ Buffer, _, _, _, _ int)                                 {}
func (*Shapes) StoreKV(_ KV, _, _ Buffer, _ []Span)                                 {}
func (*Shapes) CopyPage(_ KV, _, _ int32, _ int)                                    {}
func (*Shapes) Attention(_, _ Buffer, _ KV, _ []Span, _ int, _ AttentionOptions)    {}

func (*Shapes) Refresh(Prepared)                                                          {}
func (*Shapes) MatMulBack(_, _ Buffer, _ int, _ Prepared, _ Epilogue)                     {}
func (*Shapes) WeightGrad(_, _, _ Buffer, _, _, _ int)                                    {}
func (*Shapes) ColumnDots(_, _, _ Buffer, _ int)                                          {}
func (*Shapes) RMSNormBack(_, _, _, _, _ Buffer, _ int, _ float32, _ Epilogue)            {}
func (*Shapes) LayerNormBack(_, _, _, _, _, _ Buffer, _ int, _ float32, _ Epilogue)       {}
func (*Shapes) RopeBack(_ Buffer, _, _ int, _, _ Buffer, _ int, _ []int32, _ RopeStyle)   {}
func (*Shapes) ActivateBack(_, _, _ Buffer, _ int, _ Activation)                          {}
func (*Shapes) GateBack(_, _, _, _, _ Buffer, _ int, _ Activation)                        {}
func (*Shapes) SoftCapBack(_, _, _ Buffer, _ int, _ float32)                              {}
func (*Shapes) Scatter(_, _ Buffer, _ []int32, _ int)                                     {}
func (*Shapes) PutColumns(_, _ Buffer, _, _, _, _ int)                                    {}
func (*Shapes) Divide(_, _, _ Buffer, _ int)                                              {}
func (*Shapes) Fill(Buffer, int, float32)                                                 {}
func (*Shapes) AttentionTrain(_, _, _, _, _ Buffer, _ []Run, _ AttentionShape)            {}
func (*Shapes) AttentionBack(_, _, _, _, _, _, _, _, _ Buffer, _ []Run, _ AttentionShape) {}
func (*Shapes) CrossEntropy(_, _, _ Buffer, _ int, _ []int32, _ []float32)                {}
func (*Shapes) Adam(_, _, _, _ Buffer, _ int, _ AdamOptions)                              {}
func (*Shapes) Dropout(_, _ Buffer, _ int, _ Dropping, _ Epilogue)                        {}

var _ Outline = (*Shapes)(nil)

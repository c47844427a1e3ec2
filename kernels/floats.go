package kernels

import (
	"fmt"

	"github.com/evalrun/evalrun/kernels/format"
)

// Values is the Buffer of devices that compute in host memory.
type Values[F float32 | float64] []F

// Floats is what such devices compute with, but for ref in float64.
type Floats = Values[float32]

// Type is F32 or F64.
func (f Values[F]) Type() format.Type {
	if _, wide := any(f).(Values[float64]); wide {
		return format.F64
	}
	return format.F32
}

// Len is the number of values.
func (f Values[F]) Len() int { return len(f) }

// Slice is the part from from up to to, in the same memory.
func (f Values[F]) Slice(from, to int) Buffer { return f[from:to:to] }

// AllocFloats is Alloc for such devices.
func AllocFloats(t format.Type, n int) (Floats, error) { return AllocValues[float32](t, n) }

// AllocValues is Alloc for a device that computes with F. Values asked for as
// F32 are kept as F.
func AllocValues[F float32 | float64](t format.Type, n int) (Values[F], error) {
	if t != format.F32 {
		return nil, fmt.Errorf("allocate buffer: %v values are not computed with on this device, only F32", t)
	}
	if n < 0 {
		return nil, fmt.Errorf("allocate buffer: %d values", n)
	}
	return make(Values[F], n), nil
}

// Host returns the first n values of b, a buffer of a host device. what names
// the operand in the message of a broken invariant.
func Host(b Buffer, n int, what string) []float32 { return HostValues[float32](b, n, what) }

// HostValues is Host for a device that computes with F.
func HostValues[F float32 | float64](b Buffer, n int, what string) []F {
	f, ok := b.(Values[F])
	if !ok {
		panic(fmt.Sprintf("BUG: %s is a %T, want host memory", what, b))
	}
	if len(f) < n {
		panic(fmt.Sprintf("BUG: %s holds %d values, want %d", what, len(f), n))
	}
	return f[:n]
}

// CheckSpans panics unless the spans lie within rows rows and have the pages
// that their positions need, each below pages. With a window, pages that no
// row of a span sees are not looked at.
func CheckSpans(spans []Span, rows, pages, window int) {
	for _, s := range spans {
		need := (s.Pos + s.N + PageTokens - 1) / PageTokens
		if s.Row < 0 || s.N < 0 || s.Pos < 0 || s.Row+s.N > rows || len(s.Pages) < need {
			panic(fmt.Sprintf("BUG: span of rows %d+%d at position %d with %d pages in a batch of %d rows",
				s.Row, s.N, s.Pos, len(s.Pages), rows))
		}
		for _, p := range s.Pages[FirstSeen(s.Pos, window)/PageTokens : need] {
			if p < 0 || int(p) >= pages {
				panic(fmt.Sprintf("BUG: page %d of a cache of %d", p, pages))
			}
		}
	}
}

// FirstSeen is the first position that the token at position pos sees through
// a window, which is none where it is 0.
func FirstSeen(pos, window int) int {
	if window <= 0 {
		return 0
	}
	return max(0, pos-window+1)
}

// CheckSegments panics unless the segments ascend within rows rows and their
// adapters have the shape of a weight [n, k].
func CheckSegments(segments []Segment, rows int) {
	last := 0
	for _, s := range segments {
		if s.Row < last || s.N < 0 || s.Row+s.N > rows {
			panic(fmt.Sprintf("BUG: adapter segment of rows %d+%d, after row %d, in a batch of %d rows", s.Row, s.N, last, rows))
		}
		last = s.Row + s.N
		ra, _ := s.A.Shape()
		if _, rb := s.B.Shape(); ra != rb {
			panic(fmt.Sprintf("BUG: adapter of rank %d in A and %d in B", ra, rb))
		}
	}
}

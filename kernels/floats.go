package kernels

import (
	"fmt"

	"github.com/evalrun/evalrun/kernels/format"
)

// Floats is the Buffer of devices that compute in host memory.
type Floats []float32

func (f Floats) Type() format.Type         { return format.F32 }
func (f Floats) Len() int                  { return len(f) }
func (f Floats) Slice(from, to int) Buffer { return f[from:to:to] }

// AllocFloats is Alloc for such devices.
func AllocFloats(t format.Type, n int) (Floats, error) {
	if t != format.F32 {
		return nil, fmt.Errorf("allocate buffer: %v values are not computed with on this device, only F32", t)
	}
	if n < 0 {
		return nil, fmt.Errorf("allocate buffer: %d values", n)
	}
	return make(Floats, n), nil
}

// Host returns the first n values of b, a buffer of a host device. what names
// the operand in the message of a broken invariant.
func Host(b Buffer, n int, what string) []float32 {
	f, ok := b.(Floats)
	if !ok {
		panic(fmt.Sprintf("BUG: %s is a %T, want host memory", what, b))
	}
	if len(f) < n {
		panic(fmt.Sprintf("BUG: %s holds %d values, want %d", what, len(f), n))
	}
	return f[:n]
}

// CheckSpans panics unless the spans lie within rows rows and have the pages
// that their positions need, each below pages.
func CheckSpans(spans []Span, rows, pages int) {
	for _, s := range spans {
		need := (s.Pos + s.N + PageTokens - 1) / PageTokens
		if s.Row < 0 || s.N < 0 || s.Pos < 0 || s.Row+s.N > rows || len(s.Pages) < need {
			panic(fmt.Sprintf("BUG: span of rows %d+%d at position %d with %d pages in a batch of %d rows",
				s.Row, s.N, s.Pos, len(s.Pages), rows))
		}
		for _, p := range s.Pages[:need] {
			if p < 0 || int(p) >= pages {
				panic(fmt.Sprintf("BUG: page %d of a cache of %d", p, pages))
			}
		}
	}
}

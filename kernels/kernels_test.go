package kernels

import (
	"math"
	"strings"
	"testing"

	"github.com/evalrun/evalrun/kernels/format"
)

func TestCheckWeight(t *testing.T) {
	for _, c := range []struct {
		w    Weight
		want string // "" accepts
	}{
		{Weight{Name: "w", Type: format.F32, N: 2, K: 3, Data: make([]byte, 24)}, ""},
		{Weight{Name: "w", Type: format.F32, N: 2, K: 3, Data: make([]byte, 23)}, "weight w: 23 bytes hold fewer than 2 rows of 3 F32 values"},
		{Weight{Name: "w", Type: format.Q4_0, N: 2, K: 33, Data: make([]byte, 99)}, "no whole number of Q4_0 blocks of 32"},
		{Weight{Name: "w", N: 2, K: 32, Data: make([]byte, 99)}, "weight w"},
		{Weight{Name: "w", Type: format.F32, N: math.MaxInt, K: 1 << 30, Data: make([]byte, 99)}, "fewer than"},
		{Weight{Name: "w", Type: format.F32, N: 1, K: -1}, "is empty"},
	} {
		err := CheckWeight(c.w)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%v %dx%d: error %v, want %q", c.w.Type, c.w.N, c.w.K, err, c.want)
		}
	}
}

func TestCheckSpans(t *testing.T) {
	good := Span{Row: 2, N: 3, Pos: 30, Pages: []int32{4, 0}}
	CheckSpans([]Span{good}, 5, 5, 0)
	for name, change := range map[string]func(s *Span){
		"rows": func(s *Span) { s.N = 4 }, "negative row": func(s *Span) { s.Row = -1 },
		"missing page": func(s *Span) { s.Pos = 62 }, "page too high": func(s *Span) { s.Pages = []int32{4, 5} },
		"negative page": func(s *Span) { s.Pages = []int32{-1, 0} }, "negative position": func(s *Span) { s.Pos = -1 },
	} {
		func() {
			defer func() {
				if p, ok := recover().(string); !ok || !strings.HasPrefix(p, "BUG: ") {
					t.Errorf("%s: recovered %v", name, p)
				}
			}()
			s := good
			change(&s)
			CheckSpans([]Span{s}, 5, 5, 0)
			t.Errorf("%s: accepted", name)
		}()
	}
}

func TestFloats(t *testing.T) {
	b, err := AllocFloats(format.F32, 5)
	if err != nil {
		t.Fatal(err)
	}
	part := b.Slice(1, 3)
	Host(part, 2, "part")[1] = 7
	if b[2] != 7 || part.Len() != 2 || part.Type() != format.F32 {
		t.Errorf("%v beside %v", b, part)
	}
	if cap(part.(Floats)) != 2 {
		t.Error("a slice reaches beyond its end")
	}
	if _, err := AllocFloats(format.Q8_0, 32); err == nil || !strings.Contains(err.Error(), "Q8_0") {
		t.Errorf("error %v", err)
	}
}

package format

import (
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
)

// codeBySearch is the plain twin of scale4.find: all thresholds, one by one.
func codeBySearch(kind QuantKind, x float32) byte {
	s := scales4[kind]
	i := 0
	for i < 15 && x > s.mid[i] {
		i++
	}
	return s.code[i]
}

func TestFindCode(t *testing.T) {
	for _, kind := range []QuantKind{NF4, FP4} {
		s := scales4[kind]
		var xs []float32
		for _, m := range s.mid[:15] {
			xs = append(xs, m, math.Nextafter32(m, 2), math.Nextafter32(m, -2))
		}
		for i := range 20001 {
			xs = append(xs, float32(i-10000)/10000)
		}
		for _, x := range xs {
			if got, want := s.find(x), codeBySearch(kind, x); got != want {
				t.Fatalf("%v: %g has code %d, want %d", kind, x, got, want)
			}
		}
		// The nearest value of the map, from its definition.
		m := Map4(kind)
		for _, x := range xs {
			best := math.Inf(1)
			for _, v := range m {
				best = min(best, math.Abs(float64(v)-float64(x)))
			}
			if got := math.Abs(float64(m[s.find(x)]) - float64(x)); got > best+1e-7 {
				t.Fatalf("%v: %g is %g from its value, the nearest is %g away", kind, x, got, best)
			}
		}
	}
}

func quantise(t *testing.T, kind QuantKind, block int, x []float32) *Quant {
	t.Helper()
	q, err := Quantize(kind, block, len(x), F32, func(dst []float32, from int) { copy(dst, x[from:]) })
	if err != nil {
		t.Fatal(err)
	}
	if err := q.Check(int64(len(x))); err != nil {
		t.Fatal(err)
	}
	return q
}

// The corners of bitsandbytes' rules.
func TestQuantizeCorners(t *testing.T) {
	x := make([]float32, 64*4+3)
	x[64] = 1e-42 // a denormal block: its reciprocal is clamped
	for i := 128; i < 192; i++ {
		x[i] = 3e38
	}
	x[192], x[193] = -0.5, 0.5
	q := quantise(t, NF4, 64, x)
	if q.Absmax[0] != 0 || q.Absmax[2] != 3e38 || q.Absmax[4] != 1e-38 {
		t.Errorf("scales %v: a full block of zeros has 0, a partial one 1e-38", q.Absmax)
	}
	if q.Codes[0] != 0x77 || q.Codes[32] != 0x77 || q.Codes[64] != 0xff || q.Codes[96] != 0x0f {
		t.Errorf("codes %x %x %x %x", q.Codes[0], q.Codes[32], q.Codes[64], q.Codes[96])
	}
	if n := len(q.Codes); n != 130 || q.Codes[129] != 0x77 {
		t.Errorf("%d bytes, the last %x: an odd count is filled up with a zero", n, q.Codes[n-1])
	}
	y := make([]float32, len(x))
	q.Decode(y, 0)
	for i, v := range y {
		want := x[i]
		if i == 64 {
			want = 0
		}
		if v != want {
			t.Fatalf("value %d is %g, want %g", i, v, want)
		}
	}
}

// Any cut of Decode and of From gives the values of the whole.
func TestDecodeParts(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 4))
	x := make([]float32, 1001)
	for i := range x {
		x[i] = float32(rng.NormFloat64())
	}
	for _, kind := range []QuantKind{NF4, FP4, Int8} {
		block := map[QuantKind]int{NF4: 64, FP4: 64, Int8: 77}[kind]
		q := quantise(t, kind, block, x)
		if kind == NF4 {
			q.Double()
		}
		q.Round = BF16
		whole := make([]float32, len(x))
		q.Decode(whole, 0)
		for range 50 {
			from := rng.IntN(len(x))
			n := rng.IntN(len(x) - from)
			first := rng.IntN(from + 1)
			part, rest := make([]float32, n), q.From(first)
			rest.Decode(part, from-first)
			for i, v := range part {
				if v != whole[from+i] {
					t.Fatalf("%v: value %d is %g in a part, %g in the whole", kind, from+i, v, whole[from+i])
				}
			}
		}
	}
}

// The mean error of normal values is what bitsandbytes' own tests hold it to.
func TestNF4Error(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 5))
	x, y := make([]float32, 1<<20), make([]float32, 1<<20)
	for i := range x {
		x[i] = float32(rng.NormFloat64())
	}
	mean := func(q *Quant) (sum float64) {
		q.Decode(y, 0)
		for i := range x {
			sum += math.Abs(float64(x[i] - y[i]))
		}
		return sum / float64(len(x))
	}
	q := quantise(t, NF4, 64, x)
	if e := mean(q); math.Abs(e-0.072798) > 7*0.000074 {
		t.Errorf("mean error %g, want 0.0728", e)
	}
	q.Double()
	if e := mean(q); e > 0.0745 {
		t.Errorf("mean error %g with double quantisation", e)
	}
}

func TestQuantizeInt8(t *testing.T) {
	q := quantise(t, Int8, 4, []float32{1, -2, 0.5, 2, 0, 0, 0, 0, 1.27, 0.015, 0.025, -1.27})
	want := []int8{64, -127, 32, 127, 0, 0, 0, 0, 127, 2, 2, -127} // 63.5 and 31.75 up, 1.5 and 2.5 to even
	for i, c := range q.Codes {
		if int8(c) != want[i] {
			t.Errorf("code %d is %d, want %d", i, int8(c), want[i])
		}
	}
}

func TestQuantizeRefuses(t *testing.T) {
	for _, bad := range []float32{float32(math.NaN()), float32(math.Inf(-1))} {
		x := make([]float32, 100000)
		x[70001], x[99999] = bad, bad
		_, err := Quantize(NF4, 64, len(x), F32, func(dst []float32, from int) { copy(dst, x[from:]) })
		var e ErrNotFinite
		if !errors.As(err, &e) || e.Index != 70001 {
			t.Errorf("%g: error %v", bad, err)
		}
	}
}

// The values of testdata were decoded by gguf 0.19's numpy code.
func TestGGMLRead(t *testing.T) {
	for _, typ := range []Type{Q4_1, Q5_0, Q5_1, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K} {
		name := strings.ToLower(typ.Name())
		raw, err := os.ReadFile("testdata/" + name + ".bin")
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile("testdata/" + name + ".f32")
		if err != nil {
			t.Fatal(err)
		}
		want, got := make([]float32, len(text)/4), make([]float32, len(text)/4)
		F32.Decode(want, text)
		typ.Decode(got, raw)
		for i := range want {
			if got[i] != want[i] {
				t.Fatalf("%v: value %d is %g, want %g", typ, i, got[i], want[i])
			}
		}
	}
}

func BenchmarkQuantizeNF4(b *testing.B) {
	x := make([]float32, 1<<20)
	rng := rand.New(rand.NewPCG(5, 5))
	for i := range x {
		x[i] = float32(rng.NormFloat64())
	}
	b.SetBytes(int64(4 * len(x)))
	for b.Loop() {
		if _, err := Quantize(NF4, 64, len(x), F32, func(dst []float32, from int) { copy(dst, x[from:]) }); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeNF4(b *testing.B) {
	x := make([]float32, 1<<20)
	q, err := Quantize(NF4, 64, len(x), F32, func(dst []float32, from int) {})
	if err != nil {
		b.Fatal(err)
	}
	q.Double()
	b.SetBytes(int64(len(x) / 2))
	for b.Loop() {
		q.Decode(x, 0)
	}
}

// What Check accepts can be decoded.
func FuzzQuant(f *testing.F) {
	f.Add(uint8(1), uint16(64), uint16(100), uint8(3), uint16(60), uint16(2), uint16(0), uint8(0))
	f.Add(uint8(2), uint16(7), uint16(90), uint8(1), uint16(50), uint16(14), uint16(4), uint8(1))
	f.Add(uint8(3), uint16(10), uint16(100), uint8(0), uint16(100), uint16(10), uint16(0), uint8(2))
	f.Fuzz(func(t *testing.T, kind uint8, block, n uint16, first uint8, codes, scales, nested uint16, round uint8) {
		q := &Quant{Kind: QuantKind(kind), Codes: make([]byte, codes), Block: int(block), Map: Map4(NF4), Round: Type(round), First: int(first)}
		if q.Kind == Int8 {
			q.Map = nil
		}
		if nested > 0 {
			q.Nested = &Nested{Codes: make([]byte, scales), Map: make([]float32, 256), Block: int(round), Absmax: make([]float32, nested)}
		} else {
			q.Absmax = make([]float32, scales)
		}
		if q.Check(int64(n)) == nil {
			q.Decode(make([]float32, n), 0)
		}
	})
}

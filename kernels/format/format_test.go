package format

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// Every binary16 survives the trip through binary32, and every rounding of a
// value between two neighbours agrees with the definition: the nearer one,
// the even one on a tie.
func TestF16(t *testing.T) {
	for i := range 1 << 16 {
		h := uint16(i)
		f := F16ToF32(h)
		if math.IsNaN(float64(f)) {
			if h&0x7c00 != 0x7c00 || h&0x3ff == 0 {
				t.Fatalf("%#04x is no NaN", h)
			}
			if got := F32ToF16(f); got&0x7c00 != 0x7c00 || got&0x3ff == 0 {
				t.Fatalf("NaN %#04x became %#04x", h, got)
			}
			continue
		}
		if got := F32ToF16(f); got != h {
			t.Fatalf("%#04x = %g came back as %#04x", h, f, got)
		}
		if h&0x7fff >= 0x7bff {
			continue // its upper neighbour is no finite number
		}
		next := F16ToF32(h + 1)
		mid := float32((float64(f) + float64(next)) / 2) // exact
		even := h + h&1
		for _, c := range []struct {
			x    float32
			want uint16
		}{{mid, even}, {math.Nextafter32(mid, f), h}, {math.Nextafter32(mid, next), h + 1}} {
			if got := F32ToF16(c.x); got != c.want {
				t.Fatalf("F32ToF16(%g) = %#04x, want %#04x", c.x, got, c.want)
			}
		}
	}
	inf := float32(math.Inf(1))
	for _, c := range []struct {
		x    float32
		want uint16
	}{
		{65504, 0x7bff}, {65519.996, 0x7bff}, {65520, 0x7c00}, {1e30, 0x7c00}, {inf, 0x7c00}, {-inf, 0xfc00},
		{float32(math.Copysign(0, -1)), 0x8000}, {0x1p-25, 0}, {0x1.8p-25, 1}, {1e-45, 0}, {0x1p-14, 0x0400},
	} {
		if got := F32ToF16(c.x); got != c.want {
			t.Errorf("F32ToF16(%g) = %#04x, want %#04x", c.x, got, c.want)
		}
	}
}

func TestBF16(t *testing.T) {
	for i := range 1 << 16 {
		h := uint16(i)
		f := BF16ToF32(h)
		if math.IsNaN(float64(f)) {
			if got := F32ToBF16(f); !math.IsNaN(float64(BF16ToF32(got))) {
				t.Fatalf("NaN %#04x became %#04x", h, got)
			}
			continue
		}
		if got := F32ToBF16(f); got != h {
			t.Fatalf("%#04x came back as %#04x", h, got)
		}
	}
	for _, c := range []struct{ bits, want uint32 }{
		{0x3f808000, 0x3f80}, {0x3f808001, 0x3f81}, {0x3f818000, 0x3f82}, {0x3f817fff, 0x3f81},
		{0x7f7fffff, 0x7f80}, {0x00008000, 0x0000}, {0x00018000, 0x0002}, {0x7f800001, 0x7fc0},
	} {
		if got := F32ToBF16(math.Float32frombits(c.bits)); uint32(got) != c.want {
			t.Errorf("F32ToBF16(%#08x) = %#04x, want %#04x", c.bits, got, c.want)
		}
	}
}

// The blocks are GGML's: computed by hand from the layout.
func TestGGMLBlocks(t *testing.T) {
	x := make([]float32, 32)
	for i := range x {
		x[i] = float32(i) - 16
	}
	q8 := make([]byte, 34)
	Q8_0.Encode(q8, x)
	if d := F16ToF32(binary.LittleEndian.Uint16(q8)); math.Abs(float64(d)-16.0/127) > 1e-4 {
		t.Errorf("Q8_0 scale %g", d)
	}
	if q8[2] != 0x81 || q8[2+16] != 0 || q8[2+24] != 64 { // -127, 0, round(8*127/16 = 63.5)
		t.Errorf("Q8_0 codes %s", hex.EncodeToString(q8))
	}
	q4 := make([]byte, 18)
	Q4_0.Encode(q4, x)
	if d := F16ToF32(binary.LittleEndian.Uint16(q4)); d != 2 {
		t.Errorf("Q4_0 scale %g, want 2: -16 / -8", d)
	}
	// value 0 is -16, code 0; value 16 is 0, code 8; value 31 is 15, code 15.5+0.5 cut to 15.
	if q4[2] != 0x80 || q4[17] != 0xf8 {
		t.Errorf("Q4_0 codes %s", hex.EncodeToString(q4))
	}
	y := make([]float32, 32)
	Q4_0.Decode(y, q4)
	if y[0] != -16 || y[16] != 0 || y[31] != 14 {
		t.Errorf("Q4_0 decoded %v", y)
	}
	for _, bad := range []float32{float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1)), 3e38} {
		x[5] = bad
		Q8_0.Encode(q8, x)
		Q4_0.Encode(q4, x)
	}
}

// Decode(Encode(x)) is near x: within half a step of the type, whatever that
// step is, and encoding what was decoded changes nothing.
func TestRoundTrip(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, typ := range Types() {
		if !typ.CanEncode() {
			continue
		}
		t.Run(typ.Name(), func(t *testing.T) {
			n := 8 * typ.BlockSize()
			size, ok := typ.Bytes(int64(n))
			if !ok {
				t.Fatal("no size")
			}
			for range 200 {
				x, y := make([]float32, n), make([]float32, n)
				for i := range x {
					x[i] = float32(rng.NormFloat64() * 20)
				}
				raw := make([]byte, size+3)
				raw[size] = 0xa5
				typ.Encode(raw, x)
				if raw[size] != 0xa5 {
					t.Fatal("wrote past the end")
				}
				typ.Decode(y, raw)
				for i := range x {
					if tol := step(typ, x, i); math.Abs(float64(x[i]-y[i])) > tol {
						t.Fatalf("%g became %g, tolerance %g", x[i], y[i], tol)
					}
				}
				if typ == Q4_0 || typ == Q8_0 {
					continue // the scale is found anew
				}
				again := make([]byte, size)
				typ.Encode(again, y)
				if !bytes.Equal(again, raw[:size]) {
					t.Fatal("a second round changes the bytes")
				}
			}
		})
	}
}

// step bounds the rounding error of x[i].
func step(typ Type, x []float32, i int) float64 {
	a := math.Abs(float64(x[i]))
	var top float64
	for _, f := range x[i/32*32%len(x) : min(len(x), i/32*32+32)] {
		top = max(top, math.Abs(float64(f)))
	}
	switch typ {
	case F32, F64:
		return 0
	case F16:
		return a * 0x1p-11
	case BF16:
		return a * 0x1p-8
	case Q8_0:
		return top / 127 * 0.57 // half a step, and the scale's own rounding
	case Q4_0:
		return top / 8 * 1.01 // the side away from the extreme is cut at 7 steps
	case Bool:
		return a + 1.001
	case U8:
		if x[i] < 0 {
			return a
		}
	}
	return 0.5
}

func TestBytes(t *testing.T) {
	for _, c := range []struct {
		typ  Type
		n    int64
		want int64
		ok   bool
	}{
		{F32, 3, 12, true}, {Q8_0, 64, 68, true}, {Q8_0, 33, 0, false}, {Q4_0, 32, 18, true},
		{F32, -1, 0, false}, {F64, math.MaxInt64, 0, false}, {Invalid, 1, 0, false}, {Type(200), 1, 0, false},
	} {
		if got, ok := c.typ.Bytes(c.n); got != c.want || ok != c.ok {
			t.Errorf("%v.Bytes(%d) = %d, %v", c.typ, c.n, got, ok)
		}
	}
}

func TestNames(t *testing.T) {
	for _, typ := range Types() {
		got, err := Parse(typ.Name())
		if err != nil || got != typ {
			t.Errorf("Parse(%q) = %v, %v", typ.Name(), got, err)
		}
		if id, ok := typ.GGMLID(); ok {
			if got, _ := GGML(id); got != typ {
				t.Errorf("GGML(%d) = %v, want %v", id, got, typ)
			}
		}
	}
	if _, err := Parse("Q9_9"); err == nil {
		t.Error("an unknown name was accepted")
	}
}

func TestIntegersSaturate(t *testing.T) {
	in := []float32{-1e30, -129, -0.5, 0.5, 1.5, 300, 1e30, float32(math.NaN())}
	raw := make([]byte, 8*len(in))
	out := make([]float32, len(in))
	for typ, want := range map[Type][]float32{
		I8:  {-128, -128, 0, 0, 2, 127, 127, 0},
		U8:  {0, 0, 0, 0, 2, 255, 255, 0},
		I16: {-32768, -129, 0, 0, 2, 300, 32767, 0},
		I32: {math.MinInt32, -129, 0, 0, 2, 300, math.MaxInt32, 0},
		I64: {math.MinInt64, -129, 0, 0, 2, 300, math.MaxInt64, 0},
	} {
		typ.Encode(raw, in)
		typ.Decode(out, raw)
		for i := range want {
			if out[i] != want[i] {
				t.Errorf("%v: %g became %g, want %g", typ, in[i], out[i], want[i])
			}
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(uint8(Q8_0), []byte{0x00, 0x7c, 1, 2, 3})
	f.Add(uint8(Q4_0), bytes.Repeat([]byte{0xff}, 36))
	f.Add(uint8(BF16), []byte{0x80, 0x7f})
	f.Fuzz(func(t *testing.T, typ uint8, raw []byte) {
		ty := Type(typ)
		if !ty.Valid() {
			return
		}
		n := len(raw) / ty.BlockBytes() * ty.BlockSize()
		ty.Decode(make([]float32, n), raw)
	})
}

func ExampleType_Encode() {
	raw := make([]byte, 4)
	F16.Encode(raw, []float32{1, -2})
	back := make([]float32, 2)
	F16.Decode(back, raw)
	fmt.Println(raw, back)
	// Output: [0 60 0 192] [1 -2]
}

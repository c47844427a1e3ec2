package cpu

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/format"
)

// Each path's inner loops against their plain twins, over lengths, strides and
// alignments, with guards around what they write.

const sentinel = 54321.25

// guarded gives n values of a stride's garbage between guards, at some
// alignment.
func guarded(rng *rand.Rand, n int) (inner, whole []float32) {
	shift := rng.IntN(16)
	whole = make([]float32, n+32+shift)
	for i := range whole {
		whole[i] = sentinel
	}
	return whole[16+shift:][:n:n], whole
}

func TestTileTwins(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 3))
	for _, p := range paths() {
		t.Run(p.name, func(t *testing.T) {
			for rows := 0; rows <= 27; rows++ {
				for panels := 0; panels <= 5; panels++ {
					k := 1 + rng.IntN(67)
					ldc, lda, step := panels*lanes+rng.IntN(5), k+rng.IntN(5), k*lanes+rng.IntN(40)
					a, _ := guarded(rng, rows*lda)
					b, _ := guarded(rng, panels*step)
					for i := range a {
						a[i] = float32(rng.NormFloat64())
					}
					for i := range b {
						b[i] = float32(rng.NormFloat64())
					}
					got, all := guarded(rng, max(rows*ldc, 1))
					want := append([]float32(nil), got...)
					p.tile(got, ldc, a, lda, rows, b, step, k, panels, false)
					tileGo(want, ldc, a, lda, rows, b, step, k, panels, false)
					if part := k / 3; part > 0 && rows > 0 && panels > 0 { // a sum in two parts
						whole := append([]float32(nil), got...)
						p.tile(got, ldc, a, lda, rows, b, step, part, panels, false)
						p.tile(got, ldc, a[part:], lda, rows, b[part*lanes:], step, k-part, panels, true)
						for i := range got {
							if got[i] != whole[i] {
								t.Fatalf("%d rows, %d panels, k %d: value %d in two parts is %g, was %g", rows, panels, k, i, got[i], whole[i])
							}
						}
					}
					what := fmt.Sprintf("%d rows, %d panels, k %d", rows, panels, k)
					for i := range got {
						if math.Abs(float64(got[i]-want[i])) > 1e-5*(1+math.Abs(float64(want[i]))) {
							t.Fatalf("%s: value %d is %g, want %g", what, i, got[i], want[i])
						}
					}
					for i, x := range all {
						if in := &all[i]; x != sentinel && (len(got) == 0 || !within(in, got)) {
							t.Fatalf("%s: wrote outside", what)
						}
					}
				}
			}
		})
	}
}

func within(p *float32, s []float32) bool {
	for i := range s {
		if p == &s[i] {
			return true
		}
	}
	return false
}

func TestSoftmaxTwins(t *testing.T) {
	rng := rand.New(rand.NewPCG(12, 3))
	inf := float32(math.Inf(-1))
	for _, p := range paths() {
		t.Run(p.name, func(t *testing.T) {
			for round := range 200 {
				count := 1 + round%page
				s, all := guarded(rng, page)
				for i := range s {
					s[i] = float32(rng.NormFloat64() * 10)
					if i >= count {
						s[i] = float32(math.NaN()) // what is behind is never looked at
					}
				}
				top, total := inf, float32(0)
				if round%3 > 0 {
					top, total = float32(rng.NormFloat64()*10), rng.Float32()
				}
				want := append([]float32(nil), s...)
				wantTop, wantTotal := top, total
				shrink := p.softmax(s, count, &top, &total)
				wantShrink := softmaxGo(want, count, &wantTop, &wantTotal)
				near := func(what string, a, b float32) {
					if !(math.Abs(float64(a-b)) <= 2e-6*(1+math.Abs(float64(b)))) {
						t.Fatalf("%d scores: %s is %g, want %g", count, what, a, b)
					}
				}
				for i := range s {
					near(fmt.Sprint("weight ", i), s[i], want[i])
					if i >= count && s[i] != 0 {
						t.Fatalf("%d scores: weight %d is %g", count, i, s[i])
					}
				}
				near("top", top, wantTop)
				near("total", total, wantTotal)
				near("shrink", shrink, wantShrink)
				for i, x := range all {
					if x != sentinel && !within(&all[i], s) {
						t.Fatal("wrote outside")
					}
				}
			}
		})
	}
}

func TestElementwiseTwins(t *testing.T) {
	rng := rand.New(rand.NewPCG(13, 3))
	for _, p := range paths() {
		t.Run(p.name, func(t *testing.T) {
			for n := range 68 {
				gate, _ := guarded(rng, n)
				up, _ := guarded(rng, n)
				for i := range gate {
					gate[i], up[i] = float32(rng.NormFloat64()*30), float32(rng.NormFloat64())
				}
				got, all := guarded(rng, n)
				want := make([]float32, n)
				z, _ := guarded(rng, n)
				for i := range z {
					z[i] = float32(rng.NormFloat64() * 20)
				}
				p.gate(got, gate, z, up)
				gateGo(want, gate, z, up)
				for i := range got {
					if !(math.Abs(float64(got[i]-want[i])) <= 2e-6*(1e-3+math.Abs(float64(want[i])))) {
						t.Fatalf("gate of %d: value %d is %g, want %g", n, i, got[i], want[i])
					}
				}
				for i, x := range all {
					if x != sentinel && !within(&all[i], got) {
						t.Fatalf("gate of %d wrote outside", n)
					}
				}
				acc := append([]float32(nil), gate...)
				scale := float32(1)
				if n%8 == 0 {
					scale = 0.37
				}
				p.scaleAdd(acc, up, scale)
				for i, x := range acc {
					if w := gate[i]*scale + up[i]; math.Abs(float64(x-w)) > 1e-5*(1+math.Abs(float64(w))) || scale == 1 && x != gate[i]+up[i] {
						t.Fatalf("scaled sum of %d: value %d is %g, want %g", n, i, x, w)
					}
				}
				dz, _ := guarded(rng, n)
				for i := range dz {
					dz[i] = float32(rng.NormFloat64())
				}
				slope, slopes := guarded(rng, n)
				wantSlope := make([]float32, n)
				p.slopes(got, slope, gate, z, dz)
				slopesGo(want, wantSlope, gate, z, dz)
				for i := range got {
					if d := math.Abs(float64(got[i] - want[i])); !(d <= 2e-6*(1e-3+math.Abs(float64(want[i])))) {
						t.Fatalf("slopes of %d: y %d is %g, want %g", n, i, got[i], want[i])
					}
					if d := math.Abs(float64(slope[i] - wantSlope[i])); !(d <= 3e-6*(1+math.Abs(float64(want[i])))) {
						t.Fatalf("slopes of %d: slope %d is %g, want %g", n, i, slope[i], wantSlope[i])
					}
				}
				for i, x := range slopes {
					if x != sentinel && !within(&slopes[i], slope) {
						t.Fatalf("slopes of %d wrote outside", n)
					}
				}
				for i := range z {
					want[i] = z[i]
				}
				p.exp(z, 1.5)
				expGo(want, 1.5)
				for i := range z {
					if math.Abs(float64(z[i]-want[i])) > 5e-7*float64(want[i]) {
						t.Fatalf("exp of %d: value %d is %g, want %g", n, i, z[i], want[i])
					}
				}
				var sum float64
				for _, x := range gate {
					sum += float64(x) * float64(x)
				}
				if s := p.sumSquares(gate); math.Abs(float64(s)-sum) > 1e-5*sum {
					t.Fatalf("sum of %d squares is %g, want %g", n, s, sum)
				}
			}
		})
	}
}

// Decoding has the bits of its twins.
func TestDecodeTwins(t *testing.T) {
	rng := rand.New(rand.NewPCG(14, 3))
	codes := make([]byte, 200)
	for i := range codes {
		codes[i] = byte(rng.Uint32())
	}
	table := newLookup(format.Map4(format.NF4))
	equal := func(t *testing.T, what string, got, want, whole []float32) {
		t.Helper()
		for i := range want {
			if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
				t.Fatalf("%s: value %d is %g, want %g", what, i, got[i], want[i])
			}
		}
		for i, x := range whole {
			if x != sentinel && !within(&whole[i], got) {
				t.Fatalf("%s wrote outside", what)
			}
		}
	}
	for _, p := range paths() {
		t.Run(p.name, func(t *testing.T) {
			for n := range 100 {
				at, scale := rng.IntN(60), float32(rng.NormFloat64())
				size := 2 * (1 + n%64)
				got, whole := guarded(rng, n%4*size)
				want := make([]float32, len(got))
				scales := []float32{1, -2, scale}[:n%4]
				p.decode4(got, codes, size, table, scales)
				for b, scale := range scales {
					decodePart(want[b*size:(b+1)*size], codes, b*size, table, scale)
				}
				equal(t, fmt.Sprintf("decode4 of %d blocks of %d", len(scales), size), got, want, whole)
				got, whole = guarded(rng, n)
				want = make([]float32, n)
				p.decode8(got, codes[at:], scale)
				decode8Go(want, codes[at:], scale)
				equal(t, fmt.Sprintf("decode8 of %d", n), got, want, whole)
				for i := range got {
					got[i] = math.Float32frombits(rng.Uint32())
					if rng.IntN(8) == 0 { // infinities and NaN of all kinds
						got[i] = math.Float32frombits(math.Float32bits(got[i]) | 0x7f800000)
					}
				}
				copy(want, got)
				p.roundBF16(got)
				roundBF16Go(want)
				equal(t, fmt.Sprintf("roundBF16 of %d", n), got, want, whole)

				stride := n + rng.IntN(20)
				src, _ := guarded(rng, lanes*stride+1)
				for i := range src {
					src[i] = rng.Float32()
				}
				panel, whole := guarded(rng, n*lanes)
				want = make([]float32, n*lanes)
				p.interleave(panel, src, stride, n)
				interleaveGo(want, src, stride, n)
				equal(t, fmt.Sprintf("interleave of %d", n), panel, want, whole)
			}
		})
	}
}

// A prepared weight decodes any run of values as its source does.
func TestDecodeWeight(t *testing.T) {
	rng := rand.New(rand.NewPCG(15, 3))
	x := make([]float32, 40*50)
	for i := range x {
		x[i] = float32(rng.NormFloat64())
	}
	for _, p := range paths() {
		for _, block := range []int{1, 7, 32, 50, 64, 66} {
			for _, kind := range []format.QuantKind{format.NF4, format.FP4, format.Int8} {
				for _, round := range []format.Type{format.F32, format.BF16, format.F16} {
					q, err := format.Quantize(kind, block, len(x), round, func(dst []float32, from int) { copy(dst, x[from:]) })
					if err != nil {
						t.Fatal(err)
					}
					w := kernels.Weight{N: 40, K: 50, Quant: q}.Rows(3, 40)
					prepared := &weight{n: w.N, k: w.K, source: w}
					if kind.FourBit() {
						prepared.lookup = newLookup(q.Map)
					}
					for range 30 {
						from := rng.IntN(w.N * w.K)
						got := make([]float32, rng.IntN(min(300, w.N*w.K-from)+1))
						want := make([]float32, len(got))
						prepared.decode(p, got, from)
						w.Decode(want, from)
						for i := range want {
							if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
								t.Fatalf("%s, %v in blocks of %d: value %d is %g, want %g", p.name, kind, block, from+i, got[i], want[i])
							}
						}
					}
				}
			}
		}
	}
}

// The formats that a path knows by itself have the bits of the reference.
func TestDecodePlain(t *testing.T) {
	rng := rand.New(rand.NewPCG(16, 3))
	for _, p := range paths() {
		for _, typ := range format.Types() {
			for blocks := range 20 {
				n := blocks * typ.BlockSize()
				if typ.BlockSize() == 1 {
					n += rng.IntN(30)
				}
				size, _ := typ.Bytes(int64(n))
				raw := make([]byte, size)
				for i := range raw {
					raw[i] = byte(rng.Uint32())
				}
				got, whole := guarded(rng, n)
				want := make([]float32, n)
				p.decodePlain(got, raw, typ)
				typ.Decode(want, raw)
				for i := range want {
					// NaN may lose its payload.
					if math.Float32bits(got[i]) != math.Float32bits(want[i]) && (got[i] == got[i] || want[i] == want[i]) {
						t.Fatalf("%s, %v: value %d is %g, want %g", p.name, typ, i, got[i], want[i])
					}
				}
				for i, x := range whole {
					if x != sentinel && !within(&whole[i], got) {
						t.Fatalf("%s, %v wrote outside", p.name, typ)
					}
				}
			}
		}
	}
}

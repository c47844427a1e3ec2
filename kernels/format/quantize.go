package format

import (
	"fmt"
	"math"
	"runtime"
	"sort"
	"sync"
	"sync/atomic"
)

// ErrNotFinite is what Quantize returns where a value has no code.
type ErrNotFinite struct {
	Index int
	Value float32
}

// Error names the value and its place.
func (e ErrNotFinite) Error() string {
	return fmt.Sprintf("value %d is %g, which no quantised format holds", e.Index, e.Value)
}

// nf4Map are quantiles of the normal distribution, as bitsandbytes has them
// (functional.py, get_4bit_type).
var nf4Map = []float32{
	-1, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
	-0.09105003625154495, 0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
	0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1,
}

// fp4Map is in the order of its bits: sign, exponent, fraction.
var fp4Map = func() []float32 {
	var m []float32
	for _, sign := range []float32{1, -1} {
		for _, v := range []float32{0, 0.0625, 8, 12, 4, 6, 2, 3} {
			m = append(m, sign*v/12)
		}
	}
	m[8] = 0 // no negative zero
	return m
}()

// Map4 is the map of a 4-bit kind.
func Map4(kind QuantKind) []float32 {
	if kind == FP4 {
		return fp4Map
	}
	return nf4Map
}

// scale4 finds the 4-bit code of a scaled value: how many of the 15 thresholds
// between neighbouring values of the map lie below it.
type scale4 struct {
	mid  [16]float32     // thresholds, and one that nothing exceeds
	code [16]byte        // of the i-th value in ascending order
	low  [4 * bins]uint8 // a first guess, by x
}

// bins cuts [0, 1] for a first guess that is never too high.
const bins = 512

var scales4 = map[QuantKind]*scale4{NF4: newScale4(NF4), FP4: newScale4(FP4)}

func newScale4(kind QuantKind) *scale4 {
	m, s := Map4(kind), &scale4{}
	for i := range s.code {
		s.code[i] = byte(i)
	}
	// Of FP4's two zeros bitsandbytes gives the first to values up to 0, the
	// second to those above.
	zeros := map[byte]int{0: 0, 8: 1}
	sort.SliceStable(s.code[:], func(i, j int) bool {
		a, b := s.code[i], s.code[j]
		return m[a] < m[b] || m[a] == m[b] && zeros[a] < zeros[b]
	})
	for i := range 15 {
		s.mid[i] = (m[s.code[i]] + m[s.code[i+1]]) / 2
	}
	s.mid[15] = float32(math.Inf(1))
	for i := range 2*bins + 1 {
		floor := float32(i-bins-1) / bins // a bin lower, for what rounding may do
		for s.mid[s.low[i]] < floor {
			s.low[i]++
		}
	}
	return s
}

// find is the code of x in [-1, 1], or a rounding beyond; a tie goes to the lower value.
func (s *scale4) find(x float32) byte {
	i := s.low[uint(int(float32(x*bins)+bins))%uint(len(s.low))] & 15
	for x > s.mid[i] {
		i = (i + 1) & 15
	}
	return s.code[i]
}

// minScale is what bitsandbytes divides by where a block's largest value is
// smaller.
const minScale = 1e-38

// Quantize gives n values in a quantised format. read writes values from,
// from+1, ... to dst; several goroutines call it at once. round is the type of
// the values. block is the number of values that share a scale: 64 in
// bitsandbytes' 4-bit formats, the length of a row for Int8.
//
// 4-bit codes are bitsandbytes' to the bit (backends/default/ops.py,
// quantize_4bit): scale = max|x| of the block, x·(1/scale) in float32, clamped
// to [-1, 1], the nearest value of the map, ties down; a last, partial block
// takes x/scale. Int8 is LLM.int8's (int8_vectorwise_quant): x·(127/max|x|)
// rounded to the nearest integer, ties to even; a row of zeros has codes 0.
//
// The error is an ErrNotFinite.
func Quantize(kind QuantKind, block, n int, round Type, read func(dst []float32, from int)) (*Quant, error) {
	q := &Quant{Kind: kind, Block: block, Round: round, Absmax: make([]float32, (n+block-1)/block)}
	part := max(1, (1<<14)/block) * block // values a task reads; even, so that tasks share no byte
	switch kind {
	case NF4, FP4:
		q.Map, q.Codes = Map4(kind), make([]byte, (n+1)/2)
		if part%2 == 1 {
			part *= 2
		}
	case Int8:
		q.Codes, q.Round = make([]byte, n), F32
	default:
		panic(fmt.Sprintf("BUG: quantise to %v", kind))
	}
	var next atomic.Int64
	var bad atomic.Pointer[ErrNotFinite]
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), (n+part-1)/part) {
		wg.Go(func() {
			x := make([]float32, part)
			for {
				from := int(next.Add(1)-1) * part
				if from >= n {
					return
				}
				x := x[:min(part, n-from)]
				read(x, from)
				if i := notFinite(x); i >= 0 {
					e := &ErrNotFinite{from + i, x[i]}
					for old := bad.Load(); (old == nil || e.Index < old.Index) && !bad.CompareAndSwap(old, e); old = bad.Load() {
					}
					continue
				}
				for at := 0; at < len(x); at += block {
					b := x[at:min(len(x), at+block)]
					if kind == Int8 {
						q.Absmax[(from+at)/block] = quantizeInt8(q.Codes[from+at:], b)
					} else {
						q.Absmax[(from+at)/block] = quantize4(q.Codes, from+at, b, scales4[kind], len(b) < block)
					}
				}
			}
		})
	}
	wg.Wait()
	if e := bad.Load(); e != nil {
		return nil, *e
	}
	return q, nil
}

func notFinite(x []float32) int {
	for i, v := range x {
		if v-v != 0 {
			return i
		}
	}
	return -1
}

func largest(x []float32) float32 {
	var top uint32 // of numbers without their sign, the order of bits is theirs
	for _, v := range x {
		top = max(top, math.Float32bits(v)&0x7fffffff)
	}
	return math.Float32frombits(top)
}

// quantize4 writes the codes of a block whose first value is number from, and
// returns its scale. Scaled values leave [-1, 1] by a rounding at most, where
// no threshold is near: bitsandbytes' clamp changes no code.
func quantize4(codes []byte, from int, x []float32, s *scale4, partial bool) float32 {
	top := largest(x)
	d := max(top, minScale)
	inv := 1 / d
	if !partial && from%2 == 0 && len(x)%2 == 0 {
		out := codes[from/2:][:len(x)/2]
		for i := range out {
			out[i] = s.find(x[2*i]*inv)<<4 | s.find(x[2*i+1]*inv)
		}
		return top
	}
	for i, v := range x {
		if partial {
			v = v / d
		} else {
			v = v * inv
		}
		c := s.find(v)
		if at := (from + i) / 2; (from+i)%2 == 0 {
			codes[at] = c << 4
		} else {
			codes[at] |= c
		}
	}
	if partial {
		if (from+len(x))%2 == 1 { // the value that fills the last byte is a zero
			codes[(from+len(x))/2] |= s.find(0)
		}
		return d
	}
	return top
}

func quantizeInt8(codes []byte, x []float32) float32 {
	top := largest(x)
	if top == 0 {
		clear(codes[:len(x)])
		return 0
	}
	by := 127 / top
	for i, v := range x {
		codes[i] = byte(int8(min(max(math.RoundToEven(float64(float32(v*by))), -127), 127)))
	}
	return top
}

// DoubleBlock is the number of scales that share one, as in bitsandbytes.
const DoubleBlock = 256

// Double quantises the scales as well: offset = their mean, then 8-bit codes of
// DynamicMap in blocks of DoubleBlock, the nearest value of the map.
//
// bitsandbytes takes the mean in float32 and in an order of its own, so offsets
// may differ in the last place; its search on the CPU misses the nearest value
// by one code now and then.
func (q *Quant) Double() {
	var sum float64
	for _, a := range q.Absmax {
		sum += float64(a)
	}
	n := len(q.Absmax)
	d := &Nested{Codes: make([]byte, n), Map: dynamicMap(), Block: DoubleBlock,
		Absmax: make([]float32, (n+DoubleBlock-1)/DoubleBlock), Offset: float32(sum / float64(max(n, 1)))}
	x := make([]float32, n)
	for i, a := range q.Absmax {
		x[i] = a - d.Offset
	}
	for b := range d.Absmax {
		part := x[b*DoubleBlock : min(n, (b+1)*DoubleBlock)]
		top := largest(part)
		d.Absmax[b] = top
		if top == 0 {
			continue // code 0, as there, and the value is the offset
		}
		for i, v := range part {
			d.Codes[b*DoubleBlock+i] = nearest(d.Map, v/top)
		}
	}
	q.Absmax, q.Nested = nil, d
}

// nearest is the index of the value of an ascending map that is nearest to x,
// the lower one on a tie.
func nearest(m []float32, x float32) byte {
	i := sort.Search(len(m), func(i int) bool { return m[i] >= x })
	if i == len(m) || i > 0 && x-m[i-1] <= m[i]-x {
		i--
	}
	return byte(i)
}

// DynamicMap is the signed 8-bit dynamic type (Dettmers, 2016): for each of
// seven powers of ten the midpoints of 1, 2, 4, ... equal parts of [0.1, 1], of
// both signs, and 0 and 1.
func DynamicMap() []float32 {
	m := []float32{0, 1}
	power := [...]float32{1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1}
	for e, p := range power {
		parts := 1 << e
		edge := func(i int) float32 { // torch.linspace: from both ends, rounded once
			step := float64((float32(1) - float32(0.1)) / float32(parts))
			if i < (parts+1)/2 {
				return float32(float64(float32(0.1)) + step*float64(i))
			}
			return float32(1 - step*float64(parts-i))
		}
		for i := range parts {
			v := p * ((edge(i) + edge(i+1)) / 2)
			m = append(m, v, -v)
		}
	}
	sort.Slice(m, func(i, j int) bool { return m[i] < m[j] })
	return m
}

var dynamicMap = sync.OnceValue(DynamicMap)

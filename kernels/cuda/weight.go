package cuda

import (
	"fmt"
	"math/bits"
	"slices"
	"unsafe"

	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/format"
)

// Kinds of weights that kernels decode, as src/device.h counts them.
const (
	kindF32 = iota
	kindF16
	kindBF16
	kindCode4
	kindInt8
	kindBlocks // the first of blockTypes
)

// plainKinds are the kinds of values that lie as they are.
var plainKinds = map[format.Type]int{format.F32: kindF32, format.F16: kindF16, format.BF16: kindBF16}

// weightArgs is the number of parameters of WEIGHT in src/weight.h.
const weightArgs = 12

// weight lies on the device as the checkpoint has it.
type weight struct {
	n, k   int
	kind   int
	round  int // what 4-bit values are rounded to, as a kind
	blocks []*block
	args   []uint64 // WEIGHT of src/weight.h
	bytes  int64
	source kernels.Buffer // of a trained one
	wide   bool           // whole pieces of 32 values may be read at once
	words  bool           // 4-bit codes in whole words of 8 within a block
	short  bool           // blocks of powers of two, codes counted in 32 bits
	maps   int            // number of its maps; see mapsOf

	decoded, turned *block // its values as bfloat16, and transposed, where they are kept
}

func (w *weight) Shape() (n, k int) { return w.n, w.k }
func (w *weight) Bytes() int64      { return w.bytes }

// suffix names the kernel of the weight's kind.
func (w *weight) kernel(name string) string { return kernelNames[name][w.kind] }

var kernelNames = func() map[string][]string {
	all := map[string][]string{}
	for _, name := range []string{"embed", "decode", "rowNorms", "gemv1", "gemv2", "gemv4", "gemv8", "gemm", "gemmBack", "brainOf", "brainTurned"} {
		for i := range kindBlocks {
			all[name] = append(all[name], fmt.Sprintf("%s_%d", name, i))
		}
	}
	for _, name := range []string{"gemvBlocks1", "gemvBlocks4", "blockRows16", "blockRows64", "blockValues", "blockBrain", "blockTurned"} {
		all[name] = make([]string, kindBlocks) // none for other kinds
		for _, t := range blockTypes {
			all[name] = append(all[name], fmt.Sprintf("%s_%v", name, t))
		}
	}
	return all
}()

// The pieces of 32 values of src/matmul.cu.
const piece = 32

func (d *Device) Prepare(w kernels.Weight, _ kernels.Use) (kernels.Prepared, error) {
	if err := kernels.CheckWeight(w); err != nil {
		return nil, err
	}
	p := &weight{n: w.N, k: w.K}
	var err error
	switch {
	case w.Quant != nil:
		err = d.prepareQuant(p, w.Quant)
	case w.Type == format.F32 || w.Type == format.F16 || w.Type == format.BF16:
		p.kind = plainKinds[w.Type]
		size, _ := w.Type.Bytes(int64(w.N) * int64(w.K))
		err = d.preparePlain(p, w.Data[:size])
	case slices.Contains(blockTypes, w.Type):
		err = d.prepareBlocks(p, w)
	default:
		// Numbers of another size, as no model's weights are: their values, row by row.
		values := make([]float32, w.N*w.K)
		for n := range w.N {
			w.Decode(values[n*w.K:(n+1)*w.K], n*w.K)
		}
		err = d.preparePlain(p, unsafe.Slice((*byte)(unsafe.Pointer(&values[0])), 4*len(values)))
	}
	if err != nil {
		return nil, fmt.Errorf("weight %s: %w", w.Name, err)
	}
	return p, nil
}

// put uploads one of the weight's arrays.
func (d *Device) put(p *weight, data []byte) (uint64, error) {
	b, err := d.upload(data)
	if err != nil {
		return 0, err
	}
	p.blocks = append(p.blocks, b)
	p.bytes += b.bytes
	return b.at, nil
}

func (d *Device) preparePlain(p *weight, data []byte) error {
	at, err := d.put(p, data)
	p.plain(at)
	return err
}

// plain sets the parameters of a weight whose values lie at an address.
func (p *weight) plain(at uint64) {
	p.args = []uint64{at, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0}
	size := uint64(4)
	if p.kind != kindF32 {
		size = 2
	}
	p.wide = at%16 == 0 && uint64(p.k)*size%16 == 0
}

func (d *Device) prepareQuant(p *weight, q *format.Quant) error {
	p.kind = kindCode4
	if q.Kind == format.Int8 {
		p.kind = kindInt8
	}
	// Only the blocks that the weight touches: it may be a part of a matrix.
	n := p.n * p.k
	begin := q.First / q.Block
	end := (q.First + n + q.Block - 1) / q.Block
	if nested := q.Nested; nested != nil {
		begin = begin / nested.Block * nested.Block
	}
	for begin > 0 && begin*q.Block%32 != 0 { // whole bytes, and 16 of them
		begin--
		if q.Nested != nil {
			begin = begin / q.Nested.Block * q.Nested.Block
		}
	}
	first := q.First - begin*q.Block
	var codes []byte
	if q.Kind.FourBit() {
		codes = q.Codes[begin*q.Block/2 : (q.First+n+1)/2]
	} else {
		codes = q.Codes[begin*q.Block : q.First+n]
	}
	data, err := d.put(p, codes)
	if err != nil {
		return err
	}
	floats := func(x []float32) (at uint64, err error) {
		if len(x) == 0 {
			return 0, nil
		}
		return d.put(p, unsafe.Slice((*byte)(unsafe.Pointer(&x[0])), 4*len(x)))
	}
	mapAt, err := floats(q.Map)
	if err != nil {
		return err
	}
	var absmax, nestedCodes, nestedMap uint64
	block2, offset := 1, float32(0)
	if nested := q.Nested; nested != nil {
		from := begin / nested.Block
		if absmax, err = floats(nested.Absmax[from : (end+nested.Block-1)/nested.Block]); err != nil {
			return err
		}
		if nestedCodes, err = d.put(p, nested.Codes[begin:end]); err != nil {
			return err
		}
		if nestedMap, err = floats(nested.Map); err != nil {
			return err
		}
		block2, offset = nested.Block, nested.Offset
	} else if absmax, err = floats(q.Absmax[begin:end]); err != nil {
		return err
	}
	round := plainKinds[q.Round]
	p.round, p.maps = round, d.mapsOf(q)
	p.args = []uint64{data, mapAt, absmax, nestedCodes, nestedMap, num(q.Block), num(power(q.Block)), num(block2), num(power(block2)), num(first), real32(offset), num(round)}
	// A piece must lie in one block, at a multiple of 16 bytes.
	p.wide = first%piece == 0 && p.k%piece == 0 && q.Block%piece == 0
	p.short = power(q.Block) >= 0 && power(block2) >= 0 && int64(first)+int64(n) < 1<<31
	p.words = p.kind == kindCode4 && first%8 == 0 && q.Block%8 == 0 && n%8 == 0
	return nil
}

// mapPair is what the codes of a weight, and of its scales, stand for.
type mapPair struct{ codes, scales []float32 }

// mapsOf numbers the maps of a weight: those of equal values have one number.
func (d *Device) mapsOf(q *format.Quant) int {
	m := mapPair{codes: q.Map}
	if q.Nested != nil {
		m.scales = q.Nested.Map
	}
	i := slices.IndexFunc(d.maps, func(o mapPair) bool { return slices.Equal(o.codes, m.codes) && slices.Equal(o.scales, m.scales) })
	if i < 0 {
		i = len(d.maps)
		d.maps = append(d.maps, mapPair{slices.Clone(m.codes), slices.Clone(m.scales)})
	}
	return i
}

// power is the power of two that n is, or -1.
func power(n int) int {
	if n&(n-1) != 0 {
		return -1
	}
	return bits.TrailingZeros(uint(n))
}

// PrepareTrained multiplies with the buffer itself.
func (d *Device) PrepareTrained(values kernels.Buffer, n, k int, _ kernels.Use) (kernels.Prepared, error) {
	if n <= 0 || k <= 0 || values.Len() < n*k {
		return nil, fmt.Errorf("trained weight [%d, %d] in %d values", n, k, values.Len())
	}
	w := &weight{n: n, k: k, source: values}
	w.plain(on(values, n*k, "values"))
	return w, nil
}

// Refresh has nothing to do: the weight is the buffer.
func (*Device) Refresh(kernels.Prepared) {}

package cpu

import "math"

// exp32 is e^x, within 2 units in the last place on [-87.3, 88.3] and clamped
// to the ends of that range outside it, so that it is never zero, subnormal or
// infinite; NaN stays NaN.
//
// x = n·ln2 + r with |r| <= ln2/2, and e^r by the minimax polynomial of Cephes'
// expf (Moshier). n is rounded by adding 1.5·2^23, which leaves it in the low
// bits of the sum.
func exp32(x float32) float32 {
	if x < expMin {
		x = expMin
	}
	if x > expMax {
		x = expMax
	}
	t := float32(x*log2e) + roundMagic
	n := t - roundMagic
	r := x - float32(n*ln2Hi)
	r = r - float32(n*ln2Lo)
	p := float32(exp5*r) + exp4
	p = float32(p*r) + exp3
	p = float32(p*r) + exp2
	p = float32(p*r) + exp1
	p = float32(p*r) + exp0
	p = float32(p*float32(r*r)) + (r + 1)
	scale := math.Float32frombits((math.Float32bits(t) << 23) + 0x3f800000)
	return p * scale
}

func expGo(x []float32, shift float32) {
	for i, v := range x {
		x[i] = exp32(v - shift)
	}
}

const (
	expMin, expMax = -87.3, 88.3
	log2e          = 1.44269504088896341
	roundMagic     = 12582912
	ln2Hi          = 0.693359375
	ln2Lo          = -2.12194440e-4

	exp5 = 1.9875691500e-4
	exp4 = 1.3981999507e-3
	exp3 = 8.3334519073e-3
	exp2 = 4.1665795894e-2
	exp1 = 1.6666665459e-1
	exp0 = 5.0000001201e-1
)

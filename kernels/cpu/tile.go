package cpu

// tileGo is the plain twin of the assembly tiles:
//
//	c[i*ldc + p*16 + l] = sum over kk < k of a[i*lda + kk] * b[p*step + kk*16 + l]
//
// for rows i, panels p that begin step values apart, and lanes l, the sum taken
// in the order of k with one rounding of the product and one of the sum. It
// starts at 0, or with more at what c holds.
func tileGo(c []float32, ldc int, a []float32, lda, rows int, b []float32, step, k, panels int, more bool) {
	if !more {
		for i := range rows {
			clear(c[i*ldc:][:panels*lanes])
		}
	}
	for p := range panels {
		panel := b[p*step:][:k*lanes]
		i := 0
		for ; i+2 <= rows; i += 2 {
			for l := 0; l < lanes; l += 4 {
				tile2x4(c[i*ldc+p*lanes+l:], ldc, a[i*lda:], lda, panel[l:], k)
			}
		}
		for ; i < rows; i++ {
			for l := 0; l < lanes; l += 4 {
				tile1x4(c[i*ldc+p*lanes+l:], a[i*lda:], panel[l:], k)
			}
		}
	}
}

// tile2x4 keeps eight sums in registers. Larger tiles are slower: amd64 has 15
// registers for scalars, and each product needs one too.
func tile2x4(c []float32, ldc int, a []float32, lda int, b []float32, k int) {
	a0, a1 := a[:k], a[lda:][:k]
	top, low := (*[4]float32)(c), (*[4]float32)(c[ldc:])
	c00, c01, c02, c03 := top[0], top[1], top[2], top[3]
	c10, c11, c12, c13 := low[0], low[1], low[2], low[3]
	for kk, x := range a0 {
		q, y := (*[4]float32)(b[kk*lanes:]), a1[kk]
		q0, q1, q2, q3 := q[0], q[1], q[2], q[3]
		c00 = float32(x*q0) + c00
		c10 = float32(y*q0) + c10
		c01 = float32(x*q1) + c01
		c11 = float32(y*q1) + c11
		c02 = float32(x*q2) + c02
		c12 = float32(y*q2) + c12
		c03 = float32(x*q3) + c03
		c13 = float32(y*q3) + c13
	}
	*top, *low = [4]float32{c00, c01, c02, c03}, [4]float32{c10, c11, c12, c13}
}

func tile1x4(c, a, b []float32, k int) {
	out := (*[4]float32)(c)
	c0, c1, c2, c3 := out[0], out[1], out[2], out[3]
	for kk, x := range a[:k] {
		q := (*[4]float32)(b[kk*lanes:])
		c0 = float32(x*q[0]) + c0
		c1 = float32(x*q[1]) + c1
		c2 = float32(x*q[2]) + c2
		c3 = float32(x*q[3]) + c3
	}
	*out = [4]float32{c0, c1, c2, c3}
}

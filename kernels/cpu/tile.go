package cpu

// tileGo is the plain twin of the assembly tiles:
//
//	c[i*ldc + p*16 + l] = sum over k of a[i*lda + k] * b[(p*k + kk)*16 + l]
//
// for rows i, panels p and lanes l, the sum starting at 0 and taken in the
// order of k with one rounding of the product and one of the sum.
func tileGo(c []float32, ldc int, a []float32, lda, rows int, b []float32, k, panels int) {
	for p := range panels {
		panel := b[p*k*lanes : (p+1)*k*lanes]
		i := 0
		for ; i+3 <= rows; i += 3 {
			for l := 0; l < lanes; l += 4 {
				tile3x4(c[i*ldc+p*lanes+l:], ldc, a[i*lda:], lda, panel[l:], k)
			}
		}
		for ; i < rows; i++ {
			for l := 0; l < lanes; l += 4 {
				tile1x4(c[i*ldc+p*lanes+l:], a[i*lda:], panel[l:], k)
			}
		}
	}
}

// tile3x4 keeps twelve sums in registers: as many as amd64 has for scalars
// beside the operands.
func tile3x4(c []float32, ldc int, a []float32, lda int, b []float32, k int) {
	a0, a1, a2 := a[:k], a[lda:][:k], a[2*lda:][:k]
	var c00, c01, c02, c03, c10, c11, c12, c13, c20, c21, c22, c23 float32
	for kk := range a0 {
		q := (*[4]float32)(b[kk*lanes:])
		x, y, z := a0[kk], a1[kk], a2[kk]
		c00 = float32(x*q[0]) + c00
		c10 = float32(y*q[0]) + c10
		c20 = float32(z*q[0]) + c20
		c01 = float32(x*q[1]) + c01
		c11 = float32(y*q[1]) + c11
		c21 = float32(z*q[1]) + c21
		c02 = float32(x*q[2]) + c02
		c12 = float32(y*q[2]) + c12
		c22 = float32(z*q[2]) + c22
		c03 = float32(x*q[3]) + c03
		c13 = float32(y*q[3]) + c13
		c23 = float32(z*q[3]) + c23
	}
	*(*[4]float32)(c) = [4]float32{c00, c01, c02, c03}
	*(*[4]float32)(c[ldc:]) = [4]float32{c10, c11, c12, c13}
	*(*[4]float32)(c[2*ldc:]) = [4]float32{c20, c21, c22, c23}
}

func tile1x4(c, a, b []float32, k int) {
	var c0, c1, c2, c3 float32
	for kk, x := range a[:k] {
		q := (*[4]float32)(b[kk*lanes:])
		c0 = float32(x*q[0]) + c0
		c1 = float32(x*q[1]) + c1
		c2 = float32(x*q[2]) + c2
		c3 = float32(x*q[3]) + c3
	}
	*(*[4]float32)(c) = [4]float32{c0, c1, c2, c3}
}

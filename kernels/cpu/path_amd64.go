//go:build amd64 && !noasm

package cpu

import (
	"encoding/binary"

	"golang.org/x/sys/cpu"

	"github.com/evalrun/evalrun/kernels/format"
)

//go:generate go run gen.go

// archPaths are the assembly paths that the processor and the system support.
// Both do every multiplication and addition of a sum in one rounding and in
// the same order, so their bits agree.
func archPaths() []*path {
	var p []*path
	if !cpu.X86.HasAVX2 || !cpu.X86.HasFMA { // processors that have these have F16C too
		return nil
	}
	if cpu.X86.HasAVX512F {
		p = append(p, &path{"avx512", tileWithAVX512, softmaxWithAVX2, sumSquaresGo, gateWithAVX2, slopesWithAVX2, scaleAddWithAVX2, expWithAVX2, decode4WithAVX2, decode8WithAVX2, roundBF16WithAVX2, plainWithAVX2, prefetchWithAVX2, interleaveWithAVX2, readWithAVX2, fmaAVX512, 384})
	}
	return append(p, &path{"avx2", tileWithAVX2, softmaxWithAVX2, sumSquaresGo, gateWithAVX2, slopesWithAVX2, scaleAddWithAVX2, expWithAVX2, decode4WithAVX2, decode8WithAVX2, roundBF16WithAVX2, plainWithAVX2, prefetchWithAVX2, interleaveWithAVX2, readWithAVX2, fmaAVX2, 192})
}

// tileWithAVX2 covers rows and panels with register tiles; see tileGo.
func tileWithAVX2(c []float32, ldc int, a []float32, lda, rows int, b []float32, step, k, panels int, more bool) {
	if !checkTile(c, ldc, a, lda, rows, b, step, k, panels) {
		return
	}
	cs, as, bs, n, on := uintptr(4*ldc), uintptr(4*lda), uintptr(4*step), uintptr(k), uintptr(0)
	if more {
		on = 1
	}
	i := 0
	for ; i+6 <= rows; i += 6 {
		for p := range panels {
			tile6x1AVX2(&c[i*ldc+p*lanes], cs, &a[i*lda], as, &b[p*step], bs, n, on)
		}
	}
	p := 0
	switch rows - i {
	case 1:
		for ; p+4 <= panels; p += 4 {
			tile1x4AVX2(&c[i*ldc+p*lanes], cs, &a[i*lda], as, &b[p*step], bs, n, on)
		}
	case 2:
		for ; p+2 <= panels; p += 2 {
			tile2x2AVX2(&c[i*ldc+p*lanes], cs, &a[i*lda], as, &b[p*step], bs, n, on)
		}
	}
	for ; p < panels && i < rows; p++ {
		c, a, b := &c[i*ldc+p*lanes], &a[i*lda], &b[p*step]
		switch rows - i {
		case 1:
			tile1x1AVX2(c, cs, a, as, b, bs, n, on)
		case 2:
			tile2x1AVX2(c, cs, a, as, b, bs, n, on)
		case 3:
			tile3x1AVX2(c, cs, a, as, b, bs, n, on)
		case 4:
			tile4x1AVX2(c, cs, a, as, b, bs, n, on)
		case 5:
			tile5x1AVX2(c, cs, a, as, b, bs, n, on)
		}
	}
}

// tileWithAVX512 is the same with larger tiles.
func tileWithAVX512(c []float32, ldc int, a []float32, lda, rows int, b []float32, step, k, panels int, more bool) {
	if !checkTile(c, ldc, a, lda, rows, b, step, k, panels) {
		return
	}
	cs, as, bs, n, on := uintptr(4*ldc), uintptr(4*lda), uintptr(4*step), uintptr(k), uintptr(0)
	if more {
		on = 1
	}
	for i := 0; i < rows; {
		m := 1
		for _, size := range [...]int{12, 8, 4, 2} {
			if rows-i >= size {
				m = size
				break
			}
		}
		p := 0
		for p < panels {
			c, a, b := &c[i*ldc+p*lanes], &a[i*lda], &b[p*step]
			left := panels - p
			switch {
			case m == 1 && left >= 4:
				tile1x4AVX512(c, cs, a, as, b, bs, n, on)
				p += 4
				continue
			case left >= 2:
				switch m {
				case 12:
					tile12x2AVX512(c, cs, a, as, b, bs, n, on)
				case 8:
					tile8x2AVX512(c, cs, a, as, b, bs, n, on)
				case 4:
					tile4x2AVX512(c, cs, a, as, b, bs, n, on)
				case 2:
					tile2x2AVX512(c, cs, a, as, b, bs, n, on)
				case 1:
					tile1x2AVX512(c, cs, a, as, b, bs, n, on)
				}
				p += 2
				continue
			}
			switch m {
			case 12:
				tile12x1AVX512(c, cs, a, as, b, bs, n, on)
			case 8:
				tile8x1AVX512(c, cs, a, as, b, bs, n, on)
			case 4:
				tile4x1AVX512(c, cs, a, as, b, bs, n, on)
			case 2:
				tile2x1AVX512(c, cs, a, as, b, bs, n, on)
			case 1:
				tile1x1AVX512(c, cs, a, as, b, bs, n, on)
			}
			p++
		}
		i += m
	}
}

// checkTile touches the last value of each operand, so that a wrong size
// panics here and not in assembly. It is false if there is nothing to do.
func checkTile(c []float32, ldc int, a []float32, lda, rows int, b []float32, step, k, panels int) bool {
	if rows == 0 || panels == 0 || k == 0 {
		return false
	}
	_ = c[(rows-1)*ldc+panels*lanes-1]
	_ = a[(rows-1)*lda+k-1]
	_ = b[(panels-1)*step+k*lanes-1]
	return true
}

// gateAVX2, slopesAVX2, softmaxAVX2, scaleAddAVX2 and expAVX2 are in exp_amd64.s.

//go:noescape
func gateAVX2(dst, x, z, up *float32, n int)

//go:noescape
func slopesAVX2(y, slope, x, z, dz *float32, n int)

//go:noescape
func softmaxAVX2(s *float32, count int, top, total *float32) (shrink float32)

//go:noescape
func scaleAddAVX2(acc, x *float32, n int, scale float32)

//go:noescape
func expAVX2(x *float32, n int, shift float32)

// expWithAVX2 fills the last eight up, as gateWithAVX2 does.
func expWithAVX2(x []float32, shift float32) {
	n := len(x) &^ 7
	if n > 0 {
		expAVX2(&x[0], n, shift)
	}
	if n < len(x) {
		var a [8]float32
		copy(a[:], x[n:])
		expAVX2(&a[0], 8, shift)
		copy(x[n:], a[:])
	}
}

// scaleAddWithAVX2 leaves what is no whole eight to the plain loop: that is
// there with a scale of 1 only, where the bits agree.
func scaleAddWithAVX2(acc, x []float32, scale float32) {
	n := len(acc) &^ 7
	if n > 0 {
		_ = x[n-1]
		scaleAddAVX2(&acc[0], &x[0], n, scale)
	}
	scaleAddGo(acc[n:], x[n:], scale)
}

// gateWithAVX2 goes through the assembly in eights, the rest filled up, so that
// a value has the same bits wherever it stands.
func gateWithAVX2(dst, x, z, up []float32) {
	x, z, up = x[:len(dst)], z[:len(dst)], up[:len(dst)]
	n := len(dst) &^ 7
	if n > 0 {
		gateAVX2(&dst[0], &x[0], &z[0], &up[0], n)
	}
	if n < len(dst) {
		var a, b, c [8]float32
		copy(a[:], x[n:])
		copy(b[:], z[n:])
		copy(c[:], up[n:])
		gateAVX2(&a[0], &a[0], &b[0], &c[0], 8)
		copy(dst[n:], a[:])
	}
}

// slopesWithAVX2 fills the last eight up as well.
func slopesWithAVX2(y, slope, x, z, dz []float32) {
	n := len(x) &^ 7
	if n > 0 {
		_, _, _, _ = y[n-1], slope[n-1], z[n-1], dz[n-1]
		slopesAVX2(&y[0], &slope[0], &x[0], &z[0], &dz[0], n)
	}
	if n < len(x) {
		var a, b, c, d, e [8]float32
		copy(c[:], x[n:])
		copy(d[:], z[n:])
		copy(e[:], dz[n:])
		slopesAVX2(&a[0], &b[0], &c[0], &d[0], &e[0], 8)
		copy(y[n:], a[:len(x)-n])
		copy(slope[n:], b[:len(x)-n])
	}
}

func softmaxWithAVX2(s []float32, count int, top, total *float32) float32 {
	_ = s[page-1]
	return softmaxAVX2(&s[0], count, top, total)
}

// readAVX2, fmaAVX2 and fmaAVX512 are in ceiling_amd64.s.

//go:noescape
func readAVX2(x *float32, n int)

//go:noescape
func fmaAVX2(n int)

//go:noescape
func fmaAVX512(n int)

func readWithAVX2(x []float32) {
	if n := len(x) &^ 63; n > 0 {
		readAVX2(&x[0], n)
	}
}

// The following are in decode_amd64.s.

//go:noescape
func decode4AVX2(dst *float32, codes *byte, blocks, size int, planes *[64]byte, scales *float32)

//go:noescape
func decode8AVX2(dst *float32, codes *byte, n int, scale, unit float32)

//go:noescape
func roundBF16AVX2(x *float32, n int)

//go:noescape
func interleaveAVX2(dst, src *float32, stride uintptr, n int)

func decode4WithAVX2(dst []float32, codes []byte, size int, t *lookup, scales []float32) {
	if size%32 != 0 || len(scales) == 0 {
		decode4Go(dst, codes, size, t, scales)
		return
	}
	n := len(scales) * size
	_, _ = dst[n-1], codes[n/2-1]
	decode4AVX2(&dst[0], &codes[0], len(scales), size, &t.planes, &scales[0])
}

func decode8WithAVX2(dst []float32, codes []byte, scale float32) {
	n := len(dst) &^ 7
	if n > 0 {
		_ = codes[n-1]
		decode8AVX2(&dst[0], &codes[0], n, scale, format.Int8Unit)
	}
	decode8Go(dst[n:], codes[n:], scale)
}

func roundBF16WithAVX2(x []float32) {
	n := len(x) &^ 7
	if n > 0 {
		roundBF16AVX2(&x[0], n)
	}
	roundBF16Go(x[n:])
}

func interleaveWithAVX2(dst, src []float32, stride, n int) {
	eights := n &^ 7
	if eights > 0 {
		_, _ = dst[eights*lanes-1], src[(lanes-1)*stride+eights-1]
		interleaveAVX2(&dst[0], &src[0], uintptr(4*stride), eights)
	}
	if eights < n {
		interleaveGo(dst[eights*lanes:], src[eights:], stride, n-eights)
	}
}

//go:noescape
func prefetchAVX2(x *byte, n int)

func prefetchWithAVX2(x []byte) {
	if len(x) > 0 {
		prefetchAVX2(&x[0], len(x))
	}
}

//go:noescape
func decodeBF16AVX2(dst *float32, src *byte, n int)

//go:noescape
func decodeF16AVX2(dst *float32, src *byte, n int)

//go:noescape
func affine4AVX2(dst *float32, codes *byte, n int, shift uint64, zero, scale, min float32)

//go:noescape
func decodeQ6AVX2(dst *float32, low, high *byte, shifts uint64, scales *float32)

// plainWithAVX2 knows the floating-point types of two bytes and the commonest
// blocks of GGML.
func plainWithAVX2(dst []float32, src []byte, t format.Type) bool {
	if len(dst) == 0 {
		return true
	}
	size, _ := t.Bytes(int64(len(dst)))
	if size == 0 || len(src) < int(size) {
		return false // the reference complains
	}
	scale := func(b []byte) float32 { return format.F16ToF32(binary.LittleEndian.Uint16(b)) }
	switch n := len(dst) &^ 7; t {
	case format.BF16, format.F16:
		if n > 0 && t == format.BF16 {
			decodeBF16AVX2(&dst[0], &src[0], n)
		} else if n > 0 {
			decodeF16AVX2(&dst[0], &src[0], n)
		}
		t.Decode(dst[n:], src[2*n:])
	case format.Q8_0:
		for ; len(dst) > 0; dst, src = dst[32:], src[34:] {
			decode8AVX2(&dst[0], &src[2], 32, scale(src), 1)
		}
	case format.Q4_0:
		for ; len(dst) > 0; dst, src = dst[32:], src[18:] {
			d := scale(src)
			affine4AVX2(&dst[0], &src[2], 16, 0, 8, d, 0)
			affine4AVX2(&dst[16], &src[2], 16, 4, 8, d, 0)
		}
	case format.Q4_K:
		for ; len(dst) > 0; dst, src = dst[256:], src[144:] {
			d, least := scale(src), scale(src[2:])
			for j := range 8 {
				s, m := format.ScaleMin(src[4:16], j)
				affine4AVX2(&dst[32*j], &src[16+j/2*32], 32, uint64(j%2*4), 0, d*float32(s), least*float32(m))
			}
		}
	case format.Q6_K:
		for ; len(dst) > 0; dst, src = dst[256:], src[210:] {
			d := scale(src[208:])
			var scales [16]float32
			for i := range scales {
				scales[i] = d * float32(int8(src[192+i]))
			}
			for i := range 8 { // a half of 128 values in four parts of 32
				half, part := i/4, i%4
				decodeQ6AVX2(&dst[32*i], &src[64*half+part%2*32], &src[128+32*half], uint64(part/2*4)|uint64(2*part)<<8, &scales[2*i])
			}
		}
	default:
		return false
	}
	return true
}

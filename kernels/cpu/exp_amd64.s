//go:build amd64 && !noasm

#include "textflag.h"

// Constants of exp32 (exp.go), each once.
DATA expk<>+0(SB)/4, $0xc2ae999a  // expMin -87.3
DATA expk<>+4(SB)/4, $0x42b0999a  // expMax 88.3
DATA expk<>+8(SB)/4, $0x3fb8aa3b  // log2e
DATA expk<>+12(SB)/4, $0x4b400000 // roundMagic 1.5·2^23
DATA expk<>+16(SB)/4, $0x3f318000 // ln2Hi
DATA expk<>+20(SB)/4, $0xb95e8083 // ln2Lo
DATA expk<>+24(SB)/4, $0x39506967 // exp5
DATA expk<>+28(SB)/4, $0x3ab743ce // exp4
DATA expk<>+32(SB)/4, $0x3c088908 // exp3
DATA expk<>+36(SB)/4, $0x3d2aa9c1 // exp2
DATA expk<>+40(SB)/4, $0x3e2aaaaa // exp1
DATA expk<>+44(SB)/4, $0x3f000000 // exp0
DATA expk<>+48(SB)/4, $0x3f800000 // 1
DATA expk<>+52(SB)/4, $0x80000000 // the sign
DATA expk<>+56(SB)/4, $0xff800000 // -Inf
GLOBL expk<>(SB), RODATA|NOPTR, $60

// 0 to 31, for masks.
DATA iota<>+0(SB)/8, $0x0000000100000000
DATA iota<>+8(SB)/8, $0x0000000300000002
DATA iota<>+16(SB)/8, $0x0000000500000004
DATA iota<>+24(SB)/8, $0x0000000700000006
DATA iota<>+32(SB)/8, $0x0000000900000008
DATA iota<>+40(SB)/8, $0x0000000b0000000a
DATA iota<>+48(SB)/8, $0x0000000d0000000c
DATA iota<>+56(SB)/8, $0x0000000f0000000e
DATA iota<>+64(SB)/8, $0x0000001100000010
DATA iota<>+72(SB)/8, $0x0000001300000012
DATA iota<>+80(SB)/8, $0x0000001500000014
DATA iota<>+88(SB)/8, $0x0000001700000016
DATA iota<>+96(SB)/8, $0x0000001900000018
DATA iota<>+104(SB)/8, $0x0000001b0000001a
DATA iota<>+112(SB)/8, $0x0000001d0000001c
DATA iota<>+120(SB)/8, $0x0000001f0000001e
GLOBL iota<>(SB), RODATA|NOPTR, $128

// EXP: x = e^x, eight lanes; t, n and p are spent. The steps of exp32, each
// product and sum fused. The clamps keep NaN: VMINPS and VMAXPS give their
// first operand (in Go's order) where one is NaN.
#define EXP(x, t, n, p) \
	VBROADCASTSS expk<>+0(SB), p   \
	VMAXPS       x, p, x           \ // x = p > x ? p : x
	VBROADCASTSS expk<>+4(SB), p   \
	VMINPS       x, p, x           \
	VBROADCASTSS expk<>+12(SB), n  \
	VBROADCASTSS expk<>+8(SB), t   \
	VFMADD213PS  n, x, t           \ // t = t·x + n
	VSUBPS       n, t, n           \ // n = t - magic
	VBROADCASTSS expk<>+16(SB), p  \
	VFNMADD231PS p, n, x           \ // x = x - n·ln2Hi
	VBROADCASTSS expk<>+20(SB), p  \
	VFNMADD231PS p, n, x           \ // r = x - n·ln2Lo
	VBROADCASTSS expk<>+24(SB), p  \
	VBROADCASTSS expk<>+28(SB), n  \
	VFMADD213PS  n, x, p           \ // p = p·r + exp4
	VBROADCASTSS expk<>+32(SB), n  \
	VFMADD213PS  n, x, p           \
	VBROADCASTSS expk<>+36(SB), n  \
	VFMADD213PS  n, x, p           \
	VBROADCASTSS expk<>+40(SB), n  \
	VFMADD213PS  n, x, p           \
	VBROADCASTSS expk<>+44(SB), n  \
	VFMADD213PS  n, x, p           \
	VMULPS       x, x, n           \ // r²
	VBROADCASTSS expk<>+48(SB), t0 \
	VADDPS       t0, x, x          \ // r + 1
	VFMADD231PS  p, n, x           \ // e^r = r²·p + (r + 1)
	VPSLLD       $23, t, t         \
	VPADDD       t0, t, t          \ // 2^n
	VMULPS       t, x, x

#define t0 Y15

// func gateAVX2(dst, x, z, up *float32, n int)
//
// dst[i] = x[i] / (1 + exp(-z[i])) * up[i]; n is a multiple of 8.
TEXT ·gateAVX2(SB), NOSPLIT, $0-40
	MOVQ dst+0(FP), DI
	MOVQ x+8(FP), SI
	MOVQ z+16(FP), R8
	MOVQ up+24(FP), DX
	MOVQ n+32(FP), CX
	SHRQ $3, CX
	JZ   done

loop:
	VMOVUPS      (SI), Y0
	VMOVUPS      (R8), Y1
	VBROADCASTSS expk<>+52(SB), Y2
	VXORPS       Y1, Y2, Y1       // -z
	EXP(Y1, Y2, Y3, Y4)
	VADDPS       t0, Y1, Y1       // 1 + exp
	VDIVPS       Y1, Y0, Y0       // x / that
	VMULPS       (DX), Y0, Y0
	VMOVUPS      Y0, (DI)
	ADDQ         $32, SI
	ADDQ         $32, R8
	ADDQ         $32, DX
	ADDQ         $32, DI
	DECQ         CX
	JNZ          loop

done:
	VZEROUPPER
	RET

// func softmaxAVX2(s *float32, count int, top, total *float32) (shrink float32)
//
// See softmaxGo. Y0-Y3 the 32 scores, Y4-Y7 their masks, Y8 the new top in all
// lanes, Y9 the sum.
TEXT ·softmaxAVX2(SB), NOSPLIT, $0-36
	MOVQ         s+0(FP), DI
	MOVQ         count+8(FP), CX
	MOVQ         top+16(FP), SI
	MOVQ         total+24(FP), DX
	MOVQ         CX, X8
	VPBROADCASTD X8, Y8
	VPCMPGTD     iota<>+0(SB), Y8, Y4
	VPCMPGTD     iota<>+32(SB), Y8, Y5
	VPCMPGTD     iota<>+64(SB), Y8, Y6
	VPCMPGTD     iota<>+96(SB), Y8, Y7

	// The scores, -Inf where there is none.
	VBROADCASTSS expk<>+56(SB), Y9
	VBLENDVPS    Y4, (DI), Y9, Y0
	VBLENDVPS    Y5, 32(DI), Y9, Y1
	VBLENDVPS    Y6, 64(DI), Y9, Y2
	VBLENDVPS    Y7, 96(DI), Y9, Y3

	// The largest of them and of top, in all lanes.
	VBROADCASTSS (SI), Y8
	VMAXPS       Y0, Y1, Y10
	VMAXPS       Y2, Y3, Y11
	VMAXPS       Y10, Y11, Y10
	VPERM2F128   $1, Y10, Y10, Y11
	VMAXPS       Y10, Y11, Y10
	VPERMILPS    $0x4e, Y10, Y11
	VMAXPS       Y10, Y11, Y10
	VPERMILPS    $0xb1, Y10, Y11
	VMAXPS       Y10, Y11, Y10
	VMAXPS       Y8, Y10, Y10     // Y10 the new top
	VSUBPS       Y10, Y8, Y8      // Y8 the old one less the new
	VMOVSS       X10, (SI)

	VSUBPS Y10, Y0, Y0
	VSUBPS Y10, Y1, Y1
	VSUBPS Y10, Y2, Y2
	VSUBPS Y10, Y3, Y3
	EXP(Y0, Y11, Y12, Y13)
	EXP(Y1, Y11, Y12, Y13)
	EXP(Y2, Y11, Y12, Y13)
	EXP(Y3, Y11, Y12, Y13)
	VANDPS Y4, Y0, Y0
	VANDPS Y5, Y1, Y1
	VANDPS Y6, Y2, Y2
	VANDPS Y7, Y3, Y3
	VMOVUPS Y0, (DI)
	VMOVUPS Y1, 32(DI)
	VMOVUPS Y2, 64(DI)
	VMOVUPS Y3, 96(DI)

	// sum = the four registers pairwise, then the lanes pairwise.
	VADDPS       Y0, Y1, Y0
	VADDPS       Y2, Y3, Y2
	VADDPS       Y0, Y2, Y0
	VEXTRACTF128 $1, Y0, X1
	VADDPS       X0, X1, X0
	VPERMILPS    $0x4e, X0, X1
	VADDPS       X0, X1, X0
	VPERMILPS    $0xb1, X0, X1
	VADDPS       X0, X1, X9

	EXP(Y8, Y11, Y12, Y13)
	VMOVSS      X8, shrink+32(FP)
	VMOVSS      (DX), X0
	VFMADD213SS X9, X8, X0        // total·shrink + sum
	VMOVSS      X0, (DX)
	VZEROUPPER
	RET

// func scaleAddAVX2(acc, x *float32, n int, scale float32)
//
// acc[i] = acc[i]*scale + x[i], in one rounding; n is a multiple of 8.
TEXT ·scaleAddAVX2(SB), NOSPLIT, $0-28
	MOVQ         acc+0(FP), DI
	MOVQ         x+8(FP), SI
	MOVQ         n+16(FP), CX
	VBROADCASTSS scale+24(FP), Y1
	SHRQ         $3, CX
	JZ           end

next:
	VMOVUPS     (DI), Y0
	VFMADD213PS (SI), Y1, Y0
	VMOVUPS     Y0, (DI)
	ADDQ        $32, DI
	ADDQ        $32, SI
	DECQ        CX
	JNZ         next

end:
	VZEROUPPER
	RET

// func expAVX2(x *float32, n int, shift float32)
//
// x[i] = exp(x[i] - shift); n is a multiple of 8.
TEXT ·expAVX2(SB), NOSPLIT, $0-20
	MOVQ         x+0(FP), DI
	MOVQ         n+8(FP), CX
	VBROADCASTSS shift+16(FP), Y5
	SHRQ         $3, CX
	JZ           out

more:
	VMOVUPS (DI), Y1
	VSUBPS  Y5, Y1, Y1
	EXP(Y1, Y2, Y3, Y4)
	VMOVUPS Y1, (DI)
	ADDQ    $32, DI
	DECQ    CX
	JNZ     more

out:
	VZEROUPPER
	RET

// func slopesAVX2(y, slope, x, z, dz *float32, n int)
//
// s = 1 / (1 + exp(-z[i])), y[i] = x[i]·s, slope[i] = s + y[i]·(1-s)·dz[i]; n is
// a multiple of 8.
TEXT ·slopesAVX2(SB), NOSPLIT, $0-48
	MOVQ y+0(FP), DI
	MOVQ slope+8(FP), R9
	MOVQ x+16(FP), SI
	MOVQ z+24(FP), R8
	MOVQ dz+32(FP), DX
	MOVQ n+40(FP), CX
	SHRQ $3, CX
	JZ   last

step:
	VMOVUPS      (R8), Y1
	VBROADCASTSS expk<>+52(SB), Y2
	VXORPS       Y1, Y2, Y1       // -z
	EXP(Y1, Y2, Y3, Y4)
	VADDPS       t0, Y1, Y1       // 1 + exp
	VDIVPS       Y1, t0, Y1       // s
	VMULPS       (SI), Y1, Y2     // y
	VSUBPS       Y1, t0, Y3       // 1 - s
	VMULPS       Y2, Y3, Y3
	VMOVUPS      Y2, (DI)
	VFMADD231PS  (DX), Y3, Y1     // s + y·(1-s)·dz
	VMOVUPS      Y1, (R9)
	ADDQ         $32, DI
	ADDQ         $32, R9
	ADDQ         $32, SI
	ADDQ         $32, R8
	ADDQ         $32, DX
	DECQ         CX
	JNZ          step

last:
	VZEROUPPER
	RET

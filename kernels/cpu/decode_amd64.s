//go:build amd64 && !noasm

#include "textflag.h"

// func decode4AVX2(dst *float32, codes *byte, blocks, size int, planes *[64]byte, scales *float32)
//
// For each block of size codes, a multiple of 32: dst[i] = table[code i] *
// scale of the block, the first code of a byte in its high half. The table
// stands in four planes: the first bytes of its sixteen values, the second
// ones, and so on, so that a byte shuffle looks 32 codes up in a plane.
TEXT ·decode4AVX2(SB), NOSPLIT, $0-48
	MOVQ           dst+0(FP), DI
	MOVQ           codes+8(FP), SI
	MOVQ           blocks+16(FP), CX
	MOVQ           size+24(FP), R8
	MOVQ           planes+32(FP), DX
	MOVQ           scales+40(FP), R9
	VBROADCASTI128 (DX), Y8
	VBROADCASTI128 16(DX), Y9
	VBROADCASTI128 32(DX), Y10
	VBROADCASTI128 48(DX), Y11
	MOVQ           $0x0f0f0f0f0f0f0f0f, AX
	VMOVQ          AX, X6
	VPBROADCASTQ   X6, Y6
	SHRQ           $5, R8
	TESTQ          CX, CX
	JZ             end4

block4:
	VBROADCASTSS (R9), Y7
	MOVQ         R8, R10

loop4:
	VMOVDQU     (SI), X0
	VPSRLW      $4, X0, X1
	VPAND       X6, X1, X1
	VPAND       X6, X0, X0
	VPUNPCKLBW  X0, X1, X2        // codes 0 to 15
	VPUNPCKHBW  X0, X1, X3        // codes 16 to 31
	VINSERTI128 $1, X3, Y2, Y0
	VPSHUFB     Y0, Y8, Y1        // the four bytes of each value
	VPSHUFB     Y0, Y9, Y2
	VPSHUFB     Y0, Y10, Y3
	VPSHUFB     Y0, Y11, Y4
	VPUNPCKLBW  Y2, Y1, Y5        // lower halves of values 0-7 and 16-23
	VPUNPCKHBW  Y2, Y1, Y1        // of 8-15 and 24-31
	VPUNPCKLBW  Y4, Y3, Y2        // upper halves
	VPUNPCKHBW  Y4, Y3, Y3
	VPUNPCKLWD  Y2, Y5, Y0        // 0-3, 16-19
	VPUNPCKHWD  Y2, Y5, Y5        // 4-7, 20-23
	VPUNPCKLWD  Y3, Y1, Y2        // 8-11, 24-27
	VPUNPCKHWD  Y3, Y1, Y1        // 12-15, 28-31
	VPERM2F128  $0x20, Y5, Y0, Y3
	VPERM2F128  $0x20, Y1, Y2, Y4
	VPERM2F128  $0x31, Y5, Y0, Y0
	VPERM2F128  $0x31, Y1, Y2, Y1
	VMULPS      Y7, Y3, Y3
	VMULPS      Y7, Y4, Y4
	VMULPS      Y7, Y0, Y0
	VMULPS      Y7, Y1, Y1
	VMOVUPS     Y3, (DI)
	VMOVUPS     Y4, 32(DI)
	VMOVUPS     Y0, 64(DI)
	VMOVUPS     Y1, 96(DI)
	ADDQ        $16, SI
	ADDQ        $128, DI
	DECQ        R10
	JNZ         loop4
	ADDQ        $4, R9
	DECQ        CX
	JNZ         block4

end4:
	VZEROUPPER
	RET

// func decode8AVX2(dst *float32, codes *byte, n int, scale, unit float32)
//
// dst[i] = code i * scale * unit; n is a multiple of 8.
TEXT ·decode8AVX2(SB), NOSPLIT, $0-32
	MOVQ         dst+0(FP), DI
	MOVQ         codes+8(FP), SI
	MOVQ         n+16(FP), CX
	VBROADCASTSS scale+24(FP), Y7
	VBROADCASTSS unit+28(FP), Y8
	SHRQ         $3, CX
	JZ           end8

loop8:
	VPMOVSXBD (SI), Y0
	VCVTDQ2PS Y0, Y0
	VMULPS    Y7, Y0, Y0
	VMULPS    Y8, Y0, Y0
	VMOVUPS   Y0, (DI)
	ADDQ      $8, SI
	ADDQ      $32, DI
	DECQ      CX
	JNZ       loop8

end8:
	VZEROUPPER
	RET

// func roundBF16AVX2(x *float32, n int)
//
// Rounds to the upper half of the bits, ties to even; NaN stays a quiet NaN. n
// is a multiple of 8.
TEXT ·roundBF16AVX2(SB), NOSPLIT, $0-16
	MOVQ         x+0(FP), DI
	MOVQ         n+8(FP), CX
	MOVL         $1, AX
	VMOVD        AX, X5
	VPBROADCASTD X5, Y5
	MOVL         $0x7fff, AX
	VMOVD        AX, X6
	VPBROADCASTD X6, Y6
	MOVL         $0x400000, AX
	VMOVD        AX, X4
	VPBROADCASTD X4, Y4
	SHRQ         $3, CX
	JZ           endround

loopround:
	VMOVDQU (DI), Y0
	VPSRLD  $16, Y0, Y1
	VPAND   Y5, Y1, Y1
	VPADDD  Y6, Y1, Y1
	VPADDD  Y1, Y0, Y1
	VCMPPS  $3, Y0, Y0, Y2 // all ones where NaN
	VPOR    Y4, Y0, Y0
	VBLENDVPS Y2, Y0, Y1, Y0
	VPSRLD  $16, Y0, Y0
	VPSLLD  $16, Y0, Y0
	VMOVDQU Y0, (DI)
	ADDQ    $32, DI
	DECQ    CX
	JNZ     loopround

endround:
	VZEROUPPER
	RET

// func prefetchAVX2(x *byte, n int)
//
// Asks for the lines of n bytes, n > 0.
TEXT ·prefetchAVX2(SB), NOSPLIT, $0-16
	MOVQ x+0(FP), SI
	MOVQ n+8(FP), CX
	ADDQ SI, CX

ask:
	PREFETCHT0 (SI)
	ADDQ       $64, SI
	CMPQ       SI, CX
	JLT        ask
	RET

// func decodeBF16AVX2(dst *float32, src *byte, n int)
//
// n, here and in the next three, is the number of values, a multiple of 8.
TEXT ·decodeBF16AVX2(SB), NOSPLIT, $0-24
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ n+16(FP), CX
	SHRQ $3, CX
	JZ   endbf

loopbf:
	VPMOVZXWD (SI), Y0
	VPSLLD    $16, Y0, Y0
	VMOVDQU   Y0, (DI)
	ADDQ      $16, SI
	ADDQ      $32, DI
	DECQ      CX
	JNZ       loopbf

endbf:
	VZEROUPPER
	RET

// func decodeF16AVX2(dst *float32, src *byte, n int)
TEXT ·decodeF16AVX2(SB), NOSPLIT, $0-24
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ n+16(FP), CX
	SHRQ $3, CX
	JZ   endhf

loophf:
	VCVTPH2PS (SI), Y0
	VMOVUPS   Y0, (DI)
	ADDQ      $16, SI
	ADDQ      $32, DI
	DECQ      CX
	JNZ       loophf

endhf:
	VZEROUPPER
	RET

// func affine4AVX2(dst *float32, codes *byte, n int, shift uint64, zero, scale, min float32)
//
// dst[i] = scale·(nibble i - zero) - min, the nibbles being the low halves of n
// bytes shifted right by shift, 0 or 4; the product and the difference are
// rounded one by one.
TEXT ·affine4AVX2(SB), NOSPLIT, $0-44
	MOVQ         dst+0(FP), DI
	MOVQ         codes+8(FP), SI
	MOVQ         n+16(FP), CX
	VMOVQ        shift+24(FP), X5
	VBROADCASTSS zero+32(FP), Y6
	VBROADCASTSS scale+36(FP), Y7
	VBROADCASTSS min+40(FP), Y8
	MOVL         $15, AX
	VMOVD        AX, X9
	VPBROADCASTD X9, Y9
	SHRQ         $3, CX
	JZ           endaff

loopaff:
	VPMOVZXBD (SI), Y0
	VPSRLD    X5, Y0, Y0
	VPAND     Y9, Y0, Y0
	VCVTDQ2PS Y0, Y0
	VSUBPS    Y6, Y0, Y0
	VMULPS    Y7, Y0, Y0
	VSUBPS    Y8, Y0, Y0
	VMOVUPS   Y0, (DI)
	ADDQ      $8, SI
	ADDQ      $32, DI
	DECQ      CX
	JNZ       loopaff

endaff:
	VZEROUPPER
	RET

// func decodeQ6AVX2(dst *float32, low, high *byte, shifts uint64, scales *float32)
//
// 32 values of Q6_K: code i is 4 bits of low[i], shifted right by the low byte
// of shifts, and 2 bits of high[i], shifted by the byte above; the value is
// scale·(code - 32), with a scale for each sixteen.
TEXT ·decodeQ6AVX2(SB), NOSPLIT, $0-40
	MOVQ         dst+0(FP), DI
	MOVQ         low+8(FP), SI
	MOVQ         high+16(FP), DX
	MOVQ         shifts+24(FP), AX
	MOVQ         scales+32(FP), R8
	MOVBQZX      AL, BX
	VMOVQ        BX, X5            // of the low bits
	SHRQ         $8, AX
	VMOVQ        AX, X6            // of the high bits
	MOVL         $15, AX
	VMOVD        AX, X9
	VPBROADCASTD X9, Y9
	MOVL         $3, AX
	VMOVD        AX, X10
	VPBROADCASTD X10, Y10
	MOVL         $32, AX
	VMOVD        AX, X11
	VPBROADCASTD X11, Y11
	MOVQ         $2, R9

loopq6:
	VBROADCASTSS (R8), Y7
	VPMOVZXBD    (SI), Y0
	VPMOVZXBD    8(SI), Y1
	VPMOVZXBD    (DX), Y2
	VPMOVZXBD    8(DX), Y3
	VPSRLD       X5, Y0, Y0
	VPSRLD       X5, Y1, Y1
	VPSRLD       X6, Y2, Y2
	VPSRLD       X6, Y3, Y3
	VPAND        Y9, Y0, Y0
	VPAND        Y9, Y1, Y1
	VPAND        Y10, Y2, Y2
	VPAND        Y10, Y3, Y3
	VPSLLD       $4, Y2, Y2
	VPSLLD       $4, Y3, Y3
	VPADDD       Y2, Y0, Y0
	VPADDD       Y3, Y1, Y1
	VPSUBD       Y11, Y0, Y0
	VPSUBD       Y11, Y1, Y1
	VCVTDQ2PS    Y0, Y0
	VCVTDQ2PS    Y1, Y1
	VMULPS       Y7, Y0, Y0
	VMULPS       Y7, Y1, Y1
	VMOVUPS      Y0, (DI)
	VMOVUPS      Y1, 32(DI)
	ADDQ         $16, SI
	ADDQ         $16, DX
	ADDQ         $64, DI
	ADDQ         $4, R8
	DECQ         R9
	JNZ          loopq6
	VZEROUPPER
	RET

// Eight rows of eight values from AX, stride BX, R8 = 3·BX and R9 = AX + 4·BX,
// as eight columns, 64 bytes apart from off(DI) on.
#define TRANSPOSE8(off) \
	VMOVUPS    (AX), Y0              \
	VMOVUPS    (AX)(BX*1), Y1        \
	VMOVUPS    (AX)(BX*2), Y2        \
	VMOVUPS    (AX)(R8*1), Y3        \
	VMOVUPS    (R9), Y4              \
	VMOVUPS    (R9)(BX*1), Y5        \
	VMOVUPS    (R9)(BX*2), Y6        \
	VMOVUPS    (R9)(R8*1), Y7        \
	VUNPCKLPS  Y1, Y0, Y8            \
	VUNPCKHPS  Y1, Y0, Y9            \
	VUNPCKLPS  Y3, Y2, Y10           \
	VUNPCKHPS  Y3, Y2, Y11           \
	VUNPCKLPS  Y5, Y4, Y12           \
	VUNPCKHPS  Y5, Y4, Y13           \
	VUNPCKLPS  Y7, Y6, Y14           \
	VUNPCKHPS  Y7, Y6, Y15           \
	VSHUFPS    $0x44, Y10, Y8, Y0    \
	VSHUFPS    $0xee, Y10, Y8, Y1    \
	VSHUFPS    $0x44, Y11, Y9, Y2    \
	VSHUFPS    $0xee, Y11, Y9, Y3    \
	VSHUFPS    $0x44, Y14, Y12, Y4   \
	VSHUFPS    $0xee, Y14, Y12, Y5   \
	VSHUFPS    $0x44, Y15, Y13, Y6   \
	VSHUFPS    $0xee, Y15, Y13, Y7   \
	VPERM2F128 $0x20, Y4, Y0, Y8     \
	VPERM2F128 $0x20, Y5, Y1, Y9     \
	VPERM2F128 $0x20, Y6, Y2, Y10    \
	VPERM2F128 $0x20, Y7, Y3, Y11    \
	VPERM2F128 $0x31, Y4, Y0, Y12    \
	VPERM2F128 $0x31, Y5, Y1, Y13    \
	VPERM2F128 $0x31, Y6, Y2, Y14    \
	VPERM2F128 $0x31, Y7, Y3, Y15    \
	VMOVUPS    Y8, (0+off)(DI)       \
	VMOVUPS    Y9, (64+off)(DI)      \
	VMOVUPS    Y10, (128+off)(DI)    \
	VMOVUPS    Y11, (192+off)(DI)    \
	VMOVUPS    Y12, (256+off)(DI)    \
	VMOVUPS    Y13, (320+off)(DI)    \
	VMOVUPS    Y14, (384+off)(DI)    \
	VMOVUPS    Y15, (448+off)(DI)

// func interleaveAVX2(dst, src *float32, stride uintptr, n int)
//
// dst[k*16+l] = value k of row l, for sixteen rows stride bytes apart; n, the
// values of a row, is a multiple of 8.
TEXT ·interleaveAVX2(SB), NOSPLIT, $0-32
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), AX
	MOVQ stride+16(FP), BX
	MOVQ n+24(FP), CX
	LEAQ (BX)(BX*2), R8
	LEAQ (AX)(BX*8), R10
	SHRQ $3, CX
	JZ   enditl

loopitl:
	LEAQ (AX)(BX*4), R9
	TRANSPOSE8(0)
	MOVQ AX, R11
	MOVQ R10, AX
	LEAQ (AX)(BX*4), R9
	TRANSPOSE8(32)
	LEAQ 32(R11), AX
	ADDQ $32, R10
	ADDQ $512, DI
	DECQ CX
	JNZ  loopitl

enditl:
	VZEROUPPER
	RET

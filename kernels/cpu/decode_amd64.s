//go:build amd64 && !noasm

#include "textflag.h"

// func decode4AVX2(dst *float32, codes *byte, n int, table *float32, scale float32)
//
// dst[i] = table[code i] * scale, the first code of a byte in its high half; n
// is a multiple of 16. A lookup among sixteen is two among eight, chosen
// between by bit 3.
TEXT ·decode4AVX2(SB), NOSPLIT, $0-36
	MOVQ         dst+0(FP), DI
	MOVQ         codes+8(FP), SI
	MOVQ         n+16(FP), CX
	MOVQ         table+24(FP), DX
	VBROADCASTSS scale+32(FP), Y7
	VMOVUPS      (DX), Y8
	VMOVUPS      32(DX), Y9
	MOVQ         $0x0f0f0f0f0f0f0f0f, AX
	VMOVQ        AX, X6
	SHRQ         $4, CX
	JZ           end4

loop4:
	VMOVQ      (SI), X0
	VPSRLW     $4, X0, X1
	VPAND      X6, X1, X1
	VPAND      X6, X0, X0
	VPUNPCKLBW X0, X1, X0   // sixteen codes in their order
	VPMOVZXBD  X0, Y1
	VPSRLDQ    $8, X0, X0
	VPMOVZXBD  X0, Y2
	VPERMPS    Y8, Y1, Y3
	VPERMPS    Y9, Y1, Y4
	VPSLLD     $28, Y1, Y1
	VBLENDVPS  Y1, Y4, Y3, Y3
	VMULPS     Y7, Y3, Y3
	VMOVUPS    Y3, (DI)
	VPERMPS    Y8, Y2, Y3
	VPERMPS    Y9, Y2, Y4
	VPSLLD     $28, Y2, Y2
	VBLENDVPS  Y2, Y4, Y3, Y3
	VMULPS     Y7, Y3, Y3
	VMOVUPS    Y3, 32(DI)
	ADDQ       $8, SI
	ADDQ       $64, DI
	DECQ       CX
	JNZ        loop4

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
// Rounds to the upper half of the bits, ties to even; n is a multiple of 8, no
// value is NaN.
TEXT ·roundBF16AVX2(SB), NOSPLIT, $0-16
	MOVQ         x+0(FP), DI
	MOVQ         n+8(FP), CX
	MOVL         $1, AX
	VMOVD        AX, X5
	VPBROADCASTD X5, Y5
	MOVL         $0x7fff, AX
	VMOVD        AX, X6
	VPBROADCASTD X6, Y6
	SHRQ         $3, CX
	JZ           endround

loopround:
	VMOVDQU (DI), Y0
	VPSRLD  $16, Y0, Y1
	VPAND   Y5, Y1, Y1
	VPADDD  Y6, Y0, Y0
	VPADDD  Y1, Y0, Y0
	VPSRLD  $16, Y0, Y0
	VPSLLD  $16, Y0, Y0
	VMOVDQU Y0, (DI)
	ADDQ    $32, DI
	DECQ    CX
	JNZ     loopround

endround:
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

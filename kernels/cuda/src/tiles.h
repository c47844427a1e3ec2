// Tiles of products of bfloat16 matrices on Hopper's matrix units, summed in float32:
// dst [m, n] = a [m, k] · bᵀ, b [n, k]; k is a multiple of 64.
//
// A block of two warpgroups owns 128 rows of outputs, each of them 64 in registers. Tiles
// of 64 columns of a and b go through shared memory in a ring of four, in the layout that
// wgmma calls 128-byte swizzle: the 16-byte chunk c of row r lies at place c ^ (r mod 8).
#pragma once
#include "hopper.h"

const int rowsA = 128, depth = 64, stages = 4;
const int bytesA = rowsA * depth * 2;

// tileOf describes rows of 128 bytes in shared memory to wgmma: the address,
// 1024 bytes from 8 rows to the next 8, swizzle of 128 bytes.
DEVICE u64 tileOf(SharedAddress address) { return (u64)(address >> 4 & 0x3fff) | 1ull << 16 | 64ull << 32 | 1ull << 62; }

// A matrix of bfloat16 [rows, cols] at an address, described to the tensor memory unit by
// cuTensorMapEncodeTiled or what plays it: boxes of 64 columns by box rows, wgmma's swizzle
// of 128 bytes, zeros beyond the matrix. 9 is bfloat16, 3 the swizzle, and 3 more memory
// for the second-level cache (256 bytes).
typedef int (*encodeTiled)(void *map, int type, unsigned rank, void *at, const unsigned long long *dims, const unsigned long long *strides, const unsigned *box, const unsigned *steps, int interleave, int swizzle, int promotion, int fill);
static inline int describeTiles(encodeTiled encode, void *map, unsigned long long at, unsigned long long rows, unsigned long long cols, unsigned box) {
	unsigned long long dims[2] = {cols, rows}, strides[1] = {cols * 2};
	unsigned boxes[2] = {64, box}, steps[2] = {1, 1};
	return encode(map, 9, 2, (void *)at, dims, strides, boxes, steps, 0, 3, 3, 0);
}

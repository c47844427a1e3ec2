// What lies between a layer's projections and its attention, in one kernel.
#include "device.h"

const int page = 32; // see attention.cu

// ropeStoreKV rotates the heads of q in place, and stores the heads of k, rotated, and of
// v at their places: rope and storeKV of elementwise.cu and attention.cu, value by
// value. place[2i] is a row, place[2i+1] is page·32 + position in the page. A thread takes a pair of a head of
// q or k, or a value that is only moved.
GLOBAL ropeStoreKV(float *q, const float *k, const float *v, const float *cosine, const float *sine, const int *pos, float *ks, float *vs, const int *place, i64 rows, i64 heads, i64 kvHeads, i64 dim, i64 half, i64 pairs) {
	const i64 ofQ = rows * heads * half, ofK = rows * kvHeads * half, still = dim - 2 * half, ofRest = rows * kvHeads * still, ofV = rows * kvHeads * dim;
	for (i64 i = (i64)blockX() * threads() + threadX(); i < ofQ + ofK + ofRest + ofV; i += (i64)blocks() * threads()) {
		if (i < ofQ + ofK) {
			const bool inQ = i < ofQ;
			const i64 at = inQ ? i : i - ofQ, j = at % half, head = at / half % (inQ ? heads : kvHeads), t = at / half / (inQ ? heads : kvHeads);
			const i64 row = inQ ? t : place[2 * t];
			const float c = cosine[pos[row] * half + j], s = sine[pos[row] * half + j];
			const i64 ia = pairs ? 2 * j : j, ib = pairs ? 2 * j + 1 : j + half;
			if (inQ) {
				float *h = q + (row * heads + head) * dim;
				const float a = h[ia], b = h[ib];
				h[ia] = a * c - b * s;
				h[ib] = b * c + a * s;
			} else {
				const float *h = k + (row * kvHeads + head) * dim;
				const i64 to = place[2 * t + 1];
				float *key = ks + (to / page * kvHeads + head) * page * dim + to % page;
				const float a = h[ia], b = h[ib];
				key[ia * page] = a * c - b * s;
				key[ib * page] = b * c + a * s;
			}
		} else {
			const bool inK = i < ofQ + ofK + ofRest;
			const i64 at = inK ? i - ofQ - ofK : i - ofQ - ofK - ofRest, width = inK ? still : dim;
			const i64 d = at % width + (inK ? 2 * half : 0), head = at / width % kvHeads, t = at / width / kvHeads;
			const i64 row = place[2 * t], to = place[2 * t + 1], base = (to / page * kvHeads + head) * page * dim;
			if (inK)
				ks[base + d * page + to % page] = k[(row * kvHeads + head) * dim + d];
			else
				vs[base + to % page * dim + d] = v[(row * kvHeads + head) * dim + d];
		}
	}
}

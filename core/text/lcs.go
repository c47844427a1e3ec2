package text

import "math/bits"

// lcsLength is the length of the longest common subsequence of a reference and
// a prediction, bit-parallel. masks holds, for each distinct reference token,
// the bit set of its positions in the reference, words words a token; query
// lists the prediction's tokens as indices into masks, or -1 for a token that
// the reference does not have. m is the number of reference tokens.
//
// With V all ones at first and M the mask of the next query token, each step is
// V = (V + (V & M)) | (V &^ M); the zeros among the low m bits of the last V
// count the subsequence (Crochemore, Iliopoulos, Pinzon and Reid, "A fast and
// practical bit-vector algorithm for the longest common subsequence problem",
// Information Processing Letters 80, 2001, in the form of Hyyrö, 2004).
// state is scratch of at least words words.
func lcsLength(masks []uint64, words int, query []int32, m int, state []uint64) int {
	if m == 0 || len(query) == 0 {
		return 0
	}
	if words == 1 {
		v := ^uint64(0)
		for _, id := range query {
			if id >= 0 {
				u := v & masks[id]
				v = (v + u) | (v &^ u)
			}
		}
		if m < 64 {
			v |= ^uint64(0) << m
		}
		return 64 - bits.OnesCount64(v)
	}
	state = state[:words]
	for i := range state {
		state[i] = ^uint64(0)
	}
	for _, id := range query {
		if id < 0 {
			continue
		}
		mask := masks[int(id)*words : int(id)*words+words]
		carry := uint64(0)
		for w, v := range state {
			u := v & mask[w]
			var sum uint64
			sum, carry = bits.Add64(v, u, carry)
			state[w] = sum | (v &^ u)
		}
	}
	zeros := 0
	for w, v := range state {
		if rest := m - 64*w; rest < 64 {
			v |= ^uint64(0) << max(rest, 0)
		}
		zeros += 64 - bits.OnesCount64(v)
	}
	return zeros
}

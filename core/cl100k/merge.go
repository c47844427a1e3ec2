package cl100k

import "math"

// none is the rank of two neighbours that make no token.
const none = math.MaxUint32

// longPiece is the length in bytes from which a heap beats looking at all pairs.
const longPiece = 128

// merge calls f for the tokens of a piece: beginning with single bytes, the two
// neighbours that together are the token of the smallest id are merged, the
// leftmost first, until none are left.
func merge(ranks map[string]uint32, piece string, f func(uint32)) {
	if len(piece) < longPiece {
		mergeShort(ranks, piece, f)
	} else {
		mergeLong(ranks, piece, f)
	}
}

// mergeShort looks at all pairs for each merge: readable, and quadratic.
func mergeShort(ranks map[string]uint32, piece string, f func(uint32)) {
	type part struct {
		at   int    // where the part begins
		rank uint32 // of the part and the one after it
	}
	parts := make([]part, len(piece)+1)
	pair := func(i int) uint32 {
		if i+2 < len(parts) {
			if id, ok := ranks[piece[parts[i].at:parts[i+2].at]]; ok {
				return id
			}
		}
		return none
	}
	for i := range parts {
		parts[i].at = i
	}
	for i := range parts {
		parts[i].rank = pair(i)
	}
	for {
		best := 0
		for i := range parts {
			if parts[i].rank < parts[best].rank {
				best = i
			}
		}
		if parts[best].rank == none {
			break
		}
		parts = append(parts[:best+1], parts[best+2:]...)
		parts[best].rank = pair(best)
		if best > 0 {
			parts[best-1].rank = pair(best - 1)
		}
	}
	for i := range len(parts) - 1 {
		f(ranks[piece[parts[i].at:parts[i+1].at]])
	}
}

// mergeLong keeps the pairs in a heap: n·log n.
func mergeLong(ranks map[string]uint32, piece string, f func(uint32)) {
	n := len(piece)
	next, previous := make([]int32, n+1), make([]int32, n+1)
	rank := make([]uint32, n+1) // of the part at i and the one after it
	pair := func(i int32) uint32 {
		if j := next[i]; int(j) < n {
			if id, ok := ranks[piece[i:next[j]]]; ok {
				return id
			}
		}
		return none
	}
	for i := range n {
		next[i], previous[i] = int32(i+1), int32(i-1)
	}
	previous[n] = int32(n - 1)
	var h pairs
	for i := range int32(n) {
		if rank[i] = pair(i); rank[i] != none {
			h.push(rank[i], i)
		}
	}
	for len(h) > 0 {
		r, at := h.pop()
		if rank[at] != r {
			continue // merged away, or with another neighbour since
		}
		gone := next[at]
		rank[gone] = none
		next[at] = next[gone]
		previous[next[gone]] = at
		for _, i := range [2]int32{at, previous[at]} {
			if i < 0 {
				continue
			}
			if rank[i] = pair(i); rank[i] != none {
				h.push(rank[i], i)
			}
		}
	}
	for i := int32(0); int(i) < n; i = next[i] {
		f(ranks[piece[i:next[i]]])
	}
}

// pairs is a heap whose top has the smallest rank, the leftmost of equal ones: the
// rank stands in the upper half of a word, the place in the lower. (container/heap
// would allocate for each.)
type pairs []uint64

func (p *pairs) push(rank uint32, at int32) {
	h := append(*p, uint64(rank)<<32|uint64(at))
	i := len(h) - 1
	for i > 0 && h[(i-1)/2] > h[i] {
		h[i], h[(i-1)/2] = h[(i-1)/2], h[i]
		i = (i - 1) / 2
	}
	*p = h
}

func (p *pairs) pop() (rank uint32, at int32) {
	h := *p
	top, last := h[0], len(h)-1
	v := h[last]
	h = h[:last]
	*p = h
	for i := 0; last > 0; {
		child := 2*i + 1
		if child >= last {
			h[i] = v
			break
		}
		if child+1 < last && h[child+1] < h[child] {
			child++
		}
		if v <= h[child] {
			h[i] = v
			break
		}
		h[i] = h[child]
		i = child
	}
	return uint32(top >> 32), int32(top & math.MaxUint32)
}

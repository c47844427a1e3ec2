package deflate

// The alphabets of a block.
const (
	literals    = 256
	endOfBlock  = 256
	lengthCodes = 29
	litCodes    = literals + 1 + lengthCodes
	distCodes   = 30
	lenCodes    = 19 // of the code lengths of the other two
	heapSize    = 2*litCodes + 1
)

// An alphabet is what a tree's symbols cost beside their codes.
type alphabet struct {
	symbols   int
	maxLength int
	extra     func(symbol int) int // bits that follow the code
	fixed     func(symbol int) int // length of the code in a block with fixed codes
}

var (
	literalAlphabet = alphabet{litCodes, 15, func(s int) int {
		if s <= literals {
			return 0
		}
		return lengthExtra(s - literals - 1)
	}, func(s int) int {
		switch {
		case s < 144:
			return 8
		case s < 256:
			return 9
		case s < 280:
			return 7
		}
		return 8
	}}
	distanceAlphabet = alphabet{distCodes, 15, func(s int) int { return max(0, s/2-1) }, func(int) int { return 5 }}
	lengthAlphabet   = alphabet{lenCodes, 7, func(s int) int {
		switch s {
		case repeat3to6:
			return 2
		case zeros3to10:
			return 3
		case zeros11to138:
			return 7
		}
		return 0
	}, func(int) int { return 0 }}
)

// lengthExtra is the number of bits after the code of a match's length.
func lengthExtra(code int) int {
	if code < 8 || code == lengthCodes-1 {
		return 0
	}
	return code/4 - 1
}

// A tree gives each symbol a code length, as zlib's trees.c does: by Huffman's
// construction, ties going to the shallower tree, and lengths beyond the
// alphabet's longest cut and made up for.
type tree struct {
	freq   [heapSize]int
	length [heapSize]int
	max    int // the largest symbol that occurs

	parent [heapSize]int
	depth  [heapSize]int
	heap   [heapSize]int // from 1; above top the nodes in the order taken
	size   int
	top    int
}

// build gives the lengths, and the number of bits of all symbols with these
// codes and with the fixed ones.
func (t *tree) build(a *alphabet) (dynamic, fixed int) {
	t.size, t.top, t.max = 0, heapSize, -1
	for s := range a.symbols {
		t.length[s] = 0
		if t.freq[s] > 0 {
			t.size++
			t.heap[t.size], t.max, t.depth[s] = s, s, 0
		}
	}
	// A decoder wants two codes at least; those made up cost nothing.
	for t.size < 2 {
		s := 0
		if t.max < 2 {
			t.max++
			s = t.max
		}
		t.size++
		t.heap[t.size], t.freq[s], t.depth[s] = s, 1, 0
		dynamic--
		fixed -= a.fixed(s)
	}
	for i := t.size / 2; i >= 1; i-- {
		t.down(i)
	}
	node := a.symbols
	for {
		n := t.heap[1]
		t.heap[1] = t.heap[t.size]
		t.size--
		t.down(1)
		m := t.heap[1]
		t.top--
		t.heap[t.top] = n
		t.top--
		t.heap[t.top] = m
		t.freq[node] = t.freq[n] + t.freq[m]
		t.depth[node] = max(t.depth[n], t.depth[m]) + 1
		t.parent[n], t.parent[m] = node, node
		t.heap[1] = node
		node++
		t.down(1)
		if t.size < 2 {
			break
		}
	}
	t.top--
	t.heap[t.top] = t.heap[1]
	d, f := t.lengths(a)
	return dynamic + d, fixed + f
}

// down lets the heap's i-th node sink to its place.
func (t *tree) down(i int) {
	v := t.heap[i]
	for j := 2 * i; j <= t.size; j *= 2 {
		if j < t.size && t.smaller(t.heap[j+1], t.heap[j]) {
			j++
		}
		if t.smaller(v, t.heap[j]) {
			break
		}
		t.heap[i] = t.heap[j]
		i = j
	}
	t.heap[i] = v
}

func (t *tree) smaller(n, m int) bool {
	return t.freq[n] < t.freq[m] || t.freq[n] == t.freq[m] && t.depth[n] <= t.depth[m]
}

// lengths gives each node its depth, from the root on, and cuts what is too
// deep. It returns the bits that all symbols take.
func (t *tree) lengths(a *alphabet) (dynamic, fixed int) {
	var count [16]int // symbols by length
	overflow := 0
	t.length[t.heap[t.top]] = 0
	for _, n := range t.heap[t.top+1:] {
		bits := t.length[t.parent[n]] + 1
		if bits > a.maxLength {
			bits = a.maxLength
			overflow++
		}
		t.length[n] = bits
		if n > t.max {
			continue // no leaf
		}
		count[bits]++
		dynamic += t.freq[n] * (bits + a.extra(n))
		fixed += t.freq[n] * (a.fixed(n) + a.extra(n))
	}
	if overflow == 0 {
		return dynamic, fixed
	}
	for ; overflow > 0; overflow -= 2 {
		bits := a.maxLength - 1
		for count[bits] == 0 {
			bits--
		}
		count[bits]--        // one leaf goes down
		count[bits+1] += 2   // with one that was too deep as its brother
		count[a.maxLength]-- // whose own brother takes its parent's place
	}
	at := heapSize
	for bits := a.maxLength; bits > 0; bits-- {
		for n := count[bits]; n > 0; {
			at--
			s := t.heap[at]
			if s > t.max {
				continue
			}
			if t.length[s] != bits {
				dynamic += (bits - t.length[s]) * t.freq[s]
				t.length[s] = bits
			}
			n--
		}
	}
	return dynamic, fixed
}

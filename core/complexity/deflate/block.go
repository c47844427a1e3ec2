package deflate

import "math/bits"

// blockSymbols is the number of literals and matches after which zlib ends a
// block: its buffer at memory level 8, less one.
const blockSymbols = 1<<14 - 1

// A block counts the symbols since the last one was sent.
type block struct {
	lit, dist, len tree
	symbols        int
}

func (b *block) reset() {
	clear(b.lit.freq[:litCodes])
	clear(b.dist.freq[:distCodes])
	b.lit.freq[endOfBlock] = 1
	b.symbols = 0
}

// literal counts a byte, and tells whether the block is full.
func (b *block) literal(c byte) bool {
	b.lit.freq[c]++
	b.symbols++
	return b.symbols == blockSymbols
}

// match counts a match, and tells whether the block is full.
func (b *block) match(length, distance int) bool {
	b.lit.freq[literals+1+lengthCode(length-minMatch)]++
	b.dist.freq[distanceCode(distance-1)]++
	b.symbols++
	return b.symbols == blockSymbols
}

// lengthCode is the code of a length less minMatch: 0 to 7 have their own, then
// four codes for each power of two; the longest has its own again.
func lengthCode(n int) int {
	switch {
	case n < 8:
		return n
	case n == maxMatch-minMatch:
		return lengthCodes - 1
	}
	k := bits.Len(uint(n)) - 3 // extra bits
	return 4*k + n>>k
}

// distanceCode is the code of a distance less one: two codes for each power of
// two.
func distanceCode(d int) int {
	if d < 4 {
		return d
	}
	k := bits.Len(uint(d)) - 2 // extra bits
	return 2*k + d>>k
}

// The symbols in which the two trees' code lengths are sent, besides 0 to 15.
const (
	repeat3to6   = 16
	zeros3to10   = 17
	zeros11to138 = 18
)

// lengthOrder is the order in which the lengths of these symbols are sent.
var lengthOrder = [lenCodes]int{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

// size is the number of bits that the block adds to those before it, in the
// smallest of its three forms: stored (where its bytes are still in the window),
// with fixed codes, or with codes of its own.
func (b *block) size(before, bytes int, inWindow bool) int {
	dynamic, fixed := b.lit.build(&literalAlphabet)
	d, f := b.dist.build(&distanceAlphabet)
	dynamic, fixed = dynamic+d, fixed+f
	clear(b.len.freq[:lenCodes])
	b.scan(&b.lit)
	b.scan(&b.dist)
	d, _ = b.len.build(&lengthAlphabet)
	last := lenCodes - 1
	for last >= 3 && b.len.length[lengthOrder[last]] == 0 {
		last--
	}
	dynamic += d + 3*(last+1) + 5 + 5 + 4

	best := min((dynamic+3+7)/8, (fixed+3+7)/8)
	switch {
	case inWindow && bytes+4 <= best:
		aligned := (before + 3 + 7) / 8 * 8
		return aligned - before + 32 + 8*bytes
	case (fixed+3+7)/8 <= best:
		return 3 + fixed
	}
	return 3 + dynamic
}

// scan counts the symbols in which a tree's code lengths are sent: runs of a
// length are sent as one.
func (b *block) scan(t *tree) {
	previous, count := -1, 0
	atMost, atLeast := 7, 4
	if t.length[0] == 0 {
		atMost, atLeast = 138, 3
	}
	for s := range t.max + 1 {
		length, next := t.length[s], -1 // -1 ends the last run
		if s < t.max {
			next = t.length[s+1]
		}
		count++
		if count < atMost && length == next {
			continue
		}
		switch {
		case count < atLeast:
			b.len.freq[length] += count
		case length != 0:
			if length != previous {
				b.len.freq[length]++
			}
			b.len.freq[repeat3to6]++
		case count <= 10:
			b.len.freq[zeros3to10]++
		default:
			b.len.freq[zeros11to138]++
		}
		count, previous = 0, length
		switch {
		case next == 0:
			atMost, atLeast = 138, 3
		case length == next:
			atMost, atLeast = 6, 3
		default:
			atMost, atLeast = 7, 4
		}
	}
}

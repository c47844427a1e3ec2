package deflate

import (
	"encoding/binary"
	"math/bits"
)

// The figures of zlib's level 6, and those that all levels share.
const (
	goodLength = 8   // with a match this long, a quarter of the chain is searched
	maxLazy    = 16  // with a match this long, the next byte is not tried
	niceLength = 128 // a match this long ends the search
	maxChain   = 128 // candidates tried

	minMatch     = 3
	maxMatch     = 258
	windowSize   = 1 << 15
	windowMask   = windowSize - 1
	hashSize     = 1 << 15
	hashMask     = hashSize - 1
	minLookahead = maxMatch + minMatch + 1
	maxDistance  = windowSize - minLookahead
	tooFar       = 4096 // a match of three bytes farther back costs more than literals
)

// none is zlib's NIL: no place, and also the first place of the window, at which
// therefore no match is found.
const none = 0

// matcher finds earlier occurrences by chains of places whose next three bytes
// have one hash. Places are counted, as in zlib, from the start of a window of
// twice the size that slides by windowSize: place 0 being none, sliding decides
// which matches exist.
type matcher struct {
	data []byte
	at   int // the byte to be coded next
	base int // where in data the window begins

	head [hashSize]uint16   // the last place of each hash
	prev [windowSize]uint16 // the place before, by place & windowMask
}

func (m *matcher) reset(data []byte) {
	m.data, m.at, m.base = data, 0, 0
	clear(m.head[:])
}

// left is the number of bytes still to be coded.
func (m *matcher) left() int { return len(m.data) - m.at }

// place of a byte in the window.
func (m *matcher) place(i int) int { return i - m.base }

// slide moves the window on when it is due and says by how much. zlib reads in
// as much as its window holds, and looks for more when less than minLookahead of
// that is left; then it slides where the byte is near the window's end.
func (m *matcher) slide() int {
	loaded := min(len(m.data), m.base+2*windowSize)
	if loaded-m.at >= minLookahead || m.place(m.at) < windowSize+maxDistance {
		return 0
	}
	m.base += windowSize
	for i, p := range m.head {
		m.head[i] = uint16(max(int(p)-windowSize, none))
	}
	for i, p := range m.prev {
		m.prev[i] = uint16(max(int(p)-windowSize, none))
	}
	return windowSize
}

// insert puts the three bytes at i into their chain and gives the place before.
func (m *matcher) insert(i int) int {
	d := m.data[i : i+3 : i+3]
	h := (uint(d[0])<<10 ^ uint(d[1])<<5 ^ uint(d[2])) & hashMask
	p := m.place(i)
	last := m.head[h]
	m.prev[p&windowMask] = last
	m.head[h] = uint16(p)
	return int(last)
}

// longest looks along the chain from candidate for a match longer than best, and
// gives its length, at most what is left, and its place.
func (m *matcher) longest(candidate, best, start int) (length, place int) {
	chain := maxChain
	if best >= goodLength {
		chain >>= 2
	}
	scan := m.data[m.at:]
	nice := min(niceLength, len(scan))
	limit := max(m.place(m.at)-maxDistance, none)
	if best >= len(scan) { // zlib looks beyond the end; whatever it finds is not longer
		return len(scan), start
	}
	scan = scan[:min(len(scan), maxMatch)]
	for {
		other := m.data[m.base+candidate:]
		if other[best] == scan[best] && other[best-1] == scan[best-1] && other[0] == scan[0] && other[1] == scan[1] {
			if n := common(scan, other); n > best {
				best, start = n, candidate
				if n >= nice {
					break
				}
			}
		}
		candidate = int(m.prev[candidate&windowMask])
		if chain--; candidate <= limit || chain == 0 {
			break
		}
	}
	return best, start
}

// common is the length of the common beginning of a and b, of which b is not the
// shorter.
func common(a, b []byte) int {
	n := 0
	for len(a)-n >= 8 {
		if x := binary.LittleEndian.Uint64(a[n:]) ^ binary.LittleEndian.Uint64(b[n:]); x != 0 {
			return n + bits.TrailingZeros64(x)/8
		}
		n += 8
	}
	for n < len(a) && a[n] == b[n] {
		n++
	}
	return n
}

// Package deflate tells how many bytes zlib makes of a text at its default
// level, 6, without making them: len(zlib.compress(text)) of Python, exactly.
//
// A compressor that is merely as good differs by some per cent (Go's own by
// 2.5), which is more than the tasks' compressibilities differ from each other.
// So the decisions are zlib's own (deflate.c and trees.c of zlib 1.2 and 1.3,
// with a window of 32 KiB and memory level 8): which match is taken, when a block
// ends, how its codes are built, and in which of the three forms it is sent. Only
// the bits themselves are not written. zlib-ng and other rewrites of zlib decide
// otherwise.
package deflate

// A Sizer holds the tables of one compression, so that they can be used again.
// It is not safe for concurrent use. The zero value is ready.
type Sizer struct {
	matcher
	block
	bits int // what has been sent so far
}

// Size is the number of bytes of zlib's stream of data at level 6: a header of
// two, the blocks, and a checksum of four.
func (s *Sizer) Size(data []byte) int {
	s.matcher.reset(data)
	s.block.reset()
	s.bits = 0
	s.run()
	return 2 + (s.bits+7)/8 + 4
}

// run is zlib's lazy evaluation (deflate_slow): a match is taken only where the
// one that begins a byte later is not longer.
func (s *Sizer) run() {
	length, available := minMatch-1, false
	start := 0 // of the last match
	blockStart := 0
	flush := func() {
		s.bits += s.block.size(s.bits, s.at-blockStart, blockStart >= s.base)
		s.block.reset()
		blockStart = s.at
	}
	for s.left() > 0 {
		start -= s.slide()
		head := none
		if s.left() >= minMatch {
			head = s.insert(s.at)
		}
		previous, previousStart := length, start
		length = minMatch - 1
		if head != none && previous < maxLazy && s.place(s.at)-head <= maxDistance {
			length, start = s.longest(head, previous, start)
			if length == minMatch && s.place(s.at)-start > tooFar {
				length = minMatch - 1
			}
		}
		switch {
		case previous >= minMatch && length <= previous:
			full := s.match(previous, s.place(s.at)-1-previousStart)
			end := s.at + previous - 1
			for s.at++; s.at < end; s.at++ {
				if s.at+minMatch <= len(s.data) {
					s.insert(s.at)
				}
			}
			available, length = false, minMatch-1
			if full {
				flush()
			}
		case available:
			if s.literal(s.data[s.at-1]) {
				flush()
			}
			s.at++
		default:
			available = true
			s.at++
		}
	}
	if available {
		s.literal(s.data[s.at-1])
	}
	flush()
}

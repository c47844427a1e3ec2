package tokenizer

import (
	"hash/maphash"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"unicode/utf8"
)

// model turns one piece of normalised, pre-tokenised text into token ids,
// appended to dst. It may be called by many goroutines at once.
type model interface {
	encode(dst []int32, piece string) []int32
}

// none stands where an id is absent.
const none int32 = -1

// bpe is byte-pair encoding (Sennrich, Haddow and Birch 2016): a piece begins
// as a row of symbols, bytes or characters, and the neighbouring pair of the
// lowest rank, the leftmost of equals, is merged until no pair has a rank.
//
// Three families share it and differ only in where pairs and ranks come from:
// a list of merges (tokenizer.json), piece scores (SentencePiece, GGUF), and
// the ids themselves (tiktoken).
type bpe struct {
	pairs pairTable

	// byteLevel: symbols are single bytes, looked up in bytes. Otherwise they
	// are characters, looked up in runes, and bytes is the fallback for the
	// characters that are not there.
	byteLevel    bool
	byteFallback bool
	bytes        [256]int32
	runes        map[rune]int32

	// pseudo are ids above the vocabulary for characters that occur only
	// inside longer pieces; after merging they are unknown characters again.
	pseudoFrom int32
	pseudo     []rune

	unk     int32 // none: an unknown symbol is left out, as the reference does
	fuseUnk bool

	// whole, where set, is the vocabulary: a piece that is a token is taken
	// at once, whatever the merges would make of it.
	whole map[string]int32

	// cutBefore, where set, is a character that no merge joins to a different
	// character before it, so a piece may be cut there: short words can be
	// cached, and a page of text is not one long word.
	cutBefore string

	cache cache
}

func (m *bpe) encode(dst []int32, piece string) []int32 {
	if m.cutBefore == "" {
		return m.word(dst, piece)
	}
	for len(piece) > 0 {
		n := nextWord(piece, m.cutBefore)
		dst = m.word(dst, piece[:n])
		piece = piece[n:]
	}
	return dst
}

// nextWord is the length of the leading run of marks and what follows it up to
// the next mark.
func nextWord(s, mark string) int {
	i := 0
	for len(s)-i >= len(mark) && s[i:i+len(mark)] == mark {
		i += len(mark)
	}
	if at := strings.Index(s[i:], mark); at >= 0 {
		return i + at
	}
	return len(s)
}

// word encodes a piece through the cache.
func (m *bpe) word(dst []int32, piece string) []int32 {
	if len(piece) > maxCached {
		return m.uncached(dst, piece)
	}
	slot := m.cache.slot(piece)
	if e := slot.Load(); e != nil && e.piece == piece {
		return append(dst, e.ids...)
	}
	from := len(dst)
	dst = m.uncached(dst, piece)
	slot.Store(&cached{piece: strings.Clone(piece), ids: slices.Clone(dst[from:])})
	return dst
}

func (m *bpe) uncached(dst []int32, piece string) []int32 {
	if m.whole != nil {
		if id, ok := m.whole[piece]; ok {
			return append(dst, id)
		}
	}
	return m.merge(dst, piece)
}

// merge encodes a piece without the cache.
func (m *bpe) merge(dst []int32, piece string) []int32 {
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	s.ids = m.symbols(s.ids[:0], piece)
	if len(s.ids) <= maxScanned {
		s.scan(&m.pairs)
	} else {
		s.queue(&m.pairs)
	}
	if m.pseudoFrom == 0 {
		return append(dst, s.ids...)
	}
	for i, id := range s.ids {
		switch {
		case id >= m.pseudoFrom:
			dst = m.fallback(dst, string(m.pseudo[id-m.pseudoFrom]))
		case id == m.unk && m.fuseUnk && i > 0 && len(dst) > 0 && dst[len(dst)-1] == id:
			// behind a character that has become unknown again
		default:
			dst = append(dst, id)
		}
	}
	return dst
}

// symbols is the row of symbols before the first merge.
func (m *bpe) symbols(dst []int32, piece string) []int32 {
	if m.byteLevel {
		for i := 0; i < len(piece); i++ {
			if id := m.bytes[piece[i]]; id != none {
				dst = append(dst, id)
			} else if m.unk != none && !(m.fuseUnk && len(dst) > 0 && dst[len(dst)-1] == m.unk) {
				dst = append(dst, m.unk)
			}
		}
		return dst
	}
	for i := 0; i < len(piece); {
		r, n := utf8.DecodeRuneInString(piece[i:])
		id, ok := m.runes[r]
		if ok && !(r == utf8.RuneError && n == 1) {
			dst = append(dst, id)
		} else {
			dst = m.fallback(dst, piece[i:i+n])
		}
		i += n
	}
	return dst
}

// fallback stands for one unknown character: its bytes where the vocabulary
// has them all, else the unknown token, once for a run of them where fused.
func (m *bpe) fallback(dst []int32, char string) []int32 {
	if m.byteFallback {
		from := len(dst)
		for i := 0; i < len(char); i++ {
			id := m.bytes[char[i]]
			if id == none {
				dst = dst[:from]
				break
			}
			dst = append(dst, id)
		}
		if len(dst) > from {
			return dst
		}
	}
	if m.unk == none || m.fuseUnk && len(dst) > 0 && dst[len(dst)-1] == m.unk {
		return dst
	}
	return append(dst, m.unk)
}

// maxScanned is the row length up to which looking at every pair for each
// merge is faster than keeping a queue.
const maxScanned = 40

// scratch is the memory of one merge.
type scratch struct {
	ids   []int32
	ranks []int32
	links []link
	heap  []candidate
}

var scratches = sync.Pool{New: func() any { return &scratch{} }}

// scan merges s.ids in place, looking for the lowest rank each time.
func (s *scratch) scan(pairs *pairTable) {
	ids := s.ids
	if len(ids) < 2 {
		return
	}
	ranks := s.ranks[:0] // ranks[i]: of ids[i], ids[i+1]
	for i := 0; i+1 < len(ids); i++ {
		rank, _ := pairs.get(ids[i], ids[i+1])
		ranks = append(ranks, rank)
	}
	for {
		best, at := int32(math.MaxInt32), -1
		for i, r := range ranks {
			if r < best {
				best, at = r, i
			}
		}
		if at < 0 {
			break
		}
		_, ids[at] = pairs.get(ids[at], ids[at+1])
		ids = append(ids[:at+1], ids[at+2:]...)
		ranks = append(ranks[:at], ranks[at+1:]...)
		if at < len(ranks) {
			ranks[at], _ = pairs.get(ids[at], ids[at+1])
		}
		if at > 0 {
			ranks[at-1], _ = pairs.get(ids[at-1], ids[at])
		}
	}
	s.ids, s.ranks = ids, ranks
}

// link is a symbol in a doubly linked row; id is none once it is merged away.
type link struct{ id, prev, next int32 }

// candidate is a pair that may be merged: the position of its left symbol.
type candidate struct{ rank, at, id int32 }

func (a candidate) before(b candidate) bool {
	return a.rank < b.rank || a.rank == b.rank && a.at < b.at
}

// queue merges s.ids in place with a heap of candidates, in n log n.
func (s *scratch) queue(pairs *pairTable) {
	row, heap := s.links[:0], s.heap[:0]
	for i, id := range s.ids {
		row = append(row, link{id, int32(i) - 1, int32(i) + 1})
	}
	row[len(row)-1].next = none
	add := func(at int32) {
		if at == none || row[at].next == none {
			return
		}
		if rank, id := pairs.get(row[at].id, row[row[at].next].id); rank != math.MaxInt32 {
			heap = push(heap, candidate{rank, at, id})
		}
	}
	for i := range row {
		add(int32(i))
	}
	for len(heap) > 0 {
		var c candidate
		c, heap = pop(heap)
		left := &row[c.at]
		if left.id == none || left.next == none {
			continue
		}
		right := &row[left.next]
		// What is left of a pair that has changed since: its rank or result differ.
		if rank, id := pairs.get(left.id, right.id); rank != c.rank || id != c.id {
			continue
		}
		left.id, right.id = c.id, none
		left.next = right.next
		if right.next != none {
			row[right.next].prev = c.at
		}
		add(left.prev)
		add(c.at)
	}
	s.ids = s.ids[:0]
	for i := int32(0); i != none; i = row[i].next {
		s.ids = append(s.ids, row[i].id)
	}
	s.links, s.heap = row, heap
}

func push(h []candidate, c candidate) []candidate {
	h = append(h, c)
	for i := len(h) - 1; i > 0; {
		up := (i - 1) / 2
		if !h[i].before(h[up]) {
			break
		}
		h[i], h[up] = h[up], h[i]
		i = up
	}
	return h
}

func pop(h []candidate) (candidate, []candidate) {
	top := h[0]
	last := len(h) - 1
	h[0] = h[last]
	h = h[:last]
	for i := 0; ; {
		down := 2*i + 1
		if down >= len(h) {
			return top, h
		}
		if down+1 < len(h) && h[down+1].before(h[down]) {
			down++
		}
		if !h[down].before(h[i]) {
			return top, h
		}
		h[i], h[down] = h[down], h[i]
		i = down
	}
}

// pairTable maps two neighbouring ids to the rank of their merge and the id it
// makes: open addressing, because it is asked several times for every symbol
// of a text.
type pairTable struct {
	slots []pairSlot
	shift uint8
	used  int
}

type pairSlot struct {
	key      uint64 // left id, right id; noKey where free
	rank, id int32
}

const noKey = math.MaxUint64

// newPairTable makes room for n pairs.
func newPairTable(n int) pairTable {
	bits := uint8(4)
	for 1<<bits < 2*n {
		bits++
	}
	t := pairTable{slots: make([]pairSlot, 1<<bits), shift: 64 - bits}
	for i := range t.slots {
		t.slots[i].key = noKey
	}
	return t
}

func (t *pairTable) find(left, right int32) *pairSlot {
	key := uint64(uint32(left))<<32 | uint64(uint32(right))
	mask := uint64(len(t.slots) - 1)
	for i := key * 0x9e3779b97f4a7c15 >> t.shift; ; i++ {
		if s := &t.slots[i&mask]; s.key == key || s.key == noKey {
			return s
		}
	}
}

// get gives MaxInt32 as the rank of a pair that is not merged.
func (t *pairTable) get(left, right int32) (rank, id int32) {
	if s := t.find(left, right); s.key != noKey {
		return s.rank, s.id
	}
	return math.MaxInt32, none
}

// put adds a pair or replaces it.
func (t *pairTable) put(left, right, rank, id int32) {
	if 2*(t.used+1) > len(t.slots) {
		old := t.slots
		grown := newPairTable(2 * (t.used + 1))
		grown.used = t.used
		*t = grown
		for _, s := range old {
			if s.key != noKey {
				*t.find(int32(s.key>>32), int32(uint32(s.key))) = s
			}
		}
	}
	s := t.find(left, right)
	if s.key == noKey {
		t.used++
	}
	*s = pairSlot{uint64(uint32(left))<<32 | uint64(uint32(right)), rank, id}
}

// cache remembers the ids of short pieces. Each slot holds the last piece that
// fell on it, so memory is bounded and no lock is needed.
type cache struct {
	seed  maphash.Seed
	slots []atomic.Pointer[cached]
}

type cached struct {
	piece string
	ids   []int32
}

const (
	cacheSlots = 1 << 17
	maxCached  = 64 // bytes
)

func newCache() cache {
	return cache{seed: maphash.MakeSeed(), slots: make([]atomic.Pointer[cached], cacheSlots)}
}

func (c *cache) slot(piece string) *atomic.Pointer[cached] {
	return &c.slots[maphash.String(c.seed, piece)%cacheSlots]
}

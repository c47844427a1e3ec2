package text

import "slices"

// FNV-1a, 32 bit.
const fnvOffset, fnvPrime uint32 = 2166136261, 16777619

// tokenTable cuts texts into ROUGE tokens and numbers them 0, 1, 2 … in the
// order of first appearance. Tokens live lower-cased in one byte buffer; the
// index is open addressing with stamps, so that a reset costs nothing.
type tokenTable struct {
	bytes   []byte
	entries []tokenEntry
	slots   []tokenSlot // a power of two of them
	stamp   uint32
	stem    bool
	unicode bool
}

type tokenEntry struct {
	start, end int
	hash       uint32
}

type tokenSlot struct {
	stamp uint32 // the slot is taken if this is the table's stamp
	id    int32
}

// tokens lists the tokens of one text.
func (t *tokenTable) tokens(s string) []string {
	var ids []int32
	t.reset()
	t.scan(s, func(start, end int, hash uint32) { ids = append(ids, t.intern(start, end, hash)) })
	out := make([]string, len(ids))
	for i, id := range ids {
		e := t.entries[id]
		out[i] = string(t.bytes[e.start:e.end])
	}
	return out
}

func (t *tokenTable) reset() {
	t.bytes, t.entries = t.bytes[:0], t.entries[:0]
	t.stamp++
	if t.slots == nil || t.stamp == 0 { // stamps have run round: old ones could match
		t.slots = make([]tokenSlot, max(256, len(t.slots)))
		t.stamp = 1
	}
}

// tokenByte maps each byte to what it is in a token: a lower-case letter, a
// digit, or 0 where it separates.
var tokenByte = func() (table [256]byte) {
	for c := range table {
		switch {
		case c >= 'a' && c <= 'z' || c >= '0' && c <= '9':
			table[c] = byte(c)
		case c >= 'A' && c <= 'Z':
			table[c] = byte(c) | 0x20
		}
	}
	return table
}()

// scan appends the tokens of s to the byte buffer and hands each one's place
// and hash to emit, which may shorten the buffer to the token's start.
func (t *tokenTable) scan(s string, emit func(start, end int, hash uint32)) {
	if t.unicode {
		t.scanUnicode(s, emit)
		return
	}
	t.bytes = slices.Grow(t.bytes, len(s)) // no token is longer than its text
	for i := 0; i < len(s); {
		if tokenByte[s[i]] == 0 {
			if s[i] < 0x80 {
				i++
				continue
			}
			if _, width := asciiLower(s, i); width == 1 {
				i++
				continue
			}
		}
		start := len(t.bytes)
		token := t.bytes[start : start : start+len(s)-i]
		hash := fnvOffset
		for i < len(s) {
			c := tokenByte[s[i]]
			if c != 0 {
				token = append(token, c)
				hash = (hash ^ uint32(c)) * fnvPrime
				i++
				continue
			}
			if s[i] < 0x80 {
				break
			}
			c, width := asciiLower(s, i)
			if width == 1 {
				break
			}
			token = append(token, c)
			hash = (hash ^ uint32(c)) * fnvPrime
			if i += width; width == 2 { // U+0130: the combining dot behind the i separates
				break
			}
		}
		if t.stem && len(token) > 3 {
			token = append(token[:0], porterStem(token)...)
			hash = fnvOffset
			for _, c := range token {
				hash = (hash ^ uint32(c)) * fnvPrime
			}
		}
		t.bytes = t.bytes[:start+len(token)]
		emit(start, len(t.bytes), hash)
	}
}

// asciiLower knows the two runes beyond ASCII whose lower case is, or begins
// with, an ASCII letter: U+0130 becomes "i" and a combining dot, the Kelvin
// sign U+212A becomes "k". For any other byte it gives 0 and 1.
func asciiLower(s string, i int) (c byte, width int) {
	if s[i] == 0xc4 && i+1 < len(s) && s[i+1] == 0xb0 {
		return 'i', 2
	}
	if s[i] == 0xe2 && i+2 < len(s) && s[i+1] == 0x84 && s[i+2] == 0xaa {
		return 'k', 3
	}
	return 0, 1
}

// intern gives the token at bytes[start:end] its number.
func (t *tokenTable) intern(start, end int, hash uint32) int32 {
	slot, id := t.lookup(start, end, hash)
	if id >= 0 {
		t.bytes = t.bytes[:start]
		return id
	}
	id = int32(len(t.entries))
	t.entries = append(t.entries, tokenEntry{start, end, hash})
	t.slots[slot] = tokenSlot{t.stamp, id}
	if 2*len(t.entries) > len(t.slots) {
		t.grow()
	}
	return id
}

// find gives the number of the token at bytes[start:end], or -1, and takes its
// bytes out of the buffer again.
func (t *tokenTable) find(start, end int, hash uint32) int32 {
	_, id := t.lookup(start, end, hash)
	t.bytes = t.bytes[:start]
	return id
}

func (t *tokenTable) lookup(start, end int, hash uint32) (slot uint32, id int32) {
	mask := uint32(len(t.slots) - 1)
	for slot = (hash ^ hash>>15) & mask; t.slots[slot].stamp == t.stamp; slot = (slot + 1) & mask {
		e := t.entries[t.slots[slot].id]
		if e.hash == hash && string(t.bytes[e.start:e.end]) == string(t.bytes[start:end]) {
			return slot, t.slots[slot].id
		}
	}
	return slot, -1
}

func (t *tokenTable) grow() {
	t.slots = make([]tokenSlot, 2*len(t.slots))
	mask := uint32(len(t.slots) - 1)
	for id, e := range t.entries {
		slot := (e.hash ^ e.hash>>15) & mask
		for t.slots[slot].stamp == t.stamp {
			slot = (slot + 1) & mask
		}
		t.slots[slot] = tokenSlot{t.stamp, int32(id)}
	}
}

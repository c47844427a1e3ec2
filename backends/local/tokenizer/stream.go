package tokenizer

import "strings"

// Stream decodes ids one by one, for text that is shown while it is made. What
// it gives never ends in half a character, and all of it together is what
// Decode gives for all ids (save where bytes that are no character were
// already given as such). A Stream belongs to one goroutine.
type Stream struct {
	t           *Tokenizer
	keepSpecial bool
	ids         []int32 // context, then what was not given yet
	given       int     // how many of ids the text given so far covers
	text        string  // Decode of ids[:given]
}

const (
	// streamContext is how many ids before the new ones are decoded with them:
	// a decoder treats the first token of a text differently.
	streamContext = 4
	// streamHeld is how many ids may wait for the rest of a character. The
	// longest has four bytes; a joined run of byte tokens is cut here.
	streamHeld = 16
)

// NewStream begins a stream after the ids of before (the prompt, or none).
// Text that begins in them is continued as it stands there: a word's leading
// space is not taken for the start of the text.
func (t *Tokenizer) NewStream(before []int32, keepSpecial bool) *Stream {
	s := &Stream{t: t, keepSpecial: keepSpecial}
	s.ids = append(s.ids, before[max(0, len(before)-2*streamContext):]...)
	s.given = len(s.ids)
	s.text = t.Decode(s.ids, keepSpecial)
	return s
}

// Push takes the next id and gives the text that is complete with it, which
// may be empty.
func (s *Stream) Push(id int32) string {
	if !s.keepSpecial && s.t.special[id] {
		return ""
	}
	s.ids = append(s.ids, id)
	text := s.t.Decode(s.ids, s.keepSpecial)
	if strings.HasSuffix(text, "\uFFFD") && len(s.ids)-s.given < streamHeld {
		return "" // perhaps half a character
	}
	return s.take(text)
}

// Flush gives what still waits for the rest of a character. The stream can go
// on afterwards.
func (s *Stream) Flush() string {
	if s.given == len(s.ids) {
		return ""
	}
	return s.take(s.t.Decode(s.ids, s.keepSpecial))
}

// take gives what text adds to what was given, and forgets old context.
func (s *Stream) take(text string) string {
	delta := text[common(s.text, text):]
	if drop := len(s.ids) - streamContext; drop > streamContext {
		// A cut inside a run of bytes would make another text of the rest.
		rest := s.t.Decode(s.ids[drop:], s.keepSpecial)
		if strings.HasSuffix(text, rest) || drop > streamHeld {
			s.ids = append(s.ids[:0], s.ids[drop:]...)
			text = rest
		}
	}
	s.given, s.text = len(s.ids), text
	return delta
}

// common is the length of the longest common prefix that ends between
// characters.
func common(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	for n > 0 && n < len(b) && b[n]&0xc0 == 0x80 {
		n--
	}
	return n
}

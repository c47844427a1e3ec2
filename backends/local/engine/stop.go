package engine

import "strings"

// answer gathers the text of an answer as it grows: it finds stop texts,
// wherever tokens may have split them, and says which part of the text is
// final and may be shown.
type answer struct {
	text    strings.Builder
	stops   []string
	longest int // of the stops, in bytes
	shown   int // bytes handed out as deltas
	scanned int // bytes in which no stop begins that could still appear
	cut     int // where a stop was found, -1 before
}

func newAnswer(stops []string) *answer {
	a := &answer{stops: stops, cut: -1}
	for _, s := range stops {
		a.longest = max(a.longest, len(s))
	}
	return a
}

// add appends a piece and tells whether a stop text has appeared.
func (a *answer) add(piece string) (stopped bool) {
	if piece == "" {
		return a.cut >= 0
	}
	a.text.WriteString(piece)
	text := a.text.String()
	for _, s := range a.stops {
		// The stop that begins first ends the answer.
		if at := strings.Index(text[a.scanned:], s); at >= 0 && (a.cut < 0 || a.scanned+at < a.cut) {
			a.cut = a.scanned + at
		}
	}
	if a.cut < 0 {
		a.scanned = max(a.scanned, len(text)-a.longest+1)
	}
	return a.cut >= 0
}

// final is the text as it stands, cut at a stop.
func (a *answer) final() string {
	if a.cut >= 0 {
		return a.text.String()[:a.cut]
	}
	return a.text.String()
}

// stable is the text without an end that may yet turn out to be the beginning
// of a stop text.
func (a *answer) stable() string {
	text := a.final()
	return text[:len(text)-a.open(text)]
}

// delta gives the text that is new since the last call. Until done, it holds
// back what could still become part of a stop text.
func (a *answer) delta(done bool) string {
	text := a.final()
	to := len(text)
	if !done && a.cut < 0 {
		to -= a.open(text)
	}
	if to <= a.shown {
		return ""
	}
	d := text[a.shown:to]
	a.shown = to
	return d
}

// open is the length of the longest end of text that begins a stop text.
func (a *answer) open(text string) int {
	for n := min(a.longest-1, len(text)); n > 0; n-- {
		for _, s := range a.stops {
			if n < len(s) && strings.HasSuffix(text, s[:n]) {
				return n
			}
		}
	}
	return 0
}

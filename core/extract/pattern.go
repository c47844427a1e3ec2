package extract

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/dlclark/regexp2"

	pytext "github.com/evalrun/evalrun/core/text"
)

// DefaultTimeout is the time one text may take. The engine's clock ticks every
// tenth of a second, so the end comes up to that much later.
const DefaultTimeout = time.Second

// ErrTimeout is returned when a match takes longer than its limit.
var ErrTimeout = errors.New("pattern took longer than its time limit")

// A Pattern is a compiled Python regular expression. It is safe for concurrent
// use.
type Pattern struct {
	source  string
	groups  int
	names   map[string]int
	timeout time.Duration
	re      *regexp2.Regexp
	// nonEmpty matches what re matches except an empty match at the very
	// place where the search begins.
	nonEmpty *regexp2.Regexp
}

// A Match is one match of a Pattern. Index 0 is the whole match, 1 the first
// group.
type Match struct {
	// Groups holds the matched texts; "" for a group that took no part.
	Groups []string
	// Spans holds start and end in code points; -1, -1 for a group that took no
	// part.
	Spans [][2]int
}

// Took tells whether group i took part in the match.
func (m *Match) Took(i int) bool { return i >= 0 && i < len(m.Spans) && m.Spans[i][0] >= 0 }

// Compile compiles a pattern in Python's syntax. flags are letters of "imsxau"
// (re.I, re.M, re.S, re.X, re.A, re.U). timeout limits the time spent on one
// text; 0 means DefaultTimeout, and there is no way to have none. The error is
// a *PatternError.
func Compile(pattern, flags string, timeout time.Duration) (*Pattern, error) {
	var set flagSet
	for i, r := range []rune(flags) {
		bit, ok := flagOf(r)
		if !ok {
			return nil, &PatternError{Message: fmt.Sprintf("unknown flag %q in flags %q (known: i m s x a u); counted in the flags", r, flags), Pos: i}
		}
		set |= bit
	}
	if !utf8.ValidString(pattern) {
		return nil, &PatternError{Message: "pattern is not valid UTF-8", Pos: -1}
	}
	out, groups, names, err := translate(pattern, set)
	if err != nil {
		return nil, err
	}
	if timeout <= 0 {
		timeout = DefaultTimeout
	}
	p := &Pattern{source: pattern, groups: groups, names: names, timeout: timeout}
	if p.re, err = regexp2.Compile(out, regexp2.None); err != nil {
		return nil, &PatternError{Message: "engine cannot compile the pattern: " + err.Error(), Pos: -1}
	}
	if p.nonEmpty, err = regexp2.Compile("(?:"+out+`)(?!\G)`, regexp2.None); err != nil {
		return nil, &PatternError{Message: "engine cannot compile the pattern: " + err.Error(), Pos: -1}
	}
	p.re.MatchTimeout, p.nonEmpty.MatchTimeout = timeout, timeout
	return p, nil
}

// String is the pattern as written.
func (p *Pattern) String() string { return p.source }

// Groups is the number of groups.
func (p *Pattern) Groups() int { return p.groups }

// GroupNamed gives the number of a named group.
func (p *Pattern) GroupNamed(name string) (int, bool) {
	n, ok := p.names[name]
	return n, ok
}

// Search finds the first match, as re.search does; nil when there is none.
func (p *Pattern) Search(text string) (*Match, error) { return p.Select(text, 0) }

// FindAll finds all matches as re.finditer does: without overlap, an empty one
// also directly behind another.
func (p *Pattern) FindAll(text string) ([]Match, error) {
	var all []Match
	err := p.each(text, func(m *regexp2.Match, at func(int) string) bool {
		all = append(all, p.match(m, at))
		return true
	})
	return all, err
}

// Remove takes every match out of text, as re.sub(pattern, "", text) does.
func (p *Pattern) Remove(text string) (string, error) {
	var b strings.Builder
	rest := 0 // of text, in bytes
	at, offset := 0, 0
	err := p.each(text, func(m *regexp2.Match, _ func(int) string) bool {
		for ; at < m.Index; at++ { // matches come in order, so one walk is enough
			_, width := pytext.DecodeRune(text[offset:])
			offset += width
		}
		b.WriteString(text[rest:offset])
		for ; at < m.Index+m.Length; at++ {
			_, width := pytext.DecodeRune(text[offset:])
			offset += width
		}
		rest = offset
		return true
	})
	if err != nil {
		return "", err
	}
	b.WriteString(text[rest:])
	return b.String(), nil
}

// Select finds match number n: from 0, or from the end with -1 the last. It is
// nil when there are not that many.
func (p *Pattern) Select(text string, n int) (*Match, error) {
	if n < 0 {
		return p.fromEnd(text, -n)
	}
	var found *Match
	err := p.each(text, func(m *regexp2.Match, at func(int) string) bool {
		if n > 0 {
			n--
			return true
		}
		one := p.match(m, at)
		found = &one
		return false
	})
	return found, err
}

// fromEnd finds the n-th match from the end, 1 the last, and keeps no more than
// n of them: a long answer may hold millions.
func (p *Pattern) fromEnd(text string, n int) (*Match, error) {
	type found struct {
		m  *regexp2.Match
		at func(int) string
	}
	var last []found // a ring once it is full
	count := 0
	err := p.each(text, func(m *regexp2.Match, at func(int) string) bool {
		if len(last) < n {
			last = append(last, found{m, at})
		} else {
			last[count%n] = found{m, at}
		}
		count++
		return true
	})
	if err != nil || count < n {
		return nil, err
	}
	f := last[count%n]
	one := p.match(f.m, f.at)
	return &one, nil
}

// each hands the matches of text to yield, in order, until it returns false.
func (p *Pattern) each(text string, yield func(*regexp2.Match, func(int) string) bool) error {
	runes, offsets := pytext.Runes(text)
	deadline := time.Now().Add(p.timeout)
	re := p.re
	for start := 0; start <= len(runes); {
		m, err := re.FindRunesMatchStartingAt(runes, start)
		if err != nil {
			if strings.Contains(err.Error(), "timeout") {
				return fmt.Errorf("match %q: %w (%v)", shorten(p.source), ErrTimeout, p.timeout)
			}
			return fmt.Errorf("match %q: %w", shorten(p.source), err)
		}
		if m == nil {
			return nil
		}
		slice := func(i int) string {
			g := m.GroupByNumber(i)
			if offsets == nil {
				return text[g.Index : g.Index+g.Length]
			}
			return text[offsets[g.Index]:offsets[g.Index+g.Length]]
		}
		if !yield(m, slice) {
			return nil
		}
		start = m.Index + m.Length
		re = p.re
		if m.Length == 0 {
			re = p.nonEmpty
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("match %q: %w (%v)", shorten(p.source), ErrTimeout, p.timeout)
		}
	}
	return nil
}

func (p *Pattern) match(m *regexp2.Match, text func(int) string) Match {
	out := Match{Groups: make([]string, p.groups+1), Spans: make([][2]int, p.groups+1)}
	for i := range out.Groups {
		g := m.GroupByNumber(i)
		if g == nil || len(g.Captures) == 0 {
			out.Spans[i] = [2]int{-1, -1}
			continue
		}
		out.Groups[i] = text(i)
		out.Spans[i] = [2]int{g.Index, g.Index + g.Length}
	}
	return out
}

func shorten(s string) string {
	if r := []rune(s); len(r) > 40 {
		return string(r[:40]) + "…"
	}
	return s
}

package extract

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// A PatternError says why Python's re would not compile a pattern (or, rarely,
// why this engine cannot).
type PatternError struct {
	// Message is in Python's words.
	Message string
	// Pos is the place in the pattern, in code points, or -1 where none is
	// known.
	Pos int
	// Line and Column, from 1, are the same place in a pattern of several
	// lines; 0 in any other.
	Line, Column int
}

// Error gives the message with its position.
func (e *PatternError) Error() string {
	if e.Pos < 0 {
		return e.Message
	}
	at := e.Message + " at position " + strconv.Itoa(e.Pos)
	if e.Line > 0 {
		at += fmt.Sprintf(" (line %d, column %d)", e.Line, e.Column)
	}
	return at
}

// Flags of a pattern or of a part of it.
type flagSet uint8

const (
	flagI flagSet = 1 << iota // ignore case
	flagM                     // ^ and $ at lines
	flagS                     // . takes \n
	flagX                     // verbose
	flagA                     // \w \d \s \b and case are ASCII
	flagU                     // the default, named
)

func flagOf(r rune) (flagSet, bool) {
	switch r {
	case 'i':
		return flagI, true
	case 'm':
		return flagM, true
	case 's':
		return flagS, true
	case 'x':
		return flagX, true
	case 'a':
		return flagA, true
	case 'u':
		return flagU, true
	}
	return 0, false
}

const (
	maxDepth  = 200           // of nested groups: the parser recurses
	maxRepeat = math.MaxInt32 // "no upper limit" for widths and counts
)

// A piece is one item of a sequence in the syntax of regexp2, with the range of
// widths it can match, in code points.
type piece struct {
	text   string
	lo, hi int64
	kind   pieceKind
}

type pieceKind uint8

const (
	pieceAtom   pieceKind = iota // may be repeated as it stands
	pieceGroup                   // needs (?:…) before it may be repeated
	pieceAt                      // an anchor: Python repeats none
	pieceRepeat                  // already repeated
)

// translator parses a pattern as CPython's re._parser does, function by
// function, and writes regexp2 syntax as it goes.
type translator struct {
	src    []rune
	pos    int
	global flagSet
	depth  int

	groups     int              // opened so far
	widths     map[int][2]int64 // of closed groups
	names      map[string]int
	behindFrom int         // groups from this number on were opened inside the current lookbehind; -1 outside
	variable   bool        // a lookbehind has no fixed width
	condRefs   map[int]int // conditional references to check at the end, with their positions
}

type patternPanic struct{ err *PatternError }

func (t *translator) fail(pos int, format string, args ...any) {
	panic(patternPanic{&PatternError{Message: fmt.Sprintf(format, args...), Pos: pos}})
}

// translate returns the pattern for regexp2, the number of groups and their
// names.
func translate(pattern string, flags flagSet) (out string, groups int, names map[string]int, err error) {
	t := &translator{src: []rune(pattern), global: flags, widths: map[int][2]int64{}, names: map[string]int{},
		behindFrom: -1, condRefs: map[int]int{}}
	defer func() {
		if r := recover(); r != nil {
			p, ours := r.(patternPanic)
			if !ours {
				panic(r)
			}
			if before := t.src[:max(0, min(p.err.Pos, len(t.src)))]; p.err.Pos >= 0 && slices.Contains(t.src, '\n') {
				p.err.Line, p.err.Column = 1, 1
				for _, r := range before {
					if p.err.Column++; r == '\n' {
						p.err.Line, p.err.Column = p.err.Line+1, 1
					}
				}
			}
			err = p.err
		}
	}()
	if flags&flagA != 0 && flags&flagU != 0 {
		t.fail(-1, "ASCII and UNICODE flags are incompatible")
	}
	body := t.alternation(flags, true)
	if t.pos < len(t.src) {
		t.fail(t.pos, "unbalanced parenthesis")
	}
	for group, pos := range t.condRefs {
		if group > t.groups {
			t.fail(pos, "invalid group reference %d", group)
		}
	}
	if t.variable {
		t.fail(-1, "look-behind requires fixed-width pattern")
	}
	return body.text, t.groups, t.names, nil
}

func (t *translator) more() bool { return t.pos < len(t.src) }

func (t *translator) peek(r rune) bool { return t.pos < len(t.src) && t.src[t.pos] == r }

func (t *translator) take(r rune) bool {
	if t.peek(r) {
		t.pos++
		return true
	}
	return false
}

// token passes over what CPython's tokenizer takes for one piece: a backslash
// goes with the character behind it, even where neither has a meaning, as in a
// comment.
func (t *translator) token() {
	if t.take('\\') && !t.more() {
		t.fail(t.pos-1, "bad escape (end of pattern)")
	}
	t.pos++
}

// alternation parses a|b|c up to a closing parenthesis or the end.
func (t *translator) alternation(f flagSet, top bool) piece {
	if t.depth++; t.depth > maxDepth {
		t.fail(t.pos, "groups are nested more than %d deep", maxDepth)
	}
	defer func() { t.depth-- }()
	first := t.sequence(f, top)
	if !t.peek('|') {
		return first
	}
	var b strings.Builder
	b.WriteString("(?:" + first.text)
	lo, hi := first.lo, first.hi
	for t.take('|') {
		if top { // a global flag at the start holds for all branches
			f |= t.global
		}
		next := t.sequence(f, false)
		b.WriteString("|" + next.text)
		lo, hi = min(lo, next.lo), max(hi, next.hi)
	}
	b.WriteByte(')')
	return piece{b.String(), lo, hi, pieceAtom}
}

// sequence parses items up to | or ) or the end. top says that global flags may
// stand here.
func (t *translator) sequence(f flagSet, top bool) piece {
	var items []piece
	for t.more() && !t.peek('|') && !t.peek(')') {
		start := t.pos
		r := t.src[t.pos]
		t.pos++
		if f&flagX != 0 {
			if strings.ContainsRune(" \t\n\r\v\f", r) {
				continue
			}
			if r == '#' {
				for t.more() && t.src[t.pos] != '\n' {
					t.token()
				}
				continue
			}
		}
		switch r {
		case '\\':
			items = append(items, t.escape(start, f))
		case '[':
			items = append(items, t.set(start, f))
		case '.':
			if f&flagS != 0 {
				items = append(items, piece{`[\s\S]`, 1, 1, pieceAtom})
			} else {
				items = append(items, piece{`[^\n]`, 1, 1, pieceAtom})
			}
		case '^':
			if f&flagM != 0 {
				items = append(items, piece{`(?m:^)`, 0, 0, pieceAt})
			} else {
				items = append(items, piece{`\A`, 0, 0, pieceAt})
			}
		case '$':
			if f&flagM != 0 {
				items = append(items, piece{`(?m:$)`, 0, 0, pieceAt})
			} else {
				items = append(items, piece{`\Z`, 0, 0, pieceAt})
			}
		case '*', '+', '?', '{':
			lo, hi, ok := t.counts(r, start)
			if !ok {
				items = append(items, literal(r, f))
				continue
			}
			if len(items) == 0 || items[len(items)-1].kind == pieceAt {
				t.fail(start, "nothing to repeat")
			}
			last := &items[len(items)-1]
			if last.kind == pieceRepeat {
				t.fail(start, "multiple repeat")
			}
			*last = t.repeat(*last, lo, hi)
		case '(':
			item, ok := t.group(start, &f, top && len(items) == 0)
			if ok {
				items = append(items, item)
			}
		default:
			items = append(items, literal(r, f))
		}
	}
	return join(items)
}

func join(items []piece) piece {
	if len(items) == 1 {
		p := items[0]
		if p.kind != pieceAtom {
			p.kind = pieceGroup
		}
		return p
	}
	var b strings.Builder
	p := piece{kind: pieceGroup}
	for _, item := range items {
		b.WriteString(item.text)
		p.lo, p.hi = saturate(p.lo+item.lo), saturate(p.hi+item.hi)
	}
	p.text = b.String()
	return p
}

// saturate keeps widths in range: everything above means "any".
func saturate(n int64) int64 { return min(n, int64(1)<<40) }

// counts reads the rest of a quantifier that begins with r. It reports false
// when a brace is only a brace.
func (t *translator) counts(r rune, start int) (lo, hi int64, ok bool) {
	switch r {
	case '*':
		return 0, maxRepeat, true
	case '+':
		return 1, maxRepeat, true
	case '?':
		return 0, 1, true
	}
	if t.peek('}') {
		return 0, 0, false
	}
	from, comma := t.digits(), false
	to := from
	if t.take(',') {
		comma, to = true, t.digits()
	}
	if !t.take('}') {
		t.pos = start + 1
		return 0, 0, false
	}
	lo, hi = 0, maxRepeat
	if from != "" {
		lo = t.count(from, start)
	}
	if to != "" {
		hi = t.count(to, start)
	} else if !comma {
		hi = lo
	}
	if hi < lo {
		t.fail(start+1, "min repeat greater than max repeat")
	}
	return lo, hi, true
}

func (t *translator) digits() string {
	from := t.pos
	for t.more() && t.src[t.pos] >= '0' && t.src[t.pos] <= '9' {
		t.pos++
	}
	return string(t.src[from:t.pos])
}

func (t *translator) count(digits string, start int) int64 {
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n >= maxRepeat {
		t.fail(start, "the repetition number is too large")
	}
	return n
}

// repeat applies a quantifier and its lazy or possessive mark.
func (t *translator) repeat(p piece, lo, hi int64) piece {
	out := p.text
	if p.kind != pieceAtom {
		out = "(?:" + out + ")"
	}
	switch {
	case lo == 0 && hi == maxRepeat:
		out += "*"
	case lo == 1 && hi == maxRepeat:
		out += "+"
	case lo == 0 && hi == 1:
		out += "?"
	case hi == maxRepeat:
		out += fmt.Sprintf("{%d,}", lo)
	case lo == hi:
		out += fmt.Sprintf("{%d}", lo)
	default:
		out += fmt.Sprintf("{%d,%d}", lo, hi)
	}
	switch {
	case t.take('?'):
		out += "?"
	case t.take('+'):
		out = "(?>" + out + ")"
	}
	done := piece{text: out, lo: saturate(p.lo * lo), kind: pieceRepeat}
	if hi == maxRepeat && p.hi > 0 {
		done.hi = saturate(math.MaxInt64)
	} else {
		done.hi = saturate(p.hi * hi)
	}
	return done
}

package extract

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode"

	"github.com/evalrun/evalrun/core/text"
)

// A PatternError says why Python's re would not compile a pattern (or, rarely,
// why this engine cannot).
type PatternError struct {
	// Message is in Python's words.
	Message string
	// Pos is the place in the pattern, in code points, or -1 where none is
	// known.
	Pos int
}

// Error gives the message with its position.
func (e *PatternError) Error() string {
	if e.Pos < 0 {
		return e.Message
	}
	return e.Message + " at position " + strconv.Itoa(e.Pos)
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
	panic(patternPanic{&PatternError{fmt.Sprintf(format, args...), pos}})
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
				for t.more() && t.src[t.pos-1] != '\n' {
					t.pos++
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

// group parses what follows an opening parenthesis at start. It reports false
// when that was a comment or a global flag, which may change *f.
func (t *translator) group(start int, f *flagSet, first bool) (piece, bool) {
	if !t.take('?') {
		return t.capture(start, "", *f), true
	}
	if !t.more() {
		t.fail(t.pos, "unexpected end of pattern")
	}
	r := t.src[t.pos]
	t.pos++
	switch r {
	case 'P':
		return t.named(start, *f), true
	case ':':
		return t.wrap(start, "(?:", *f), true
	case '>':
		return t.wrap(start, "(?>", *f), true
	case '#':
		for !t.take(')') {
			if !t.more() {
				t.fail(start, "missing ), unterminated comment")
			}
			t.pos++
		}
		return piece{}, false
	case '=', '!':
		p := t.wrap(start, "(?"+string(r), *f)
		p.lo, p.hi = 0, 0
		return p, true
	case '<':
		return t.lookbehind(start, *f), true
	case '(':
		return t.conditional(start, *f), true
	}
	if _, known := flagOf(r); known || r == '-' || r == 'L' {
		inner, scoped := t.flags(r, *f)
		if !scoped {
			if !first {
				t.fail(start, "global flags not at the start of the expression")
			}
			*f = inner
			return piece{}, false
		}
		return t.wrap(start, "(?:", inner), true
	}
	t.fail(start+1, "unknown extension ?%c", r)
	return piece{}, false
}

// wrap parses the contents of a group without a number and its closing
// parenthesis.
func (t *translator) wrap(start int, open string, f flagSet) piece {
	p := t.alternation(f, false)
	t.close(start)
	return piece{open + p.text + ")", p.lo, p.hi, pieceAtom}
}

func (t *translator) close(start int) {
	if !t.take(')') {
		t.fail(start, "missing ), unterminated subpattern")
	}
}

// capture parses a numbered group. All groups are written without names, so
// that regexp2 numbers them as Python does, by their opening parentheses.
func (t *translator) capture(start int, name string, f flagSet) piece {
	t.groups++
	number := t.groups
	if name != "" {
		if before, ok := t.names[name]; ok {
			t.fail(t.pos-len([]rune(name))-1, "redefinition of group name '%s' as group %d; was group %d", name, number, before)
		}
		t.names[name] = number
	}
	p := t.alternation(f, false)
	t.close(start)
	t.widths[number] = [2]int64{p.lo, p.hi}
	return piece{"(" + p.text + ")", p.lo, p.hi, pieceAtom}
}

// named parses what follows (?P.
func (t *translator) named(start int, f flagSet) piece {
	switch {
	case t.take('<'):
		name, at := t.until('>', "group name")
		t.identifier(name, at)
		return t.capture(start, name, f)
	case t.take('='):
		name, at := t.until(')', "group name")
		t.identifier(name, at)
		group, ok := t.names[name]
		if !ok {
			t.fail(at, "unknown group name %s", text.Repr(name))
		}
		return t.reference(group, at, f)
	case !t.more():
		t.fail(t.pos, "unexpected end of pattern")
	}
	t.fail(start+1, "unknown extension ?P%c", t.src[t.pos])
	return piece{}
}

// until reads a name up to its terminator and gives its position too.
func (t *translator) until(end rune, what string) (string, int) {
	at := t.pos
	for t.more() && !t.peek(end) {
		t.pos++
	}
	name := string(t.src[at:t.pos])
	if !t.more() {
		if name == "" {
			t.fail(at, "missing %s", what)
		}
		t.fail(at, "missing %c, unterminated name", end)
	}
	if name == "" {
		t.fail(at, "missing %s", what)
	}
	t.pos++
	return name, at
}

func isIdentifier(name string) bool {
	for i, r := range name {
		start := r == '_' || unicode.In(r, unicode.L, unicode.Nl, unicode.Other_ID_Start)
		if !start && (i == 0 || !unicode.In(r, unicode.Mn, unicode.Mc, unicode.Nd, unicode.Pc, unicode.Other_ID_Continue)) {
			return false
		}
	}
	return name != ""
}

func (t *translator) identifier(name string, at int) {
	if !isIdentifier(name) {
		t.fail(at, "bad character in group name %s", text.Repr(name))
	}
}

// reference writes a back-reference.
func (t *translator) reference(group, at int, f flagSet) piece {
	width, closed := t.widths[group]
	if !closed {
		t.fail(at, "cannot refer to an open group")
	}
	t.checkBehind(group)
	ref := fmt.Sprintf(`\k<%d>`, group)
	if f&flagI != 0 {
		ref = "(?i:" + ref + ")"
	}
	return piece{ref, width[0], width[1], pieceGroup}
}

// checkBehind refuses a reference within a lookbehind to a group that is not
// closed before it.
func (t *translator) checkBehind(group int) {
	if t.behindFrom < 0 {
		return
	}
	if _, closed := t.widths[group]; !closed {
		t.fail(t.pos, "cannot refer to an open group")
	}
	if group > t.behindFrom {
		t.fail(t.pos, "cannot refer to group defined in the same lookbehind subpattern")
	}
}

// lookbehind parses what follows (?<.
func (t *translator) lookbehind(start int, f flagSet) piece {
	if !t.more() {
		t.fail(t.pos, "unexpected end of pattern")
	}
	r := t.src[t.pos]
	if r != '=' && r != '!' {
		t.fail(start+1, "unknown extension ?<%c", r)
	}
	t.pos++
	outer := t.behindFrom
	if outer < 0 {
		t.behindFrom = t.groups
	}
	p := t.wrap(start, "(?<"+string(r), f)
	t.behindFrom = outer
	if p.lo != p.hi {
		t.variable = true // Python says so when it has read the whole pattern
	}
	return piece{p.text, 0, 0, pieceAtom}
}

// conditional parses what follows (?(.
func (t *translator) conditional(start int, f flagSet) piece {
	name, at := t.until(')', "group name")
	var group int
	if isIdentifier(name) {
		var ok bool
		if group, ok = t.names[name]; !ok {
			t.fail(at, "unknown group name %s", text.Repr(name))
		}
	} else {
		n, err := strconv.Atoi(name)
		switch {
		case err != nil || n < 0:
			t.fail(at, "bad character in group name %s", text.Repr(name))
		case n == 0:
			t.fail(at, "bad group number")
		}
		group = n
		if _, seen := t.condRefs[group]; !seen {
			t.condRefs[group] = at
		}
	}
	t.checkBehind(group)
	if t.depth++; t.depth > maxDepth {
		t.fail(t.pos, "groups are nested more than %d deep", maxDepth)
	}
	defer func() { t.depth-- }()
	yes := t.sequence(f, false)
	no := piece{}
	if t.take('|') {
		no = t.sequence(f, false)
		if t.peek('|') {
			t.fail(t.pos, "conditional backref with more than two branches")
		}
	}
	t.close(start)
	ref := fmt.Sprintf("(?(%d)%s|%s)", group, yes.text, no.text)
	return piece{ref, min(yes.lo, no.lo), max(yes.hi, no.hi), pieceGroup}
}

// flags parses inline flags whose first letter is r. scoped is false for a
// global (?i).
func (t *translator) flags(r rune, f flagSet) (inner flagSet, scoped bool) {
	var add, del flagSet
	next := func(missing string) rune {
		if !t.more() {
			t.fail(t.pos, "%s", missing)
		}
		t.pos++
		return t.src[t.pos-1]
	}
	known := func(r rune, otherwise string) flagSet {
		bit, ok := flagOf(r)
		switch {
		case ok:
			return bit
		case r == 'L':
			t.fail(t.pos, "bad inline flags: cannot use 'L' flag with a str pattern")
		case unicode.IsLetter(r):
			t.fail(t.pos-1, "unknown flag")
		}
		t.fail(t.pos-1, "%s", otherwise)
		return 0
	}
	for r != '-' {
		add |= known(r, "missing -, : or )")
		if add&flagA != 0 && add&flagU != 0 {
			t.fail(t.pos, "bad inline flags: flags 'a', 'u' and 'L' are incompatible")
		}
		r = next("missing -, : or )")
		if r == ')' {
			t.global |= add
			if t.global&flagA != 0 && t.global&flagU != 0 {
				t.fail(-1, "ASCII and UNICODE flags are incompatible")
			}
			return f | add, false
		}
		if r == ':' {
			break
		}
	}
	if r == '-' {
		for r = next("missing flag"); r != ':'; r = next("missing :") {
			missing := "missing :"
			if del == 0 {
				missing = "missing flag"
			}
			bit := known(r, missing)
			if bit&(flagA|flagU) != 0 {
				t.fail(t.pos, "bad inline flags: cannot turn off flags 'a', 'u' and 'L'")
			}
			del |= bit
		}
		if del == 0 {
			t.fail(t.pos-1, "missing flag")
		}
	}
	if add&del != 0 {
		t.fail(t.pos-1, "bad inline flags: flag turned on and off")
	}
	if add&(flagA|flagU) != 0 {
		f &^= flagA | flagU
	}
	return (f | add) &^ del, true
}

package extract

import (
	"fmt"
	"strconv"
	"unicode"

	"github.com/evalrun/evalrun/core/text"
)

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
			t.token()
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

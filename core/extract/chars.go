package extract

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode"

	"golang.org/x/text/unicode/runenames"
)

// Contents of regexp2 classes for Python's categories.
const (
	wordClass       = `\p{L}\p{N}_`
	spaceClass      = `\x09-\x0d\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000`
	asciiWordClass  = `A-Za-z0-9_`
	asciiSpaceClass = `\x09-\x0d\x20`
)

// class gives the regexp2 class contents of \d, \s or \w.
func class(letter rune, f flagSet) string {
	ascii := f&flagA != 0
	switch unicode.ToLower(letter) {
	case 'd':
		if ascii {
			return "0-9"
		}
		return `\p{Nd}`
	case 's':
		if ascii {
			return asciiSpaceClass
		}
		return spaceClass
	}
	if ascii {
		return asciiWordClass
	}
	return wordClass
}

// escape parses an escape outside of a set; start is the backslash.
func (t *translator) escape(start int, f flagSet) piece {
	if !t.more() {
		t.fail(start, "bad escape (end of pattern)")
	}
	r := t.src[t.pos]
	switch r {
	case 'A':
		t.pos++
		return piece{`\A`, 0, 0, pieceAt}
	case 'Z':
		t.pos++
		return piece{`\z`, 0, 0, pieceAt}
	case 'b', 'B':
		t.pos++
		w := class('w', f)
		if r == 'b' {
			return piece{fmt.Sprintf(`(?:(?<=[%s])(?![%s])|(?<![%s])(?=[%s]))`, w, w, w, w), 0, 0, pieceAt}
		}
		// Python's \B does not match in an empty text.
		return piece{fmt.Sprintf(`(?:(?<=[%s])(?=[%s])|(?<![%s])(?![%s])(?!\A\z))`, w, w, w, w), 0, 0, pieceAt}
	case 'd', 's', 'w':
		t.pos++
		return piece{"[" + class(r, f) + "]", 1, 1, pieceAtom}
	case 'D', 'S', 'W':
		t.pos++
		return piece{"[^" + class(r, f) + "]", 1, 1, pieceAtom}
	}
	if r >= '1' && r <= '9' {
		return t.backslashDigits(start, f)
	}
	if r == '0' {
		t.pos++
		return literal(t.octal(2), f)
	}
	return literal(t.charEscape(start), f)
}

// backslashDigits tells an octal escape of three digits from a reference to a
// group.
func (t *translator) backslashDigits(start int, f flagSet) piece {
	octal := func(i int) bool { return i < len(t.src) && t.src[i] >= '0' && t.src[i] <= '7' }
	p := t.pos
	if octal(p) && octal(p+1) && octal(p+2) {
		value := t.octal(3)
		if value > 0o377 {
			t.fail(start, `octal escape value %s outside of range 0-0o377`, string(t.src[start:t.pos]))
		}
		return literal(value, f)
	}
	t.pos++
	if t.more() && t.src[t.pos] >= '0' && t.src[t.pos] <= '9' {
		t.pos++
	}
	group, _ := strconv.Atoi(string(t.src[start+1 : t.pos]))
	if group > t.groups {
		t.fail(start+1, "invalid group reference %d", group)
	}
	return t.reference(group, start, f)
}

// octal reads up to n octal digits.
func (t *translator) octal(n int) rune {
	var v rune
	for ; n > 0 && t.more() && t.src[t.pos] >= '0' && t.src[t.pos] <= '7'; n-- {
		v = v*8 + t.src[t.pos] - '0'
		t.pos++
	}
	return v
}

// charEscape parses an escape that means one character; t.pos is behind the
// backslash at start.
func (t *translator) charEscape(start int) rune {
	r := t.src[t.pos]
	t.pos++
	switch r {
	case 'a':
		return '\a'
	case 'f':
		return '\f'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	case 'v':
		return '\v'
	case '\\':
		return '\\'
	case 'x':
		return t.hex(start, 2)
	case 'u':
		return t.hex(start, 4)
	case 'U':
		return t.hex(start, 8)
	case 'N':
		if !t.take('{') {
			t.fail(t.pos, "missing {")
		}
		name, at := t.until('}', "character name")
		c, ok := runeNamed(name)
		if !ok {
			t.fail(at-3, "undefined character name '%s'", name)
		}
		return c
	}
	if r < 0x80 && (unicode.IsLetter(r) || unicode.IsDigit(r)) {
		t.fail(start, `bad escape \%c`, r)
	}
	return r
}

func (t *translator) hex(start, n int) rune {
	from := t.pos
	for t.more() && t.pos < from+n && strings.ContainsRune("0123456789abcdefABCDEF", t.src[t.pos]) {
		t.pos++
	}
	digits := string(t.src[from:t.pos])
	if len(digits) != n {
		t.fail(start, "incomplete escape %s", string(t.src[start:t.pos]))
	}
	v, _ := strconv.ParseUint(digits, 16, 64)
	if v > unicode.MaxRune {
		t.fail(start, "bad escape %s", string(t.src[start:t.pos]))
	}
	return rune(v)
}

// runeNamed finds a character by its Unicode name, in any case.
func runeNamed(name string) (rune, bool) {
	name = strings.ToUpper(name)
	for r := rune(0); r <= unicode.MaxRune; r++ {
		if n := runenames.Name(r); n == name && !strings.HasPrefix(n, "<") {
			return r, true
		}
	}
	return 0, false
}

// A span is a range of code points, both ends included.
type span struct{ lo, hi rune }

// set parses a character class; start is the bracket.
func (t *translator) set(start int, f flagSet) piece {
	negate := t.take('^')
	var spans []span
	var classes string   // further contents of one regexp2 class
	var outside []string // complements, each a class of its own
	empty := true
	item := func() (r rune, category rune) {
		if !t.more() {
			t.fail(start, "unterminated character set")
		}
		r = t.src[t.pos]
		t.pos++
		if r != '\\' {
			return r, 0
		}
		if !t.more() {
			t.fail(t.pos-1, "bad escape (end of pattern)")
		}
		switch c := t.src[t.pos]; {
		case strings.ContainsRune("dswDSW", c):
			t.pos++
			return 0, c
		case c == 'b':
			t.pos++
			return '\b', 0
		case c >= '0' && c <= '7':
			at := t.pos - 1
			v := t.octal(3)
			if v > 0o377 {
				t.fail(at, "octal escape value %s outside of range 0-0o377", string(t.src[at:t.pos]))
			}
			return v, 0
		}
		return t.charEscape(t.pos - 1), 0
	}
	add := func(r, category rune) {
		switch {
		case category == 0:
			spans = append(spans, span{r, r})
		case unicode.IsLower(category):
			classes += class(category, f)
		default:
			outside = append(outside, "[^"+class(category, f)+"]")
		}
	}
	for empty || !t.peek(']') {
		at := t.pos
		lo, category := item()
		empty = false
		if !t.take('-') {
			add(lo, category)
			continue
		}
		if !t.more() {
			t.fail(start, "unterminated character set")
		}
		if t.peek(']') {
			add(lo, category)
			add('-', 0)
			break
		}
		hi, category2 := item()
		if category != 0 || category2 != 0 || hi < lo {
			t.fail(at, "bad character range %s", string(t.src[at:t.pos]))
		}
		spans = append(spans, span{lo, hi})
		if !t.more() {
			t.fail(start, "unterminated character set")
		}
	}
	t.pos++ // the closing bracket
	if f&flagI != 0 {
		spans = foldSpans(spans, f)
	}
	contents := classes
	for _, s := range spans {
		contents += spanText(s)
	}
	return setPiece(contents, outside, negate)
}

// setPiece writes a set: one class where it can, else an alternative of
// classes.
func setPiece(contents string, outside []string, negate bool) piece {
	if len(outside) == 0 {
		if contents == "" { // only characters that no text holds
			if negate {
				return piece{`[\s\S]`, 1, 1, pieceAtom}
			}
			return piece{`(?!)`, 1, 1, pieceGroup}
		}
		if negate {
			return piece{"[^" + contents + "]", 1, 1, pieceAtom}
		}
		return piece{"[" + contents + "]", 1, 1, pieceAtom}
	}
	parts := outside
	if contents != "" {
		parts = append([]string{"[" + contents + "]"}, outside...)
	}
	if negate {
		return piece{"(?:(?!" + strings.Join(parts, "|") + `)[\s\S])`, 1, 1, pieceAtom}
	}
	return piece{"(?:" + strings.Join(parts, "|") + ")", 1, 1, pieceAtom}
}

// literal writes one character, or all that it equals when case is ignored.
func literal(r rune, f flagSet) piece {
	if f&flagI != 0 {
		if others := foldings(r, f); len(others) > 1 {
			var b strings.Builder
			for _, o := range others {
				b.WriteString(spanText(span{o, o}))
			}
			return piece{"[" + b.String() + "]", 1, 1, pieceAtom}
		}
	}
	if surrogate(r) { // no text holds it
		return piece{`(?!)`, 1, 1, pieceGroup}
	}
	return piece{runeText(r), 1, 1, pieceAtom}
}

func surrogate(r rune) bool { return r >= 0xd800 && r <= 0xdfff }

// runeText writes a rune so that it means itself, in and out of classes.
func runeText(r rune) string {
	switch {
	case r < 0x80 && (unicode.IsLetter(r) || unicode.IsDigit(r)):
		return string(r)
	case r < 0x100:
		return fmt.Sprintf(`\x%02x`, r)
	case r < 0x10000:
		return fmt.Sprintf(`\u%04x`, r)
	}
	return string(r)
}

// spanText writes a range for a class. Surrogates are left out: they have no
// place in UTF-8.
func spanText(s span) string {
	if s.lo <= 0xdfff && s.hi >= 0xd800 {
		var b strings.Builder
		if s.lo < 0xd800 {
			b.WriteString(spanText(span{s.lo, 0xd7ff}))
		}
		if s.hi > 0xdfff {
			b.WriteString(spanText(span{0xe000, s.hi}))
		}
		return b.String()
	}
	if s.lo == s.hi {
		return runeText(s.lo)
	}
	return runeText(s.lo) + "-" + runeText(s.hi)
}

// foldings lists the characters that Python takes for r when it ignores case,
// r included: those of one simple case folding, the dotted and dotless I with
// i, and three pairs that only share their full upper case. With the ASCII flag only the 26 letters fold.
func foldings(r rune, f flagSet) []rune {
	if f&flagA != 0 {
		switch {
		case r >= 'a' && r <= 'z':
			return []rune{r - 32, r}
		case r >= 'A' && r <= 'Z':
			return []rune{r, r + 32}
		}
		return []rune{r}
	}
	switch r {
	case 'i', 'I', 0x130, 0x131:
		return []rune{'I', 'i', 0x130, 0x131}
	case 0x390, 0x1fd3:
		return []rune{0x390, 0x1fd3}
	case 0x3b0, 0x1fe3:
		return []rune{0x3b0, 0x1fe3}
	case 0xfb05, 0xfb06:
		return []rune{0xfb05, 0xfb06}
	}
	all := []rune{r}
	for o := unicode.SimpleFold(r); o != r; o = unicode.SimpleFold(o) {
		all = append(all, o)
	}
	slices.Sort(all)
	return all
}

// folded lists every character that has another one of its folding, ascending.
var folded = sync.OnceValue(func() []rune {
	var all []rune
	for r := rune(0); r <= unicode.MaxRune; r++ {
		if len(foldings(r, 0)) > 1 {
			all = append(all, r)
		}
	}
	return all
})

// foldSpans adds to ranges what their characters fold to.
func foldSpans(spans []span, f flagSet) []span {
	out := slices.Clone(spans)
	all := folded()
	for _, s := range spans {
		from, _ := slices.BinarySearch(all, s.lo)
		for _, r := range all[from:] {
			if r > s.hi {
				break
			}
			for _, o := range foldings(r, f) {
				if o < s.lo || o > s.hi {
					out = append(out, span{o, o})
				}
			}
		}
	}
	slices.SortFunc(out, func(a, b span) int { return int(a.lo - b.lo) })
	merged := out[:0]
	for _, s := range out {
		if n := len(merged); n > 0 && s.lo <= merged[n-1].hi+1 {
			merged[n-1].hi = max(merged[n-1].hi, s.hi)
		} else {
			merged = append(merged, s)
		}
	}
	return merged
}

package tokenizer

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"unicode"

	"github.com/evalrun/evalrun/internal/pieces"
)

// fromOniguruma rewrites a pattern of a tokenizer.json, which the reference
// gives to Oniguruma in Ruby's dialect, for the engine here. The two agree but in
// this: ^ and $ stand at every line's ends, (?m) lets the dot match newlines,
// {,n} begins at 0, \h is a hexadecimal digit, \w and \b know other characters
// (all marks, ½ and ²; not the joiners), and the tables are those of Unicode 16.
// What only one of them knows is an error: sets within sets, POSIX's names.
func fromOniguruma(source string) (string, error) {
	if onigFolds.MatchString(source) {
		return "", errors.New("letters that fold into one (ss is ß, fi is ﬁ) are not supported where case is ignored")
	}
	var b strings.Builder
	for i := 0; i < len(source); {
		switch c := source[i]; c {
		case '\\':
			n, text, err := onigEscape(source[i:], false)
			if err != nil {
				return "", err
			}
			b.WriteString(text)
			i += n
		case '[':
			n, err := onigSet(&b, source[i:])
			if err != nil {
				return "", err
			}
			i += n
		case '^':
			b.WriteString(`(?:\A|(?<=\n)(?!\z))`)
			i++
		case '$':
			b.WriteString(`(?=\n|\z)`)
			i++
		case '(':
			if m := onigFlags.FindStringSubmatch(source[i:]); m != nil {
				if strings.Trim(m[1], "im-") != "" {
					return "", fmt.Errorf("flags %q are not supported; supported are i and m", m[1])
				}
				b.WriteString("(?" + strings.ReplaceAll(m[1], "m", "s") + m[2])
				i += len(m[0])
				continue
			}
			b.WriteByte(c)
			i++
		case '{':
			if m := onigUpTo.FindString(source[i:]); m != "" {
				b.WriteString("{0" + m[1:])
				i += len(m)
				continue
			}
			b.WriteByte(c)
			i++
		default:
			b.WriteByte(c)
			i++
		}
	}
	return b.String(), nil
}

var (
	onigFolds    = regexp.MustCompile(`(?s)\(\?m?i.*(?:(?i:ss|ff|fi|fl|st)|ß|ẞ|[ﬀ-ﬆ])`)
	onigFlags    = regexp.MustCompile(`^\(\?([a-zA-Z-]+)([:)])`)
	onigUpTo     = regexp.MustCompile(`^\{,\d+\}`)
	onigProperty = regexp.MustCompile(`^\\[pP]\{(\^?)(\w+)\}`)
)

// onigEscape rewrites the escape at the start of s, in a set or outside, and
// gives its length.
func onigEscape(s string, inSet bool) (n int, text string, err error) {
	if len(s) < 2 {
		return 0, "", errors.New("a backslash at the end")
	}
	// class is a set of characters, or all that are not in it.
	class := func(c *charClass, not bool) string {
		switch {
		case inSet && not:
			return c.others()
		case inSet:
			return c.text()
		case not:
			return "[^" + c.text() + "]"
		}
		return "[" + c.text() + "]"
	}
	switch s[1] {
	case 'w', 'W':
		if inSet {
			return 2, class(&onigWordInSet, s[1] == 'W'), nil
		}
		return 2, class(&onigWord, s[1] == 'W'), nil
	case 'd', 'D':
		return 2, class(&onigDigit, s[1] == 'D'), nil
	case 'h', 'H':
		return 2, class(&onigHex, s[1] == 'H'), nil
	case 'b', 'B':
		if inSet {
			return 2, s[:2], nil // a backspace
		}
		w := onigWord.text()
		if s[1] == 'B' {
			return 2, "(?:(?<=[" + w + "])(?=[" + w + "])|(?<![" + w + "])(?![" + w + "]))", nil
		}
		return 2, "(?:(?<=[" + w + "])(?![" + w + "])|(?<![" + w + "])(?=[" + w + "]))", nil
	case '_':
		return 2, "_", nil
	case 'p', 'P':
		m := onigProperty.FindStringSubmatch(s)
		if m == nil {
			return 0, "", fmt.Errorf(`\%c without a name in braces`, s[1])
		}
		not := (s[1] == 'P') != (m[1] != "")
		if c := onigProperties[m[2]]; c != nil {
			return len(m[0]), class(c, not), nil
		}
		if not {
			return len(m[0]), `\P{` + m[2] + "}", nil
		}
		return len(m[0]), `\p{` + m[2] + "}", nil
	}
	return 2, s[:2], nil
}

// onigSet rewrites the set [...] at the start of s and gives its length.
func onigSet(b *strings.Builder, s string) (int, error) {
	i := 1
	b.WriteByte('[')
	if i < len(s) && s[i] == '^' {
		b.WriteByte('^')
		i++
	}
	for first := true; i < len(s); first = false {
		switch {
		case s[i] == ']' && !first:
			b.WriteByte(']')
			return i + 1, nil
		case s[i] == ']':
			b.WriteString(`\]`)
			i++
		case s[i] == '\\':
			n, text, err := onigEscape(s[i:], true)
			if err != nil {
				return 0, err
			}
			b.WriteString(text)
			i += n
		case s[i] == '[':
			return 0, errors.New("a set within a set, or a name such as [:alpha:], is not supported")
		case strings.HasPrefix(s[i:], "&&"):
			return 0, errors.New("an intersection of sets is not supported")
		default:
			b.WriteByte(s[i])
			i++
		}
	}
	return 0, errors.New("a set without an end")
}

// charClass is a set of characters: how it is written within brackets, and which
// characters it has.
type charClass struct {
	base string
	more []*unicode.RangeTable // beside base
	has  func(rune) bool

	once, onceNot sync.Once
	in, out       string
}

var (
	onigDigit = charClass{base: `\p{Nd}`, more: []*unicode.RangeTable{pieces.NewNumbers}, has: in(unicode.Nd, pieces.NewNumbers)}
	onigHex   = charClass{base: "0-9A-Fa-f", has: in(unicode.ASCII_Hex_Digit)}
	onigWord  = charClass{base: `\p{L}\p{M}\p{Nd}\p{Nl}\p{Pc}²³¹¼-¾`, more: onigWordMore}
	// Within brackets \w does not have the six signs of Latin-1.
	onigWordInSet = charClass{base: `\p{L}\p{M}\p{Nd}\p{Nl}\p{Pc}`, more: onigWordMore, has: func(r rune) bool {
		return pieces.IsLetter(r) || unicode.In(r, unicode.M, unicode.Nd, unicode.Nl, unicode.Pc, unicode.Other_Alphabetic, pieces.NewNumbers, newMarks)
	}}
	onigWordMore = append([]*unicode.RangeTable{pieces.NewNumbers, newMarks, unicode.Other_Alphabetic}, pieces.NewLetters...)
)

// onigProperties are the properties whose characters are others than in Go's tables.
var onigProperties = map[string]*charClass{
	"L":  {base: `\p{L}`, more: pieces.NewLetters, has: pieces.IsLetter},
	"N":  {base: `\p{N}`, more: []*unicode.RangeTable{pieces.NewNumbers}, has: pieces.IsNumber},
	"Nd": &onigDigit, "Lu": property("Lu", unicode.Lu, pieces.NewUpper), "Ll": property("Ll", unicode.Ll, pieces.NewLower), "Lm": property("Lm", unicode.Lm, pieces.NewModifiers),
	"Lo": property("Lo", unicode.Lo, pieces.NewOtherLetters),
	"M":  property("M", unicode.M, newMarks), "P": property("P", unicode.P, newPunctuation), "S": property("S", unicode.S, newSymbols), "Han": property("Han", unicode.Han, newHan),
}

func property(name string, old, more *unicode.RangeTable) *charClass {
	return &charClass{base: `\p{` + name + "}", more: []*unicode.RangeTable{more}, has: in(old, more)}
}

func in(tables ...*unicode.RangeTable) func(rune) bool {
	return func(r rune) bool { return unicode.In(r, tables...) }
}

// text is the class as it stands within brackets.
func (c *charClass) text() string {
	c.once.Do(func() {
		var b strings.Builder
		b.WriteString(c.base)
		for _, t := range c.more {
			for _, r := range t.R16 {
				writeRange(&b, rune(r.Lo), rune(r.Hi), rune(r.Stride))
			}
			for _, r := range t.R32 {
				writeRange(&b, rune(r.Lo), rune(r.Hi), rune(r.Stride))
			}
		}
		c.in = b.String()
	})
	return c.in
}

// others is everything else, written out, as brackets cannot say it.
func (c *charClass) others() string {
	c.onceNot.Do(func() {
		var b strings.Builder
		from := rune(0)
		for r := rune(0); r <= unicode.MaxRune+1; r++ {
			if r <= unicode.MaxRune && !c.has(r) {
				continue
			}
			if r > from {
				writeRange(&b, from, r-1, 1)
			}
			from = r + 1
		}
		c.out = b.String()
	})
	return c.out
}

func writeRange(b *strings.Builder, lo, hi, stride rune) {
	if stride > 1 {
		for r := lo; r <= hi; r += stride {
			writeRange(b, r, r, 1)
		}
		return
	}
	if fmt.Fprintf(b, `\x{%x}`, lo); hi > lo {
		fmt.Fprintf(b, `-\x{%x}`, hi)
	}
}

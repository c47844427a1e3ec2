package jinja

import (
	"math/big"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/evalrun/evalrun/core/text"
)

// A token's kind is one of the words below or, for an operator, the operator
// itself.
const (
	tokData     = "data"
	tokVarOpen  = "variable_begin"
	tokVarEnd   = "variable_end"
	tokOpen     = "block_begin"
	tokEnd      = "block_end"
	tokName     = "name"
	tokString   = "string"
	tokInt      = "integer"
	tokFloat    = "float"
	tokEOF      = "eof"
	digitsRun   = `[0-9](?:_?[0-9])*`
	floatSyntax = `^` + digitsRun + `(?:(?:\.` + digitsRun + `)?[eE][+-]?` + digitsRun + `|\.` + digitsRun + `)`
	intSyntax   = `^(?:0[bB](?:_?[01])+|0[oO](?:_?[0-7])+|0[xX](?:_?[0-9a-fA-F])+|[1-9](?:_?[0-9])*|0(?:_?0)*)`
)

var (
	floatPattern    = regexp.MustCompile(floatSyntax)
	intPattern      = regexp.MustCompile(intSyntax)
	rawBeginPattern = regexp.MustCompile(`^\{%([-+]?)\s*raw\s*(?:-%\}\s*|%\})`)
	rawEndPattern   = regexp.MustCompile(`\{%([-+]?)\s*endraw\s*(?:\+%\}|-%\}\s*|%\})`)
	longOperators   = []string{"//", "**", "==", "!=", ">=", "<="}
)

const shortOperators = "+-/*%~[](){}><=.:|,;"

// token is one lexeme. text holds a name, the text of a string or data; value
// holds a number.
type token struct {
	kind  string
	text  string
	value any
	line  int
}

// describe names a token as Jinja's error messages do.
func (t token) describe() string {
	if t.kind == tokName {
		return t.text
	}
	return describeKind(t.kind)
}

func describeKind(kind string) string {
	switch kind {
	case tokOpen:
		return "begin of statement block"
	case tokEnd:
		return "end of statement block"
	case tokVarOpen:
		return "begin of print statement"
	case tokVarEnd:
		return "end of print statement"
	case tokData:
		return "template data / text"
	case tokEOF:
		return "end of template"
	}
	return kind
}

// lexer cuts a template into tokens. The white-space rules are Jinja's: a "-"
// beside a tag strips all white space on that side; with trimBlocks the line
// end after a block is dropped, with lstripBlocks the blanks before a block
// that begins its line; "+" switches the latter two off.
type lexer struct {
	src          string
	pos, line    int
	lineStarting bool // the last match ended with a line end
	opts         *Options
	tokens       []token
}

// lex returns the tokens of source, the last of kind tokEOF.
func lex(source string, opts *Options) []token {
	source = strings.ReplaceAll(source, "\r\n", "\n")
	source = strings.ReplaceAll(source, "\r", "\n")
	if !opts.KeepTrailingNewline {
		source = strings.TrimSuffix(source, "\n")
	}
	l := &lexer{src: source, line: 1, lineStarting: true, opts: opts}
	for l.pos < len(l.src) {
		l.root()
	}
	l.emit(token{kind: tokEOF})
	return l.tokens
}

func (l *lexer) emit(t token) {
	t.line = l.line
	l.tokens = append(l.tokens, t)
}

// advance moves over the next n bytes and counts lines.
func (l *lexer) advance(n int) {
	part := l.src[l.pos : l.pos+n]
	l.line += strings.Count(part, "\n")
	l.pos += n
	if n > 0 {
		l.lineStarting = part[n-1] == '\n'
	}
}

// root reads text up to the next tag, and the tag.
func (l *lexer) root() {
	rest := l.src[l.pos:]
	at := 0
	for {
		i := strings.IndexByte(rest[at:], '{')
		if i < 0 || at+i+1 >= len(rest) {
			l.data(rest, len(rest))
			return
		}
		at += i
		if c := rest[at+1]; c == '{' || c == '%' || c == '#' {
			break
		}
		at++
	}
	text := rest[:at]
	if raw := rawBeginPattern.FindStringSubmatch(rest[at:]); raw != nil {
		l.data(l.before(text, raw[1], false), at)
		l.advance(len(raw[0]))
		l.raw()
		return
	}
	tag, sign := rest[at+1], ""
	if at+2 < len(rest) && (rest[at+2] == '-' || rest[at+2] == '+') {
		sign = rest[at+2 : at+3]
	}
	l.data(l.before(text, sign, tag == '{'), at)
	switch tag {
	case '#':
		l.advance(2 + len(sign))
		l.comment()
	case '%':
		l.emit(token{kind: tokOpen})
		l.advance(2 + len(sign))
		l.inside(tokEnd)
	default:
		l.emit(token{kind: tokVarOpen})
		l.advance(2 + len(sign))
		l.inside(tokVarEnd)
	}
}

// before is text as it stands after the white-space rules of the tag that
// follows it.
func (l *lexer) before(s, sign string, variable bool) string {
	switch {
	case sign == "-":
		return text.RStrip(s)
	case sign == "+" || variable || !l.opts.LstripBlocks:
		return s
	}
	at := strings.LastIndexByte(s, '\n') + 1
	if at < len(s) && (at > 0 || l.lineStarting) && text.LStrip(s[at:]) == "" {
		return s[:at]
	}
	return s
}

// data emits s for the next n bytes of source.
func (l *lexer) data(s string, n int) {
	if s != "" {
		l.emit(token{kind: tokData, text: s})
	}
	l.advance(n)
}

// blockEnd is the length of a block's or comment's end mark at the beginning of
// s with the white space that it takes along, or 0.
func (l *lexer) blockEnd(s, mark string) int {
	switch {
	case strings.HasPrefix(s, "+"+mark):
		return 3
	case strings.HasPrefix(s, "-"+mark):
		return len(s) - len(text.LStrip(s[3:]))
	case strings.HasPrefix(s, mark):
		if l.opts.TrimBlocks && strings.HasPrefix(s[2:], "\n") {
			return 3
		}
		return 2
	}
	return 0
}

func (l *lexer) comment() {
	rest := l.src[l.pos:]
	at := strings.Index(rest, "#}")
	if at < 0 {
		if rest != "" {
			raiseSyntax(l.line, "Missing end of comment tag")
		}
		return
	}
	if at > 0 && (rest[at-1] == '-' || rest[at-1] == '+') {
		at--
	}
	l.advance(at + l.blockEnd(rest[at:], "#}"))
}

func (l *lexer) raw() {
	rest := l.src[l.pos:]
	m := rawEndPattern.FindStringSubmatchIndex(rest)
	if m == nil {
		if rest != "" {
			raiseSyntax(l.line, "Missing end of raw directive")
		}
		return
	}
	l.data(l.before(rest[:m[0]], rest[m[2]:m[3]], false), m[0])
	end := m[1] - m[0]
	if l.opts.TrimBlocks && strings.HasPrefix(rest[m[1]:], "\n") && rest[m[1]-3] != '-' && rest[m[1]-3] != '+' && rest[m[1]-1] == '}' {
		end++
	}
	l.advance(end)
}

// inside reads the tokens of a tag up to its end mark.
func (l *lexer) inside(end string) {
	var open []byte // closing brackets that are due
	for l.pos < len(l.src) {
		rest := l.src[l.pos:]
		if len(open) == 0 {
			n := 0
			switch {
			case end == tokEnd:
				n = l.blockEnd(rest, "%}")
			case strings.HasPrefix(rest, "-}}"):
				n = len(rest) - len(text.LStrip(rest[3:]))
			case strings.HasPrefix(rest, "}}"):
				n = 2
			}
			if n > 0 {
				l.emit(token{kind: end})
				l.advance(n)
				return
			}
		}
		if n := len(rest) - len(text.LStrip(rest)); n > 0 {
			l.advance(n)
			continue
		}
		open = l.lexeme(rest, open)
	}
}

// lexeme reads one number, name, string or operator.
func (l *lexer) lexeme(rest string, open []byte) []byte {
	c, width := utf8.DecodeRuneInString(rest)
	switch {
	case c >= '0' && c <= '9':
		if m := floatPattern.FindString(rest); m != "" && (l.pos == 0 || l.src[l.pos-1] != '.') {
			f, _ := strconv.ParseFloat(strings.ReplaceAll(m, "_", ""), 64)
			l.emit(token{kind: tokFloat, value: f})
			l.advance(len(m))
			return open
		}
		m := intPattern.FindString(rest)
		n, _ := new(big.Int).SetString(strings.ReplaceAll(m, "_", ""), 0)
		if m[0] == '0' && strings.Trim(m, "0_") == "" {
			n = new(big.Int) // 00 and 0_0 are zero, not octal
		}
		if n == nil {
			raiseSyntax(l.line, "invalid number %s", m)
		}
		l.emit(token{kind: tokInt, value: normInt(n)})
		l.advance(len(m))
		return open
	case c == '_' || unicode.IsLetter(c) || unicode.IsNumber(c):
		n := strings.IndexFunc(rest, func(r rune) bool {
			return r != '_' && !unicode.IsLetter(r) && !unicode.IsNumber(r) && !unicode.Is(unicode.Mn, r) && !unicode.Is(unicode.Mc, r)
		})
		if n < 0 {
			n = len(rest)
		}
		if c != '_' && !unicode.IsLetter(c) {
			raiseSyntax(l.line, "Invalid character in identifier")
		}
		l.emit(token{kind: tokName, text: rest[:n]})
		l.advance(n)
		return open
	case c == '"' || c == '\'':
		if n := stringEnd(rest); n > 0 {
			l.emit(token{kind: tokString, text: unescape(rest[1:n-1], l.line)})
			l.advance(n)
			return open
		}
	}
	op := ""
	for _, o := range longOperators {
		if strings.HasPrefix(rest, o) {
			op = o
		}
	}
	if op == "" && width == 1 && strings.IndexByte(shortOperators, rest[0]) >= 0 {
		op = rest[:1]
	}
	switch op {
	case "":
		raiseSyntax(l.line, "unexpected char %s at %d", text.Repr(rest[:width]), utf8.RuneCountInString(l.src[:l.pos]))
	case "{":
		open = append(open, '}')
	case "(":
		open = append(open, ')')
	case "[":
		open = append(open, ']')
	case "}", ")", "]":
		if len(open) == 0 {
			raiseSyntax(l.line, "unexpected '%s'", op)
		}
		due := open[len(open)-1]
		open = open[:len(open)-1]
		if due != op[0] {
			raiseSyntax(l.line, "unexpected '%s', expected '%c'", op, due)
		}
	}
	l.emit(token{kind: op})
	l.advance(len(op))
	return open
}

// stringEnd is the length of the string literal at the beginning of s, or 0.
func stringEnd(s string) int {
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case s[0]:
			return i + 1
		}
	}
	return 0
}

// unescape resolves the escapes of a Python string literal. What Python does
// not know as an escape keeps its backslash.
func unescape(s string, line int) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			b.WriteByte(s[i])
			continue
		}
		i++
		if i == len(s) {
			raiseSyntax(line, `\ at end of string`)
		}
		switch c := s[i]; c {
		case '\n':
		case '\\', '\'', '"':
			b.WriteByte(c)
		case 'a':
			b.WriteByte('\a')
		case 'b':
			b.WriteByte('\b')
		case 'f':
			b.WriteByte('\f')
		case 'n':
			b.WriteByte('\n')
		case 'r':
			b.WriteByte('\r')
		case 't':
			b.WriteByte('\t')
		case 'v':
			b.WriteByte('\v')
		case 'x':
			i = hexEscape(&b, s, i, 2, `truncated \xXX escape`, line)
		case 'u':
			i = hexEscape(&b, s, i, 4, `truncated \uXXXX escape`, line)
		case 'U':
			i = hexEscape(&b, s, i, 8, `truncated \UXXXXXXXX escape`, line)
		case 'N':
			raiseSyntax(line, `\N{...} escapes are not supported here; write the character itself`)
		case '0', '1', '2', '3', '4', '5', '6', '7':
			n := 0
			for k := 0; k < 3 && i < len(s) && s[i] >= '0' && s[i] <= '7'; k++ {
				n = n*8 + int(s[i]-'0')
				i++
			}
			i--
			b.WriteRune(rune(n))
		default:
			b.WriteByte('\\')
			b.WriteByte(c)
		}
	}
	return b.String()
}

func hexEscape(b *strings.Builder, s string, i, digits int, complaint string, line int) int {
	if i+1+digits > len(s) {
		raiseSyntax(line, "%s", complaint)
	}
	n, err := strconv.ParseUint(s[i+1:i+1+digits], 16, 32)
	if err != nil {
		raiseSyntax(line, "%s", complaint)
	}
	if n > unicode.MaxRune {
		raiseSyntax(line, "illegal Unicode character")
	}
	b.WriteRune(rune(n))
	return i + digits
}

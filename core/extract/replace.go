package extract

import (
	"fmt"
	"strconv"
	"strings"
)

// Replace is Python's re.sub: count matches, or all where it is 0, become the
// template repl, in which \1, \g<1> and \g<name> are groups and \n and the like
// their characters. The error is ErrTimeout or one about the template.
func (p *Pattern) Replace(text, repl string, count int) (string, error) {
	parts, err := p.template(repl)
	if err != nil {
		return "", err
	}
	all, err := p.FindAll(text)
	if err != nil || len(all) == 0 {
		return text, err
	}
	if count > 0 {
		all = all[:min(count, len(all))]
	}
	runes := []rune(text)
	var b strings.Builder
	from := 0
	for _, m := range all {
		b.WriteString(string(runes[from:m.Spans[0][0]]))
		for _, part := range parts {
			if part.group >= 0 {
				b.WriteString(m.Groups[part.group])
			} else {
				b.WriteString(part.text)
			}
		}
		from = m.Spans[0][1]
	}
	b.WriteString(string(runes[from:]))
	return b.String(), nil
}

// replacement is a piece of a template: a text, or a group where it is not -1.
type replacement struct {
	text  string
	group int
}

func (p *Pattern) template(s string) ([]replacement, error) {
	var parts []replacement
	add := func(t string) { parts = append(parts, replacement{t, -1}) }
	group := func(n int) error {
		if n > p.groups {
			return fmt.Errorf("invalid group reference %d in the replacement %q", n, s)
		}
		parts = append(parts, replacement{"", n})
		return nil
	}
	for s != "" {
		at := strings.IndexByte(s, '\\')
		if at < 0 || at == len(s)-1 {
			if at >= 0 {
				return nil, fmt.Errorf("the replacement %q ends in a backslash", s)
			}
			add(s)
			break
		}
		add(s[:at])
		c := s[at+1]
		rest := s[at+2:]
		switch {
		case c == 'g' && strings.HasPrefix(rest, "<"):
			name, after, ok := strings.Cut(rest[1:], ">")
			n, err := strconv.Atoi(name)
			if err != nil {
				n, ok = p.GroupNamed(name)
			}
			if !ok || n < 0 {
				return nil, fmt.Errorf("unknown group %q in the replacement", name)
			}
			if err := group(n); err != nil {
				return nil, err
			}
			rest = after
		case c == '0':
			width := 0
			for width < 2 && width < len(rest) && rest[width] >= '0' && rest[width] <= '7' {
				width++
			}
			v, _ := strconv.ParseUint("0"+rest[:width], 8, 16)
			add(string(rune(v)))
			rest = rest[width:]
		case c >= '1' && c <= '9':
			n := int(c - '0')
			if rest != "" && rest[0] >= '0' && rest[0] <= '9' {
				n, rest = n*10+int(rest[0]-'0'), rest[1:]
			}
			if err := group(n); err != nil {
				return nil, err
			}
		default:
			plain, ok := map[byte]string{'a': "\a", 'b': "\b", 'f': "\f", 'n': "\n", 'r': "\r", 't': "\t", 'v': "\v", '\\': `\`}[c]
			if !ok && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z') {
				return nil, fmt.Errorf(`bad escape \%c in the replacement`, c)
			}
			if !ok {
				plain = s[at : at+2]
			}
			add(plain)
		}
		s = rest
	}
	return parts, nil
}

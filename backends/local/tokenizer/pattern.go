package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/dlclark/regexp2/v2"
)

// patternTimeout bounds one search of a pattern that came with a tokenizer: a
// page of text takes milliseconds.
const patternTimeout = 10 * time.Second

// maxPattern bounds the text of a pattern; the longest published has about 500.
const maxPattern = 1 << 14

// pattern finds a literal string, or a regular expression through a scanner
// where we have one for it and else through a backtracking engine, which knows
// the look-ahead that these patterns use.
type pattern struct {
	literal string
	source  string
	scan    scanner // every match, which then cover the text without gaps
	regexp  *regexp2.Regexp
}

// parsePattern reads {"String": s} or {"Regex": p}.
func parsePattern(text json.RawMessage) (*pattern, error) {
	var p struct{ String, Regex *string }
	if len(text) == 0 {
		return nil, errors.New("no pattern")
	}
	if err := json.Unmarshal(text, &p); err != nil {
		return nil, fmt.Errorf("pattern: %w", err)
	}
	switch {
	case p.String != nil && p.Regex == nil:
		if *p.String == "" {
			return nil, errors.New("pattern: an empty string")
		}
		return &pattern{literal: *p.String}, nil
	case p.Regex != nil && p.String == nil:
		return newPattern(*p.Regex)
	}
	return nil, errors.New(`pattern: want {"String": …} or {"Regex": …}`)
}

func newPattern(source string) (*pattern, error) {
	if scan, ok := scanners[source]; ok {
		return &pattern{source: source, scan: scan}, nil
	}
	if len(source) > maxPattern {
		return nil, fmt.Errorf("pattern of %d bytes, limit %d", len(source), maxPattern)
	}
	own, err := fromOniguruma(source)
	if err != nil {
		return nil, fmt.Errorf("pattern %q: %w", source, err)
	}
	// In a group of its own: the engine has a table of compiled patterns that
	// any package of the program may add to under the pattern's exact text, and
	// one that is in wide use cuts "\u00a0\n\v\r" wrongly.
	re, err := regexp2.Compile("(?:" + own + ")")
	if err != nil {
		return nil, fmt.Errorf("pattern %q: %w", source, err)
	}
	re.MatchTimeout = patternTimeout
	return &pattern{source: source, regexp: re}, nil
}

// match is one stretch of a text, in bytes: what the pattern found, or what
// lies between.
type match struct {
	begin, end int
	hit        bool
}

// all cuts text into hits and what lies between them, in order and without gaps.
func (p *pattern) all(dst []match, text string) ([]match, error) {
	at := 0
	hit := func(begin, end int) {
		if begin > at {
			dst = append(dst, match{at, begin, false})
		}
		dst = append(dst, match{begin, end, true})
		at = end
	}
	switch {
	case p.literal != "":
		for {
			i := strings.Index(text[at:], p.literal)
			if i < 0 {
				break
			}
			hit(at+i, at+i+len(p.literal))
		}
	case p.scan != nil:
		for at < len(text) {
			hit(at, at+p.scan(text[at:]))
		}
	default:
		found, err := p.regexp.FindAllStringIndex(text, -1)
		if err != nil {
			return nil, fmt.Errorf("pattern %q on %d bytes of text: %w", p.source, len(text), err)
		}
		for _, f := range found {
			// An engine that decodes bytes which are not UTF-8 may disagree
			// about where they end; such a match is kept inside the text.
			if f[0] < at || f[1] > len(text) {
				continue
			}
			hit(f[0], f[1])
		}
	}
	if at < len(text) {
		dst = append(dst, match{at, len(text), false})
	}
	return dst, nil
}

// replace puts content in the place of every hit, and tells whether the text
// begins with one.
func (p *pattern) replace(text, content string) (_ string, first bool, err error) {
	if p.literal != "" {
		return strings.ReplaceAll(text, p.literal, content), strings.HasPrefix(text, p.literal), nil
	}
	found, err := p.all(nil, text)
	if err != nil {
		return "", false, err
	}
	var b strings.Builder
	for _, m := range found {
		if m.hit {
			b.WriteString(content)
		} else {
			b.WriteString(text[m.begin:m.end])
		}
	}
	return b.String(), len(found) > 0 && found[0].hit && found[0].end > 0, nil
}

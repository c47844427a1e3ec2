package tokenizer

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// A decoder turns a list of tokens into a list of texts; the joined list is
// the decoded text. It may keep fewer texts than it got, and may write into
// the list it was given.
type decoder func([]string) []string

const decoderTypes = "Sequence ByteLevel ByteFallback Metaspace Fuse Strip Replace"

// buildDecoder gives nil for no decoder.
func buildDecoder(s *step) (decoder, error) {
	if s == nil {
		return nil, nil
	}
	switch s.Type {
	case "Sequence":
		var list []decoder
		for i := range s.Decoders {
			d, err := buildDecoder(&s.Decoders[i])
			if err != nil {
				return nil, err
			}
			list = append(list, d)
		}
		return func(tokens []string) []string {
			for _, d := range list {
				tokens = d(tokens)
			}
			return tokens
		}, nil
	case "ByteLevel":
		return decodeByteLevel, nil
	case "ByteFallback":
		return decodeByteFallback, nil
	case "Metaspace":
		return metaspaceDecoder(s)
	case "Fuse":
		return func(tokens []string) []string { return []string{strings.Join(tokens, "")} }, nil
	case "Strip":
		return stripDecoder(s)
	case "Replace":
		p, content, err := s.replacePattern()
		if err != nil {
			return nil, fmt.Errorf("decoder Replace: %w", err)
		}
		if p.literal == "" {
			return nil, fmt.Errorf("decoder Replace: the regular expression %q is not supported, want a string", p.source)
		}
		return func(tokens []string) []string {
			for i := range tokens {
				tokens[i] = strings.ReplaceAll(tokens[i], p.literal, content)
			}
			return tokens
		}, nil
	}
	return nil, unknownType("decoder", s.Type, decoderTypes)
}

// decodeByteLevel takes the disguise off and makes UTF-8 of the bytes of all
// tokens together: a character may be spread over several.
func decodeByteLevel(tokens []string) []string {
	var b strings.Builder
	for _, t := range tokens {
		if raw, ok := undisguise(t); ok {
			b.WriteString(raw)
		} else {
			b.WriteString(t)
		}
	}
	return []string{validUTF8(b.String())}
}

// decodeByteFallback makes text of runs of byte tokens such as <0x0A>. A run
// that is not UTF-8 as a whole becomes a replacement character for each byte.
func decodeByteFallback(tokens []string) []string {
	out := make([]string, 0, len(tokens))
	var pending []byte
	flush := func() {
		if len(pending) == 0 {
			return
		}
		if utf8.Valid(pending) {
			out = append(out, string(pending))
		} else {
			out = append(out, strings.Repeat("\uFFFD", len(pending)))
		}
		pending = pending[:0]
	}
	for _, t := range tokens {
		if b, ok := byteToken(t); ok {
			pending = append(pending, b)
			continue
		}
		flush()
		out = append(out, t)
	}
	flush()
	return out
}

// byteToken reads a token of the form <0x0A>.
func byteToken(t string) (byte, bool) {
	if len(t) != 6 || t[:3] != "<0x" || t[5] != '>' {
		return 0, false
	}
	hi, ok1 := hexDigit(t[3])
	lo, ok2 := hexDigit(t[4])
	return hi<<4 | lo, ok1 && ok2
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10, true
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10, true
	}
	return 0, false
}

// metaspaceDecoder turns marks into spaces, and drops those of the first token
// where one was put in front on encoding.
func metaspaceDecoder(s *step) (decoder, error) {
	mark := s.Replacement
	if utf8.RuneCountInString(mark) != 1 {
		return nil, fmt.Errorf("decoder Metaspace: replacement %q is not one character", mark)
	}
	drop := s.PrependScheme != "never"
	if s.PrependScheme == "" {
		drop = on(s.AddPrefixSpace)
	}
	return func(tokens []string) []string {
		for i := range tokens {
			if i == 0 && drop {
				tokens[i] = strings.ReplaceAll(tokens[i], mark, "")
			} else {
				tokens[i] = strings.ReplaceAll(tokens[i], mark, " ")
			}
		}
		return tokens
	}, nil
}

// stripDecoder takes up to Start leading and Stop trailing copies of a
// character off each text.
func stripDecoder(s *step) (decoder, error) {
	if s.Content == nil || utf8.RuneCountInString(*s.Content) != 1 {
		return nil, errors.New("decoder Strip: content is not one character")
	}
	if s.Start < 0 || s.Stop < 0 {
		return nil, fmt.Errorf("decoder Strip: start %d, stop %d", s.Start, s.Stop)
	}
	content, start, stop := *s.Content, s.Start, s.Stop
	return func(tokens []string) []string {
		for i, t := range tokens {
			for k := 0; k < start && strings.HasPrefix(t, content); k++ {
				t = t[len(content):]
			}
			for k := 0; k < stop && strings.HasSuffix(t, content); k++ {
				t = t[:len(t)-len(content)]
			}
			tokens[i] = t
		}
		return tokens
	}, nil
}

// validUTF8 replaces what is not UTF-8: each longest stretch of bytes that
// begins a character but does not end it, and each byte that begins none,
// becomes one U+FFFD (Unicode 15, section 3.9, "substitution of maximal
// subparts"; what Python and Rust do, while Go's own functions differ).
func validUTF8(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if r != utf8.RuneError || n > 1 {
			b.WriteString(s[i : i+n])
			i += n
			continue
		}
		b.WriteString("\uFFFD")
		i += subpart(s[i:])
	}
	return b.String()
}

// subpart is the length of the maximal subpart at the start of s, which does
// not begin with a whole character.
func subpart(s string) int {
	want, lo, hi := 0, byte(0x80), byte(0xbf) // trailing bytes, range of the first
	switch c := s[0]; {
	case c >= 0xc2 && c <= 0xdf:
		want = 1
	case c == 0xe0:
		want, lo = 2, 0xa0
	case c == 0xed:
		want, hi = 2, 0x9f
	case c >= 0xe1 && c <= 0xef:
		want = 2
	case c == 0xf0:
		want, lo = 3, 0x90
	case c == 0xf4:
		want, hi = 3, 0x8f
	case c >= 0xf1 && c <= 0xf3:
		want = 3
	}
	n := 1
	for n <= want && n < len(s) && s[n] >= lo && s[n] <= hi {
		n++
		lo, hi = 0x80, 0xbf
	}
	return n
}

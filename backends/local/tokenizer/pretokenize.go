package tokenizer

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/evalrun/evalrun/internal/pieces"
)

// piece is a stretch of text on its way to the model; first tells whether it
// begins where the input begins.
type piece struct {
	text  string
	first bool
}

// A splitter cuts one piece into several and appends those that are not empty
// to dst. The error is that of a pattern which ran out of time.
type splitter func(dst []piece, p piece) ([]piece, error)

const splitterTypes = "Sequence Split ByteLevel Metaspace Digits Whitespace WhitespaceSplit Punctuation"

// buildSplitter gives nil for no pre-tokenizer. byteLevel tells that the pieces
// go to the model as bytes, in the disguise that the vocabulary wears.
func buildSplitter(s *step) (split splitter, byteLevel bool, err error) {
	if s == nil {
		return nil, false, nil
	}
	switch s.Type {
	case "Sequence":
		return buildSequence(s.Pretokenizers)
	case "Split":
		p, err := parsePattern(s.Pattern)
		if err != nil {
			return nil, false, fmt.Errorf("pre-tokenizer Split: %w", err)
		}
		b, ok := behaviors[s.Behavior]
		if !ok {
			return nil, false, fmt.Errorf("pre-tokenizer Split: behavior %q is not one of Removed Isolated MergedWithPrevious MergedWithNext Contiguous", s.Behavior)
		}
		if p.scan != nil && (s.Behavior == "Isolated" && !s.Invert || s.Behavior == "Removed" && s.Invert) {
			return scanSplitter(p.scan), false, nil
		}
		return patternSplitter(p, b, s.Invert), false, nil
	case "ByteLevel":
		prefix := on(s.AddPrefixSpace)
		regex := on(s.UseRegex)
		scan := scanSplitter(scanGPT2)
		return func(dst []piece, p piece) ([]piece, error) {
			if prefix && !strings.HasPrefix(p.text, " ") {
				p.text = " " + p.text
			}
			if regex {
				return scan(dst, p)
			}
			return append(dst, p), nil
		}, true, nil
	case "Metaspace":
		split, err := metaspace(s)
		return split, false, err
	case "Digits":
		b := contiguous
		if s.IndividualDigits {
			b = isolated
		}
		return runeSplitter(pieces.IsNumber, b), false, nil
	case "Whitespace":
		return splitWhitespace, false, nil
	case "WhitespaceSplit":
		return runeSplitter(unicode.IsSpace, removed), false, nil
	case "Punctuation":
		b, ok := behaviors[s.Behavior]
		if s.Behavior == "" {
			b, ok = isolated, true
		}
		if !ok {
			return nil, false, fmt.Errorf("pre-tokenizer Punctuation: behavior %q is not known", s.Behavior)
		}
		return runeSplitter(isPunctuation, b), false, nil
	}
	return nil, false, unknownType("pre-tokenizer", s.Type, splitterTypes)
}

func buildSequence(steps []step) (splitter, bool, error) {
	var list []splitter
	last := false
	for i := range steps {
		if last {
			return nil, false, fmt.Errorf("pre-tokenizer Sequence: %s after ByteLevel is not supported: it would see bytes in disguise", steps[i].Type)
		}
		split, byteLevel, err := buildSplitter(&steps[i])
		if err != nil {
			return nil, false, err
		}
		last = byteLevel
		list = append(list, split)
	}
	if len(list) == 1 {
		return list[0], last, nil
	}
	return chain(list), last, nil
}

// chain splits by each in turn.
func chain(list []splitter) splitter {
	return func(dst []piece, p piece) (_ []piece, err error) {
		from := len(dst)
		dst = append(dst, p)
		for _, split := range list {
			in := slices.Clone(dst[from:])
			dst = dst[:from]
			for _, q := range in {
				if dst, err = split(dst, q); err != nil {
					return nil, err
				}
			}
		}
		return dst, nil
	}
}

// scanSplitter isolates what a scanner finds, which covers the text.
func scanSplitter(scan scanner) splitter {
	return func(dst []piece, p piece) ([]piece, error) {
		for text := p.text; len(text) > 0; {
			n := scan(text)
			dst = append(dst, piece{text[:n], p.first})
			text, p.first = text[n:], false
		}
		return dst, nil
	}
}

func patternSplitter(pat *pattern, b behavior, invert bool) splitter {
	return func(dst []piece, p piece) ([]piece, error) {
		found, err := pat.all(nil, p.text)
		if err != nil {
			return nil, err
		}
		if invert {
			for i := range found {
				found[i].hit = !found[i].hit
			}
		}
		return b(dst, p, found), nil
	}
}

// runeSplitter takes every character of which is tells true for a hit.
func runeSplitter(is func(rune) bool, b behavior) splitter {
	return func(dst []piece, p piece) ([]piece, error) {
		var found []match
		at := 0
		for i := 0; i < len(p.text); {
			r, n := utf8.DecodeRuneInString(p.text[i:])
			if is(r) {
				if i > at {
					found = append(found, match{at, i, false})
				}
				found = append(found, match{i, i + n, true})
				at = i + n
			}
			i += n
		}
		if at < len(p.text) {
			found = append(found, match{at, len(p.text), false})
		}
		return b(dst, p, found), nil
	}
}

// A behavior says what becomes of hits and of what lies between them.
type behavior func(dst []piece, p piece, found []match) []piece

var behaviors = map[string]behavior{
	"Removed": removed, "Isolated": isolated, "Contiguous": contiguous,
	"MergedWithPrevious": mergedWithPrevious, "MergedWithNext": mergedWithNext,
}

func emit(dst []piece, p piece, found []match) []piece {
	for _, m := range found {
		if m.end > m.begin {
			dst = append(dst, piece{p.text[m.begin:m.end], p.first && m.begin == 0})
		}
	}
	return dst
}

func removed(dst []piece, p piece, found []match) []piece {
	kept := found[:0]
	for _, m := range found {
		if !m.hit {
			kept = append(kept, m)
		}
	}
	return emit(dst, p, kept)
}

func isolated(dst []piece, p piece, found []match) []piece { return emit(dst, p, found) }

func contiguous(dst []piece, p piece, found []match) []piece {
	var joined []match
	for _, m := range found {
		if n := len(joined); n > 0 && joined[n-1].hit == m.hit {
			joined[n-1].end = m.end
		} else {
			joined = append(joined, m)
		}
	}
	return emit(dst, p, joined)
}

// mergedWithPrevious joins a hit to what stands before it; of several hits in
// a row only the first is joined.
func mergedWithPrevious(dst []piece, p piece, found []match) []piece {
	var joined []match
	previous := false
	for _, m := range found {
		if n := len(joined); m.hit && !previous && n > 0 {
			joined[n-1].end = m.end
		} else {
			joined = append(joined, m)
		}
		previous = m.hit
	}
	return emit(dst, p, joined)
}

// mergedWithNext joins a hit to what follows it; of several hits in a row only
// the last is joined.
func mergedWithNext(dst []piece, p piece, found []match) []piece {
	var joined []match
	previous := false
	for _, m := range slices.Backward(found) {
		if n := len(joined); m.hit && !previous && n > 0 {
			joined[n-1].begin = m.begin
		} else {
			joined = append(joined, m)
		}
		previous = m.hit
	}
	slices.Reverse(joined)
	return emit(dst, p, joined)
}

// metaspace writes spaces as a visible mark, puts one in front, and cuts
// before each mark.
func metaspace(s *step) (splitter, error) {
	mark := s.Replacement
	if utf8.RuneCountInString(mark) != 1 {
		return nil, fmt.Errorf("pre-tokenizer Metaspace: replacement %q is not one character", mark)
	}
	scheme := s.PrependScheme
	if scheme == "" {
		scheme = "always"
		if !on(s.AddPrefixSpace) {
			scheme = "never"
		}
	}
	if scheme != "always" && scheme != "first" && scheme != "never" {
		return nil, fmt.Errorf("pre-tokenizer Metaspace: prepend_scheme %q is not one of always first never", scheme)
	}
	cut := on(s.Split)
	pat := &pattern{literal: mark}
	return func(dst []piece, p piece) ([]piece, error) {
		p.text = strings.ReplaceAll(p.text, " ", mark)
		if (scheme == "always" || scheme == "first" && p.first) && !strings.HasPrefix(p.text, mark) {
			p.text = mark + p.text
		}
		if !cut {
			return append(dst, p), nil
		}
		found, err := pat.all(nil, p.text)
		if err != nil {
			return nil, err
		}
		return mergedWithNext(dst, p, found), nil
	}, nil
}

// splitWhitespace is \w+|[^\w\s]+: runs of word characters and runs of other
// visible ones; white space is left out.
func splitWhitespace(dst []piece, p piece) ([]piece, error) {
	kind := func(r rune) int {
		switch {
		case isWord(r):
			return 1
		case unicode.IsSpace(r):
			return 0
		}
		return 2
	}
	begin, last := 0, 0
	flush := func(end int) {
		if last != 0 && end > begin {
			dst = append(dst, piece{p.text[begin:end], p.first && begin == 0})
		}
	}
	for i := 0; i < len(p.text); {
		r, n := utf8.DecodeRuneInString(p.text[i:])
		if k := kind(r); k != last {
			flush(i)
			begin, last = i, k
		}
		i += n
	}
	flush(len(p.text))
	return dst, nil
}

// isPunctuation is every ASCII sign and every character of category P, as Unicode
// had it when the reference's table was made.
func isPunctuation(r rune) bool {
	if r < utf8.RuneSelf {
		return r > ' ' && r < 0x7f && !unicode.IsLetter(r) && !unicode.IsNumber(r)
	}
	return unicode.IsPunct(r) && !unicode.Is(laterPunctuation, r) || r == 0x166d || r == 0x111c9
}

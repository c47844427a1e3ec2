package tokenizer

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// A normalizer rewrites a piece of text before it is split. It tells whether the
// text begins later than it did, what stood first being taken out. The error is
// that of a pattern which ran out of time.
type normalizer func(string) (text string, later bool, err error)

// normalizerTypes are what buildNormalizer knows, for messages.
const normalizerTypes = "Sequence NFC NFD NFKC NFKD Lowercase Strip StripAccents Replace Prepend"

// step is one node of the normalizer, pre_tokenizer, post_processor or decoder
// of a tokenizer.json. One type holds the fields of all; absent ones are nil.
type step struct {
	Type string `json:"type"`

	Normalizers   []step `json:"normalizers"`
	Pretokenizers []step `json:"pretokenizers"`
	Processors    []step `json:"processors"`
	Decoders      []step `json:"decoders"`

	Pattern json.RawMessage `json:"pattern"` // {"String": s} or {"Regex": p}
	Content *string         `json:"content"`
	Prepend *string         `json:"prepend"`

	StripLeft  *bool `json:"strip_left"`
	StripRight *bool `json:"strip_right"`
	Start      int   `json:"start"`
	Stop       int   `json:"stop"`

	AddPrefixSpace   *bool  `json:"add_prefix_space"`
	UseRegex         *bool  `json:"use_regex"`
	Behavior         string `json:"behavior"`
	Invert           bool   `json:"invert"`
	IndividualDigits bool   `json:"individual_digits"`
	Replacement      string `json:"replacement"`
	PrependScheme    string `json:"prepend_scheme"`
	Split            *bool  `json:"split"`

	Single        []templateItem             `json:"single"`
	SpecialTokens map[string]templateSpecial `json:"special_tokens"`
	Cls           *clsSep                    `json:"cls"`
	Sep           *clsSep                    `json:"sep"`
}

// on is the value of an optional flag whose default is true.
func on(b *bool) bool { return b == nil || *b }

// unknownType says that a step is of a kind that is not implemented.
func unknownType(what, typ, known string) error {
	return fmt.Errorf("%s of type %q is not supported; supported are %s", what, typ, known)
}

// buildNormalizer gives nil for no normalizer.
func buildNormalizer(s *step) (normalizer, error) {
	if s == nil {
		return nil, nil
	}
	switch s.Type {
	case "Sequence":
		var list []normalizer
		for i := range s.Normalizers {
			n, err := buildNormalizer(&s.Normalizers[i])
			if err != nil {
				return nil, err
			}
			list = append(list, n)
		}
		return func(text string) (string, bool, error) {
			later := false
			for _, n := range list {
				next, cut, err := n(text)
				if err != nil {
					return "", false, err
				}
				text, later = next, later || cut
			}
			return text, later, nil
		}, nil
	case "NFC":
		return form(norm.NFC), nil
	case "NFD":
		return form(norm.NFD), nil
	case "NFKC":
		return form(norm.NFKC), nil
	case "NFKD":
		return form(norm.NFKD), nil
	case "Lowercase":
		return func(text string) (string, bool, error) { return lower(text), false, nil }, nil
	case "Strip":
		left, right := on(s.StripLeft), on(s.StripRight)
		return func(text string) (string, bool, error) {
			n := len(text)
			if left {
				text = strings.TrimLeftFunc(text, unicode.IsSpace)
			}
			later := len(text) < n
			if right {
				text = strings.TrimRightFunc(text, unicode.IsSpace)
			}
			return text, later, nil
		}, nil
	case "StripAccents":
		return func(text string) (string, bool, error) {
			rest := strings.TrimLeftFunc(text, isMark)
			return strings.Map(func(r rune) rune {
				if isMark(r) {
					return -1
				}
				return r
			}, rest), len(rest) < len(text), nil
		}, nil
	case "Replace":
		p, content, err := s.replacePattern()
		if err != nil {
			return nil, fmt.Errorf("normalizer Replace: %w", err)
		}
		return func(text string) (string, bool, error) {
			out, later, err := p.replace(text, content)
			return out, later && content == "", err
		}, nil
	case "Prepend":
		if s.Prepend == nil {
			return nil, fmt.Errorf("normalizer Prepend: no prepend")
		}
		prefix := *s.Prepend
		return func(text string) (string, bool, error) {
			if text == "" {
				return "", false, nil
			}
			return prefix + text, false, nil
		}, nil
	}
	return nil, unknownType("normalizer", s.Type, normalizerTypes)
}

func form(f norm.Form) normalizer {
	return func(text string) (string, bool, error) { return f.String(text), false, nil }
}

// lower is Unicode's full lower case of each character by itself, without
// regard to what stands around it.
func lower(text string) string {
	text = strings.ToLower(strings.ReplaceAll(text, "İ", "i̇"))
	return text
}

// replacePattern are the two parts that a Replace step needs.
func (s *step) replacePattern() (*pattern, string, error) {
	p, err := parsePattern(s.Pattern)
	if err != nil {
		return nil, "", err
	}
	if s.Content == nil {
		return nil, "", fmt.Errorf("no content")
	}
	return p, *s.Content, nil
}

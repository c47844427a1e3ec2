package tokenizer

import (
	"sort"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/evalrun/evalrun/internal/pieces"
)

// addedToken is a token that is found in the text before anything else is done
// to it. The fields are those of tokenizer.json.
type addedToken struct {
	ID         int32  `json:"id"`
	Content    string `json:"content"`
	SingleWord bool   `json:"single_word"` // only between non-word characters
	LStrip     bool   `json:"lstrip"`      // takes the white space before it along
	RStrip     bool   `json:"rstrip"`      // and that after it
	Normalized bool   `json:"normalized"`  // is looked for in the normalised text
	Special    bool   `json:"special"`     // left out of decoded text on request
}

// addedSet finds added tokens in a text: the leftmost, and of those the longest.
type addedSet struct {
	byFirst [256][]addedPattern // by first byte, longest first
	any     bool
}

type addedPattern struct {
	text string
	addedToken
}

// newAddedSet makes a set of patterns; texts are parallel to tokens.
func newAddedSet(tokens []addedToken, texts []string) *addedSet {
	set := &addedSet{}
	for i, t := range tokens {
		if text := texts[i]; text != "" {
			set.byFirst[text[0]] = append(set.byFirst[text[0]], addedPattern{text, t})
			set.any = true
		}
	}
	for i := range set.byFirst {
		list := set.byFirst[i]
		sort.SliceStable(list, func(a, b int) bool { return len(list[a].text) > len(list[b].text) })
	}
	return set
}

// part is a stretch of text that is either an added token or still to be
// encoded (id is none).
type part struct {
	piece
	id int32
}

// split cuts p at the added tokens and appends the parts that are not empty.
// Where literal is set, special tokens are text like any other.
func (set *addedSet) split(dst []part, p piece, literal bool) []part {
	if !set.any {
		return append(dst, part{p, none})
	}
	text := p.text
	done := 0 // up to here the text is cut
	for i := 0; i < len(text); {
		hit := set.match(text, i)
		if hit == nil {
			i++
			continue
		}
		begin, end := i, i+len(hit.text)
		i = end
		if literal && hit.Special {
			continue
		}
		if hit.SingleWord && (wordBefore(text[:begin]) || wordAfter(text[end:])) {
			continue
		}
		// A token in the white space that the one before took along is taken too:
		// the text between is then counted twice, or not at all.
		if hit.LStrip {
			begin = max(done, len(strings.TrimRightFunc(text[:begin], unicode.IsSpace)))
		}
		if hit.RStrip {
			end = len(text) - len(strings.TrimLeftFunc(text[end:], unicode.IsSpace))
		}
		if begin >= end {
			continue
		}
		if begin > done {
			dst = append(dst, part{piece{text[done:begin], p.first && done == 0}, none})
		}
		dst = append(dst, part{piece{text[begin:end], p.first && begin == 0}, hit.ID})
		done = end
	}
	if done < len(text) {
		dst = append(dst, part{piece{text[done:], p.first && done == 0}, none})
	}
	return dst
}

// match is the longest pattern at text[i], or nil.
func (set *addedSet) match(text string, i int) *addedPattern {
	list := set.byFirst[text[i]]
	for k := range list {
		if strings.HasPrefix(text[i:], list[k].text) {
			return &list[k]
		}
	}
	return nil
}

func wordBefore(s string) bool {
	r, n := utf8.DecodeLastRuneInString(s)
	return n > 0 && isWord(r)
}

func wordAfter(s string) bool {
	r, n := utf8.DecodeRuneInString(s)
	return n > 0 && isWord(r)
}

// isWord is \w as Unicode's regular expressions define it (UTS 18, annex C):
// letters, marks, decimal digits, connectors, joiners.
func isWord(r rune) bool {
	return pieces.IsLetter(r) || unicode.In(r, unicode.M, unicode.Nd, unicode.Nl, unicode.Pc, unicode.Other_Alphabetic, unicode.Join_Control)
}

package metrics

import (
	"fmt"
	"slices"
	"strings"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/extract"
	"github.com/evalrun/evalrun/core/text"
)

// punctuation is Python's string.punctuation.
const punctuation = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"

// exactMatchFactory makes the comparison of whole texts, with the options of
// lm-eval's and Hugging Face's exact_match, applied to both sides in their
// order: regexes_to_ignore, ignore_case, ignore_punctuation, ignore_numbers.
// Strict takes outer white space off as well, unless strip is false.
func exactMatchFactory() Factory {
	return Factory{
		Name: "exact_match", Summary: "the whole answer equals a target",
		Params: []string{"ignore_case", "ignore_punctuation", "ignore_numbers", "regexes_to_ignore", "strip"},
		make: func(spec core.MetricSpec, profile core.Profile) (core.Metric, error) {
			normal, err := normaliser(spec.Params, profile == core.Strict)
			if err != nil {
				return nil, err
			}
			info := core.MetricInfo{Name: "exact_match", Profile: profile, Low: 0, High: 1, HigherIsBetter: true, Binary: true}
			return &itemMetric{info, func(it *core.Item) core.Score {
				if it.ExtractFailed {
					return failed(extractionFailed)
				}
				answer, err := normal(it.Text)
				if err != nil {
					return failed(err.Error())
				}
				return hit(it.Text, slices.ContainsFunc(it.Targets, func(t string) bool {
					target, err := normal(t)
					return err == nil && target == answer
				}))
			}}, nil
		},
	}
}

// normaliser makes what exact_match compares of a text. Its error is that of a
// pattern that takes too long.
func normaliser(params map[string]any, strip bool) (func(string) (string, error), error) {
	flags := map[string]bool{"strip": strip}
	for _, name := range []string{"ignore_case", "ignore_punctuation", "ignore_numbers", "strip"} {
		if _, given := params[name]; !given {
			continue
		}
		var err error
		if flags[name], err = boolParam(params, name); err != nil {
			return nil, err
		}
	}
	sources, err := textsParam(params, "regexes_to_ignore")
	if err != nil {
		return nil, err
	}
	var patterns []*extract.Pattern
	for _, s := range sources {
		p, err := extract.Compile(s, "", extract.DefaultTimeout)
		if err != nil {
			return nil, fmt.Errorf("parameter regexes_to_ignore: %s: %w", s, err)
		}
		patterns = append(patterns, p)
	}
	drop := ""
	if flags["ignore_punctuation"] {
		drop = punctuation
	}
	if flags["ignore_numbers"] {
		drop += "0123456789"
	}
	return func(s string) (string, error) {
		for _, p := range patterns {
			var err error
			if s, err = p.Remove(s); err != nil {
				return "", err
			}
		}
		if flags["ignore_case"] {
			s = text.Lower(s)
		}
		s = without(s, drop)
		if flags["strip"] {
			s = text.Strip(s)
		}
		return s, nil
	}, nil
}

// without takes the characters of a set out of a text.
func without(s, set string) string {
	if !strings.ContainsAny(s, set) {
		return s
	}
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(set, r) {
			return -1
		}
		return r
	}, s)
}

// tokenF1Factory makes SQuAD's F1: the F-measure of the words that answer and
// target have in common, each as often as both have it, after lower case and
// without punctuation and the articles a, an and the. Two texts without words
// score 1, one of them 0. The best target counts.
func tokenF1Factory() Factory {
	return Factory{Name: "token_f1", Summary: "SQuAD's F1: words in common, without punctuation and articles",
		make: func(_ core.MetricSpec, profile core.Profile) (core.Metric, error) {
			info := core.MetricInfo{Name: "token_f1", Profile: profile, Low: 0, High: 1, HigherIsBetter: true}
			return &itemMetric{info, func(it *core.Item) core.Score {
				if it.ExtractFailed {
					return failed(extractionFailed)
				}
				answer := squadWords(it.Text)
				s := core.Score{Extracted: it.Text}
				for _, t := range it.Targets {
					s.Value = max(s.Value, wordF1(answer, squadWords(t)))
				}
				return s
			}}, nil
		}}
}

// squadWords is SQuAD's normalisation: an article is dropped where no word
// character touches it.
func squadWords(s string) []string {
	s = without(text.Lower(s), punctuation)
	var words []string
	var word strings.Builder
	flush := func() {
		switch word.String() {
		case "", "a", "an", "the":
		default:
			words = append(words, word.String())
		}
		word.Reset()
	}
	// An article may stand inside of what white space cuts: "a\u0301b" is one
	// word, and "the–end" loses its article. So words are cut at white space,
	// and within them articles between characters that are none of a word.
	for _, field := range text.Split(s) {
		runes := []rune(field)
		for i := 0; i < len(runes); {
			j := i
			for j < len(runes) && text.IsWord(runes[j]) == text.IsWord(runes[i]) {
				j++
			}
			part := string(runes[i:j])
			if part == "a" || part == "an" || part == "the" {
				flush() // re.sub puts a blank in its place
			} else {
				word.WriteString(part)
			}
			i = j
		}
		flush()
	}
	return words
}

func wordF1(answer, target []string) float64 {
	if len(answer) == 0 || len(target) == 0 {
		if len(answer) == len(target) {
			return 1
		}
		return 0
	}
	left := map[string]int{}
	for _, w := range target {
		left[w]++
	}
	same := 0
	for _, w := range answer {
		if left[w] > 0 {
			left[w]--
			same++
		}
	}
	return text.NewPRF(same, len(answer), len(target)).F
}

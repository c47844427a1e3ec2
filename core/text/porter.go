package text

import "strings"

// porterIrregular holds the words that NLTK's stemmer looks up before any rule.
var porterIrregular = map[string]string{
	"sky": "sky", "skies": "sky", "dying": "die", "lying": "lie", "tying": "tie", "news": "news",
	"innings": "inning", "inning": "inning", "outings": "outing", "outing": "outing",
	"cannings": "canning", "canning": "canning", "howe": "howe",
	"proceed": "proceed", "exceed": "exceed", "succeed": "succeed",
}

type porterRule struct{ suffix, replacement string }

var (
	porterStep2 = []porterRule{
		{"ational", "ate"}, {"tional", "tion"}, {"enci", "ence"}, {"anci", "ance"}, {"izer", "ize"}, {"bli", "ble"},
		{"alli", "al"}, {"entli", "ent"}, {"eli", "e"}, {"ousli", "ous"}, {"ization", "ize"}, {"ation", "ate"},
		{"ator", "ate"}, {"alism", "al"}, {"iveness", "ive"}, {"fulness", "ful"}, {"ousness", "ous"},
		{"aliti", "al"}, {"iviti", "ive"}, {"biliti", "ble"}, {"fulli", "ful"}, {"logi", "log"},
	}
	porterStep3 = []porterRule{
		{"icate", "ic"}, {"ative", ""}, {"alize", "al"}, {"iciti", "ic"}, {"ical", "ic"}, {"ful", ""}, {"ness", ""},
	}
	porterStep4 = []string{"al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "ion",
		"ou", "ism", "ate", "iti", "ous", "ive", "ize"}
)

// porterStem stems one lower-case token as NLTK's PorterStemmer does in its
// default mode: M. F. Porter, "An algorithm for suffix stripping", Program 14
// (1980), with Porter's own later changes and NLTK's (irregular words, short
// words in -ies and -ied, y only after a consonant, -alli twice, -fulli). In
// every step the first rule whose suffix fits decides, even when its condition
// then keeps the word as it is.
func porterStem(token []byte) string {
	w := string(token)
	if stem, ok := porterIrregular[w]; ok {
		return stem
	}
	if len(w) <= 2 {
		return w
	}
	w = porterPlural(w)
	w = porterPast(w)
	if s, ok := strings.CutSuffix(w, "y"); ok && len(s) > 1 && consonant(s, len(s)-1) {
		w = s + "i"
	}
	w = porterDouble(w)
	for _, r := range porterStep3 {
		if s, ok := strings.CutSuffix(w, r.suffix); ok {
			if measure(s) > 0 {
				w = s + r.replacement
			}
			break
		}
	}
	for _, suffix := range porterStep4 {
		if s, ok := strings.CutSuffix(w, suffix); ok {
			if measure(s) > 1 && (suffix != "ion" || strings.HasSuffix(s, "s") || strings.HasSuffix(s, "t")) {
				w = s
			}
			break
		}
	}
	if s, ok := strings.CutSuffix(w, "e"); ok {
		if m := measure(s); m > 1 || m == 1 && !endsCVC(s) {
			w = s
		}
	}
	if strings.HasSuffix(w, "ll") && measure(w[:len(w)-1]) > 1 {
		w = w[:len(w)-1]
	}
	return w
}

// porterPlural is step 1a.
func porterPlural(w string) string {
	switch {
	case strings.HasSuffix(w, "ies") && len(w) == 4:
		return w[:3]
	case strings.HasSuffix(w, "sses"), strings.HasSuffix(w, "ies"):
		return w[:len(w)-2]
	case strings.HasSuffix(w, "ss"):
		return w
	}
	return strings.TrimSuffix(w, "s")
}

// porterPast is step 1b.
func porterPast(w string) string {
	if s, ok := strings.CutSuffix(w, "ied"); ok {
		if len(w) == 4 {
			return s + "ie"
		}
		return s + "i"
	}
	if s, ok := strings.CutSuffix(w, "eed"); ok {
		if measure(s) > 0 {
			return s + "ee"
		}
		return w
	}
	s, ok := strings.CutSuffix(w, "ed")
	if !ok || !hasVowel(s) {
		s, ok = strings.CutSuffix(w, "ing")
		if !ok || !hasVowel(s) {
			return w
		}
	}
	last := s[len(s)-1]
	switch {
	case strings.HasSuffix(s, "at"), strings.HasSuffix(s, "bl"), strings.HasSuffix(s, "iz"):
		return s + "e"
	case len(s) >= 2 && last == s[len(s)-2] && consonant(s, len(s)-1):
		if last == 'l' || last == 's' || last == 'z' {
			return s
		}
		return s[:len(s)-1]
	case measure(s) == 1 && endsCVC(s):
		return s + "e"
	}
	return s
}

// porterDouble is step 2.
func porterDouble(w string) string {
	if s, ok := strings.CutSuffix(w, "alli"); ok && measure(s) > 0 {
		return porterDouble(s + "al")
	}
	for _, r := range porterStep2 {
		if s, ok := strings.CutSuffix(w, r.suffix); ok {
			condition := s
			if r.suffix == "logi" { // NLTK measures with the l
				condition = w[:len(w)-3]
			}
			if measure(condition) > 0 {
				return s + r.replacement
			}
			return w
		}
	}
	return w
}

// consonant tells whether letter i is one: no vowel, and a y only at the start
// or behind a vowel.
func consonant(w string, i int) bool {
	switch w[i] {
	case 'a', 'e', 'i', 'o', 'u':
		return false
	case 'y':
		// A run of y's alternates, so its parity and the letter before decide.
		start := i
		for start > 0 && w[start-1] == 'y' {
			start--
		}
		first := start == 0 || !consonant(w, start-1)
		return first == ((i-start)%2 == 0)
	}
	return true
}

// measure counts how often a vowel is followed by a consonant.
func measure(w string) int {
	m, wasConsonant := 0, true
	for i := range len(w) {
		is := true
		switch w[i] {
		case 'a', 'e', 'i', 'o', 'u':
			is = false
		case 'y':
			is = i == 0 || !wasConsonant
		}
		if is && !wasConsonant {
			m++
		}
		wasConsonant = is
	}
	return m
}

func hasVowel(w string) bool {
	for i := range len(w) {
		if !consonant(w, i) {
			return true
		}
	}
	return false
}

// endsCVC is Porter's *o: consonant, vowel, consonant other than w, x, y at the
// end; NLTK adds words of two letters, vowel and consonant.
func endsCVC(w string) bool {
	n := len(w)
	if n == 2 {
		return !consonant(w, 0) && consonant(w, 1)
	}
	return n >= 3 && consonant(w, n-3) && !consonant(w, n-2) && consonant(w, n-1) &&
		w[n-1] != 'w' && w[n-1] != 'x' && w[n-1] != 'y'
}

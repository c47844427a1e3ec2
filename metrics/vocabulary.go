package metrics

import (
	"slices"
	"strings"
	"unicode"

	"github.com/evalrun/evalrun/core/text"
)

// A vocabulary is the closed list of answers of a task, each with the words
// that stand for it. The zero value is no list: any answer counts as it is.
type vocabulary struct {
	words   []word
	numbers []numberWord
}

// A word is whole when no letter, digit or underscore touches it.
type word struct {
	runes []rune // lower case; a blank stands for any white space, or none inside CamelCase
	label string
	// letter is not 0 for a word of one letter, which must stand in its own
	// case ("a" is an article more often than an answer), unless it is alone.
	letter rune
}

type numberWord struct {
	value float64
	label string
}

// with adds a word that stands for a label. A number stands for its value:
// "1" is found in "1.0" and not in "10".
func (v vocabulary) with(label string, words ...string) vocabulary {
	for _, w := range words {
		w = text.Strip(w)
		if f, ok := text.ParseFloat(w); ok {
			v.numbers = append(v.numbers, numberWord{f, label})
			continue
		}
		runes := []rune(w)
		if len(runes) == 0 {
			continue
		}
		v.words = append(v.words, word{lowerRunes(runes), label, single(runes)})
		if spaced := spacedCamel(w); spaced != w {
			v.words = append(v.words, word{lowerRunes([]rune(spaced)), label, 0})
		}
	}
	return v
}

func single(runes []rune) rune {
	if len(runes) == 1 {
		return runes[0]
	}
	return 0
}

func lowerRunes(runes []rune) []rune {
	lower := make([]rune, len(runes))
	for i, r := range runes {
		lower[i] = unicode.ToLower(r)
	}
	return lower
}

// spacedCamel gives "Office Holder" for "OfficeHolder".
func spacedCamel(w string) string {
	var b strings.Builder
	before := ' '
	for _, r := range w {
		if unicode.IsUpper(r) && unicode.IsLower(before) {
			b.WriteByte(' ')
		}
		b.WriteRune(r)
		before = r
	}
	return b.String()
}

func labelVocabulary(labels []string) vocabulary {
	var v vocabulary
	for _, l := range labels {
		v = v.with(l, l)
	}
	return v
}

// find gives the label of the first whole word of the list in an answer; of
// words that begin at the same place the longest counts.
func (v vocabulary) find(answer string) (label string, found bool) {
	runes := []rune(answer)
	alone := onlyLetter(runes)
	for i := range runes {
		if i > 0 && text.IsWord(runes[i-1]) {
			continue
		}
		if value, end, ok := numberAt(runes, i); ok {
			if end > 0 {
				for _, n := range v.numbers {
					if n.value == value {
						return n.label, true
					}
				}
			}
			continue
		}
		longest := 0
		for _, w := range v.words {
			if end := w.at(runes, i, alone); end > longest {
				longest, label = end, w.label
			}
		}
		if longest > 0 {
			return label, true
		}
	}
	return "", false
}

// onlyLetter tells whether an answer is one letter among punctuation, "(b)".
func onlyLetter(runes []rune) bool {
	n := 0
	for _, r := range runes {
		if text.IsWord(r) {
			n++
		}
	}
	return n == 1
}

// at gives the end of the word at runes[i:], or 0 where it does not stand
// there as a whole word.
func (w word) at(runes []rune, i int, alone bool) int {
	for _, r := range w.runes {
		if r == ' ' {
			from := i
			for i < len(runes) && (text.IsSpace(runes[i]) || runes[i] == '_' || runes[i] == '-') {
				i++
			}
			if i == from {
				return 0
			}
			continue
		}
		if i >= len(runes) || unicode.ToLower(runes[i]) != r || w.letter != 0 && !alone && runes[i] != w.letter {
			return 0
		}
		i++
	}
	if i < len(runes) && text.IsWord(runes[i]) {
		return 0
	}
	return i
}

// numberAt reads a number at runes[i:]: a sign, digits with commas before
// groups of three, a fraction. ok says that a number begins here; end is 0 when
// it is none that counts (a letter touches it, a second point follows).
func numberAt(runes []rune, i int) (value float64, end int, ok bool) {
	digit := func(i int) bool { return i >= 0 && i < len(runes) && unicode.Is(unicode.Nd, runes[i]) }
	if !digit(i) {
		return 0, 0, false
	}
	start := i
	if s := start - 1; s >= 0 && (runes[s] == '-' || runes[s] == '+') && (s == 0 || !text.IsWord(runes[s-1])) {
		start = s
	}
	// ".5" is half, and the 5 of "1.5" is no number of its own.
	if s := i - 1; s >= 0 && runes[s] == '.' && !(s > 0 && text.IsWord(runes[s-1])) {
		start = s
	} else if s >= 1 && (runes[s] == '.' || runes[s] == ',') && digit(s-1) && (runes[s] == '.' || threeDigits(runes, i)) {
		return 0, 0, true
	}
	for digit(i) {
		i++
	}
	for i < len(runes) && runes[i] == ',' && threeDigits(runes, i+1) {
		i += 4
	}
	if i < len(runes) && runes[i] == '.' && digit(i+1) && runes[start] != '.' {
		for i++; digit(i); i++ {
		}
	}
	if i < len(runes) && (text.IsWord(runes[i]) || runes[i] == '.' && digit(i+1)) {
		return 0, 0, true
	}
	value, good := text.ParseFloat(strings.ReplaceAll(string(runes[start:i]), ",", ""))
	if !good {
		return 0, 0, true
	}
	return value, i, true
}

func threeDigits(runes []rune, i int) bool {
	for k := range 3 {
		if i+k >= len(runes) || !unicode.Is(unicode.Nd, runes[i+k]) {
			return false
		}
	}
	return i+3 >= len(runes) || !unicode.Is(unicode.Nd, runes[i+3])
}

// numbers lists the numbers of a text in order.
func numbers(s string) []float64 {
	runes := []rune(s)
	var all []float64
	for i := 0; i < len(runes); i++ {
		if i > 0 && text.IsWord(runes[i-1]) {
			continue
		}
		if value, end, ok := numberAt(runes, i); ok && end > 0 {
			all = append(all, value)
			i = end - 1
		}
	}
	return all
}

// The vocabularies of the report's tasks, for task files that list no labels.
var (
	dbpediaClasses = []string{"Company", "EducationalInstitution", "Artist", "Athlete", "OfficeHolder",
		"MeanOfTransportation", "Building", "NaturalPlace", "Village", "Animal", "Plant", "Album", "Film", "WrittenWork"}
	covidLabels   = []string{"Extremely Positive", "Positive", "Neutral", "Negative", "Extremely Negative"}
	supportLabels = []string{"replace card", "transfer money", "check balance", "order checks", "pay bill",
		"reset password", "schedule appointment", "get branch hours", "none of the above"}
	letterLabels = []string{"A", "B", "C", "D", "E", "1", "2", "3", "4", "5"}
)

func binaryVocabulary([]string) vocabulary {
	return vocabulary{}.with("1", "1", "yes", "true", "positive").with("0", "0", "no", "false", "negative")
}

// listed takes the task's labels, or else a function's own.
func listed(own []string) func(labels []string) vocabulary {
	return func(labels []string) vocabulary {
		if len(labels) == 0 {
			labels = own
		}
		return labelVocabulary(slices.Clone(labels))
	}
}

func digitVocabulary(digits ...string) func([]string) vocabulary { return listed(digits) }

func letterVocabulary(labels []string) vocabulary  { return listed(letterLabels)(labels) }
func covidVocabulary(labels []string) vocabulary   { return listed(covidLabels)(labels) }
func supportVocabulary(labels []string) vocabulary { return listed(supportLabels)(labels) }
func dbpediaVocabulary(labels []string) vocabulary { return listed(dbpediaClasses)(labels) }

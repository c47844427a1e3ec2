package demogen

import (
	"strconv"
	"strings"
)

// made returns an entry of a computed list: names that are mostly made up, so
// that a model has to copy them from the prompt and cannot learn them by
// heart (each world has syllables and endings of its own), and numbers.
func (g *gen) made(list string) (string, bool) {
	switch list {
	case "first":
		return g.mixed("firstname", "e_first", 0.5), true
	case "last":
		return g.mixed("surname", "e_last", 0.35), true
	case "city":
		return g.mixed("cityname", "e_city", 0.5), true
	case "person":
		return g.x("{first} {last}"), true
	case "made", "brand":
		return g.mixed("", "e_brand", 0), true
	case "drug":
		return strings.ToLower(g.mixed("drugname", "e_drug", 0.35)), true
	case "illness":
		return strings.ToLower(g.mixed("diseasename", "e_disease", 0.5)), true
	case "latin":
		return g.mixed("", "e_latin", 0) + " " + strings.ToLower(g.mixed("", "e_latin", 0)), true
	case "num":
		return strconv.Itoa(g.n(2, 990)), true
	case "year":
		return strconv.Itoa(g.n(1700, 2019)), true
	case "bignum":
		return strconv.Itoa(g.n(1, 900)) + g.of(",000", ",500", "00"), true
	}
	return "", false
}

// mixed returns an entry of a list of real names with probability real, else
// a made-up one: syllables of the world and one of the endings of the kind.
func (g *gen) mixed(list, endings string, real float64) string {
	if list != "" && g.p(real) {
		return g.x(g.of(g.list(list)...))
	}
	var b strings.Builder
	syllables := 1
	if g.p(0.2) {
		syllables = 2
	}
	for range syllables {
		b.WriteString(g.of(g.list("onset")...))
		b.WriteString(g.of(g.list("vowel")...))
	}
	b.WriteString(g.of(g.list("mid")...))
	b.WriteString(g.of(g.list(endings)...))
	return capital(b.String())
}

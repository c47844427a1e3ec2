package demogen

import (
	"strconv"
	"strings"
	"unicode"
)

// slots splits a tagged template and fills each one-letter slot with fill,
// which returns the words of an entity; every other token is plain text.
func (g *gen) slots(t string, fill func(kind string) []string, emit func(word, kind string, i int)) {
	for _, tok := range strings.Fields(t) {
		pre, post := "", ""
		i, j := strings.IndexByte(tok, '{'), strings.IndexByte(tok, '}')
		kind := ""
		if i >= 0 && j == i+2 {
			pre, kind, post = tok[:i], tok[i+1:j], tok[j+1:]
		}
		if kind == "" || !strings.Contains("CDPOLMW", kind) {
			emit(g.x(tok), "", 0)
			continue
		}
		for k, w := range fill(kind) {
			if k == 0 {
				w = pre + w
			}
			emit(w+post, kind, k)
			post = ""
		}
	}
}

// bc5cdr marks the chemicals and diseases of a sentence, word by word.
func bc5cdr(g *gen) item {
	var tokens []string
	var tags []int
	lists := map[string][]string{}
	t := g.of(g.list("bc")...)
	if g.p(0.2) {
		t += " " + g.of(g.list("bc")...)
	}
	fill := func(kind string) []string {
		if kind == "C" {
			if g.p(0.2) {
				return strings.Fields(g.x("{chem2}"))
			}
			d := g.x("{drug}")
			if g.p(0.2) {
				d = capital(d)
			} else if g.p(0.05) {
				d = strings.ToUpper(d[:2] + string(d[len(d)-1]))
			}
			return []string{d}
		}
		if g.p(0.4) {
			return strings.Fields(g.x("{disease2}"))
		}
		return []string{g.x("{illness}")}
	}
	g.slots(t, fill, func(w, kind string, i int) {
		tag := 0
		switch {
		case kind == "C" && i == 0:
			tag, lists["B-Chemical"] = 1, append(lists["B-Chemical"], w)
		case kind == "C":
			tag, lists["I-Chemical"] = 4, append(lists["I-Chemical"], w)
		case kind == "D" && i == 0:
			tag, lists["B-Disease"] = 2, append(lists["B-Disease"], w)
		case kind == "D":
			tag, lists["I-Disease"] = 3, append(lists["I-Disease"], w)
		}
		if len(tokens) == 0 {
			w2 := capital(w)
			if tag == 1 || tag == 2 {
				l := lists[[]string{"", "B-Chemical", "B-Disease"}[tag]]
				l[len(l)-1] = w2
			}
			w = w2
		}
		tokens, tags = append(tokens, w), append(tags, tag)
	})
	out := "{" + `"B-Chemical": ` + pyList(lists["B-Chemical"]) + `, "B-Disease": ` + pyList(lists["B-Disease"]) +
		`, "I-Disease": ` + pyList(lists["I-Disease"]) + `, "I-Chemical": ` + pyList(lists["I-Chemical"]) + "}"
	return item{row: row("tokens", tokens, "tags", tags),
		vars: map[string]string{"tokens_concatenated": strings.Join(tokens, " "), "collected_tags": out}}
}

// conllpp lists persons, organisations, places and other names of a sentence.
func conllpp(g *gen) item {
	var tokens []string
	var tags []int
	names := map[string][]string{}
	t := g.of(g.list("ner")...)
	if g.p(0.15) {
		t += " " + g.of(g.list("ner")...)
	}
	fill := func(kind string) []string {
		var s string
		switch kind {
		case "P":
			s = g.x(g.of("{person}", "{person}", "{last}", "{first} {last}"))
		case "O":
			s = g.x(g.of("{made} {orgsuffix}", "{city} {orgsuffix}", "{made}", "{city} {orgsuffix}", "University of {city}"))
		case "L":
			s = g.x(g.of("{city}", "{city}", "{country}"))
			s = capital(s)
		case "M":
			s = g.x(g.of("{nation}", "{nation}", "{nation}", "{event}"))
			if strings.Contains(t, "the {M}") || strings.Contains(t, "The {M} begins") {
				s = g.x("{event}")
			}
		default:
			s = g.x("{ttl}")
		}
		if s == strings.ToUpper(t) {
			s = strings.ToUpper(s)
		}
		return strings.Fields(s)
	}
	id := map[string][2]int{"P": {1, 2}, "O": {3, 4}, "L": {5, 6}, "M": {7, 8}, "W": {7, 8}}
	g.slots(t, fill, func(w, kind string, i int) {
		tag := 0
		if kind != "" {
			tag = id[kind][0]
			key := kind
			if kind == "W" {
				key = "M"
			}
			if i > 0 {
				tag = id[kind][1]
				l := names[key]
				l[len(l)-1] += " " + w
			} else {
				names[key] = append(names[key], w)
			}
		}
		tokens, tags = append(tokens, w), append(tags, tag)
	})
	zero := make([]int, len(tokens))
	out := `{"person": ` + pyList(names["P"]) + `, "organization": ` + pyList(names["O"]) + `, "location": ` + pyList(names["L"]) +
		`, "miscellaneous": ` + pyList(names["M"]) + "}"
	return item{row: row("id", strconv.Itoa(g.n(0, 3452)), "tokens", tokens, "pos_tags", zero, "chunk_tags", zero, "ner_tags", tags),
		vars: map[string]string{"input": strings.Join(tokens, " "), "output": out}}
}

// drop is a passage with names and numbers and a question that is answered by
// a copied name or number, a count or a difference.
func drop(g *gen) item {
	var s []string
	var q, a string
	if g.p(0.6) { // a match
		t1, t2 := g.x("{teamname}"), g.x("{teamname}")
		type play struct {
			who, team, kind string
			yards           int
		}
		var ps []play
		games := g.list("game")
		for range g.n(2, 5) {
			e := parts(games[g.n(0, len(games)-1)])
			p := play{g.x("{person}"), g.of(t1, t2), e[1], g.n(1, 59)}
			g.set("p", p.who)
			g.set("t", p.team)
			g.seti("y", p.yards)
			s = append(s, capital(g.x(e[0])))
			ps = append(ps, p)
		}
		one := ps[g.n(0, len(ps)-1)]
		g.set("p", one.who)
		g.set("k", one.kind)
		g.set("t", one.team)
		g.seti("y", one.yards)
		same, sum, long := 0, 0, one
		for _, p := range ps {
			if p.kind == one.kind {
				same++
				sum += p.yards
				if p.yards > long.yards {
					long = p
				}
			}
		}
		switch g.n(0, 5) {
		case 0, 1:
			q, a = g.x("{ask_yards}"), strconv.Itoa(one.yards)
		case 2:
			q, a = g.x("{ask_who_yards}"), one.who
		case 3:
			q, a = g.x("{ask_count}"), strconv.Itoa(same)
		case 4:
			q, a = g.x("{ask_longest}"), long.who
		default:
			q, a = g.x("{ask_team}"), one.team
		}
		s = append([]string{g.x("{opening_" + "game}")}, s...)
		s[0] = capital(strings.NewReplacer("T1", t1, "T2", t2).Replace(s[0]))
	} else { // people and years or shares
		c := g.x("{city}")
		g.set("c", c)
		v := g.r.Perm(60)
		kinds := g.some("people", 3)
		g.set("k1", kinds[0])
		g.set("k2", kinds[1])
		g.set("k3", kinds[2])
		g.seti("v1", v[0]+2)
		g.seti("v2", v[1]+2)
		g.seti("v3", v[2]+2)
		s = append(s, capital(g.x("{shares}")))
		switch g.n(0, 3) {
		case 0, 1:
			i := g.n(0, 2)
			g.set("k", kinds[i])
			q, a = g.x("{ask_share}"), strconv.Itoa(v[i]+2)
		case 2:
			i := 0
			if v[1] > v[i] {
				i = 1
			}
			if v[2] > v[i] {
				i = 2
			}
			q, a = g.x("{ask_most_people}"), kinds[i]
		default:
			i, j := 0, 1
			if v[i] < v[j] {
				i, j = j, i
			}
			g.set("k", kinds[i])
			g.set("l", kinds[j])
			q, a = g.x("{ask_more}"), strconv.Itoa(v[i]-v[j])
		}
	}
	return item{row: row("passage", strings.Join(s, " "), "question", q, "answers_spans", row("spans", []string{a})),
		vars: map[string]string{"answer": a}}
}

// titled gives each word a capital, as in headings.
func titled(s string) string {
	w := strings.Fields(s)
	for i, x := range w {
		r := []rune(x)
		r[0] = unicode.ToUpper(r[0])
		w[i] = string(r)
	}
	return strings.Join(w, " ")
}

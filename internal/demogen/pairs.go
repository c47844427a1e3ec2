package demogen

import (
	"sort"
	"strings"
)

// A verb phrase of the list vp: "base/third/past/ing rest".
type verbPhrase struct{ base, third, past, ing, rest string }

func (g *gen) vp() verbPhrase {
	e := g.of(g.list("vp")...)
	head, rest, _ := strings.Cut(e, " ")
	f := strings.Split(head, "/")
	if len(f) != 4 {
		g.fail("verb phrase %q: want base/third/past/ing", e)
		return verbPhrase{"do", "does", "did", "doing", "it"}
	}
	return verbPhrase{f[0], f[1], f[2], f[3], rest}
}

// other returns a verb phrase that differs from v in verb and object.
func (g *gen) other(v verbPhrase) verbPhrase {
	for range 50 {
		if w := g.vp(); w.base != v.base && w.rest != v.rest {
			return w
		}
	}
	return v
}

// be agrees with an agent of the list agent.
func be(agent string) string {
	first, _, _ := strings.Cut(agent, " ")
	switch first {
	case "two", "three", "some":
		return "are"
	}
	return "is"
}

func plural(agent string) bool { return be(agent) == "are" }

// cola is a sentence or a damaged twin of it.
func cola(g *gen) item {
	label := g.n(0, 1)
	v := g.vp()
	g.set("v3", v.third)
	g.set("vbase", v.base)
	g.set("vpast", v.past)
	g.set("ving", v.ing)
	g.set("vbase0", v.ing)
	g.set("o", v.rest)
	for { // the pairs are written for one agent
		a := g.x("{agent}")
		if !plural(a) {
			g.set("agent.1", a)
			break
		}
	}
	p := parts(g.of(g.list("cola_pair")...))
	s := g.x(p[1-label])
	if g.p(0.35) { // a plain sentence, whole or broken by rule
		s = capital(g.bind["agent.1"]) + " " + g.of(v.past, v.third, "is "+v.ing, "has never "+"been "+v.ing, "will "+v.base, "may "+v.base) + " " + v.rest + g.of("", " "+g.x("{place}"), " "+g.x("{place}")) + "."
		if label == 0 {
			s = g.damage(s, v)
		}
	}
	return item{row: row("sentence", capital(s), "label", label, "idx", g.n(0, 1042))}
}

// damage breaks a well-formed sentence so that no reader would accept it.
func (g *gen) damage(s string, v verbPhrase) string {
	w := strings.Fields(strings.TrimSuffix(s, "."))
	for try := 0; try < 20; try++ {
		c := append([]string{}, w...)
		switch g.n(0, 3) {
		case 0: // swap article or determiner with the next word
			for i := 0; i+1 < len(c); i++ {
				if l := strings.ToLower(c[i]); (l == "the" || l == "a" || l == "an" || l == "my") && g.p(0.6) {
					c[i], c[i+1] = strings.ToLower(c[i+1]), l
					break
				}
			}
		case 1: // a wrong form after an auxiliary
			for i := 0; i+1 < len(c); i++ {
				switch c[i] {
				case "is", "been":
					c[i+1] = v.past
					if v.past == v.base {
						c[i+1] = v.third
					}
				case "will", "may":
					c[i+1] = v.ing
				}
			}
		case 2: // an article twice or a stray preposition
			i := g.n(1, len(c)-1)
			c = append(c[:i], append([]string{g.of("the of", "a the", "to at", "is did")}, c[i:]...)...)
		case 3: // the verb last
			for i := range c {
				if c[i] == v.past || c[i] == v.third {
					x := c[i]
					c = append(append(c[:i:i], c[i+1:]...), x)
					break
				}
			}
		}
		if out := strings.Join(c, " "); out != strings.Join(w, " ") {
			return capital(out) + "."
		}
	}
	return "The the " + s
}

// mnli: 0 drops or rewords what was said, 1 adds what nobody said, 2 denies it.
func mnli(g *gen) item {
	label := g.n(0, 2)
	if g.p(0.3) {
		e := g.variants("nli")
		pair := strings.Split(g.of(g.list("antonym")...), "/")
		if g.p(0.5) {
			pair[0], pair[1] = pair[1], pair[0]
		}
		g.set("adj", pair[0])
		g.set("opp", pair[1])
		prem := g.X(e[0])
		return item{row: row("premise", prem, "hypothesis", g.X(e[1+label]), "label", label, "idx", g.n(0, 9814))}
	}
	a, v := g.x("{agent.1}"), g.vp()
	b, place, when := be(a), g.x("{place.1}"), g.x("{when}")
	now := g.p(0.5)
	clause := func(ag string, v verbPhrase, tail string) string {
		if now {
			return ag + " " + be(ag) + " " + v.ing + " " + v.rest + tail
		}
		return ag + " " + v.past + " " + v.rest + tail
	}
	tail := ""
	if now {
		tail = g.of("", " "+place, " "+place)
	} else {
		tail = g.of("", " "+place, " "+place+" "+when, " "+when)
	}
	if g.p(0.3) {
		tail += g.x(" {because}")
	}
	prem := clause(a, v, tail)
	if g.p(0.25) {
		prem = g.x("{person.1} {news_verb} that ") + prem
	}
	if g.p(0.2) {
		w := g.other(v)
		prem += " and then " + g.of(w.past+" "+w.rest, w.past+" "+w.rest)
	}
	hyp := ""
	w := g.other(v)
	switch label {
	case 0:
		hyp = g.of(clause(a, v, ""), clause(a, v, ""), clause("someone", v, ""), clause("somebody", v, ""), "it is true that "+clause(a, v, ""))
	case 1:
		hyp = g.of(clause(a, v, g.x(" {neutral}")), clause(a, w, g.x(" {neutral}")), g.x("{first} paid ")+strings.TrimPrefix(a, "a ")+" for it",
			a+" "+b+g.x(" {neutral_adj}"), clause(a, v, g.x(" {neutral}")))
	default:
		did := "did not " + v.base + " " + v.rest
		if now {
			did = b + " not " + v.ing + " " + v.rest
		}
		hyp = g.of(a+" "+did, a+" "+did, "nobody "+strings.TrimPrefix(clause("x", v, ""), "x "), "no one "+strings.TrimPrefix(clause("x", v, ""), "x "), a+" never "+v.past+" anything",
			a+" refused to "+v.base+" "+v.rest)
	}
	return item{row: row("premise", capital(prem)+".", "hypothesis", capital(hyp)+".", "label", label, "idx", g.n(0, 9814))}
}

// variants expands the equivalent forms of one entry with shared values.
func (g *gen) variants(list string) []string {
	return parts(g.of(g.list(list)...))
}

// paraphrase returns two sentences and whether they say the same. When they
// do not, one value of the second differs, or it is about something else.
func (g *gen) paraphrase(list string, same bool) (a, b string) {
	p := g.variants(list)
	i := g.n(0, len(p)-1)
	j := (i + g.n(1, len(p)-1)) % len(p)
	a = g.x(p[i])
	if same {
		return a, g.x(p[j])
	}
	if g.p(0.12) { // another subject altogether
		g.reset()
		q := g.variants(list)
		return a, g.x(q[g.n(0, len(q)-1)])
	}
	if g.p(0.4) {
		j = i
	}
	before := g.x(p[j])
	keys := make([]string, 0, len(g.bind))
	for k := range g.bind {
		keys = append(keys, k)
	}
	sort.Strings(keys) // maps have no order; the generator has
	g.r.Shuffle(len(keys), func(x, y int) { keys[x], keys[y] = keys[y], keys[x] })
	changes := g.n(1, 2)
	for _, k := range keys {
		old := g.bind[k]
		delete(g.bind, k)
		for range 20 {
			if b = g.x(p[j]); g.bind[k] != old {
				break
			}
			delete(g.bind, k)
		}
		if b != before {
			if changes--; changes == 0 {
				break
			}
		}
	}
	if b == before || b == "" { // nothing to change: take another entry
		g.reset()
		b = g.x(g.variants(list)[0])
	}
	return a, b
}

func mrpc(g *gen) item {
	label := g.n(0, 1)
	a, b := g.paraphrase("para", label == 1)
	if g.p(0.5) {
		a, b = tidy(a), tidy(b)
	}
	return item{row: row("sentence1", capital(a), "sentence2", capital(b), "label", label, "idx", g.n(0, 4075))}
}

func qqp(g *gen) item {
	label := g.n(0, 1)
	a, b := g.paraphrase("qpara", label == 1)
	return item{row: row("question1", a, "question2", b, "label", label, "idx", g.n(0, 9999))}
}

// stsb scores how much of who, what and where two sentences share.
func stsb(g *gen) item {
	a, v := g.x("{agent.1}"), g.vp()
	place := g.x("{place.1}")
	tail := g.of("", " "+place)
	s1 := a + " " + be(a) + " " + v.ing + " " + v.rest + tail
	w, a2 := g.other(v), g.x("{agent.2}")
	simple := a + " " + v.third + " " + v.rest
	if plural(a) {
		simple = a + " " + v.base + " " + v.rest
	}
	var s2 string
	var sc float64
	switch g.n(0, 5) {
	case 5:
		s2, sc = g.of(simple+tail, s1, v.rest+" "+g.of("is", "was")+" what "+a+" "+be(a)+" "+v.ing+tail), 5
		if s2 == s1 && g.p(0.5) {
			s2 = simple + tail
		}
	case 4:
		if tail == "" {
			tail = " " + place
			s2 = s1 + tail
		} else {
			s2 = strings.TrimSuffix(s1, tail)
		}
		sc = 4
	case 3:
		s2, sc = a2+" "+be(a2)+" "+v.ing+" "+v.rest+tail, 3
	case 2:
		s2, sc = a+" "+be(a)+" "+v.ing+" "+w.rest, 2
		if g.p(0.6) {
			s2 = a + " " + be(a) + " not " + v.ing + " " + v.rest
		}
	case 1:
		s2, sc = a+" "+be(a)+" "+w.ing+" "+w.rest, 1
	default:
		s2, sc = a2+" "+be(a2)+" "+w.ing+" "+w.rest+g.of("", g.x(" {place.2}")), 0
	}
	if g.p(0.5) {
		s1, s2 = s2, s1
	}
	l := score(sc)
	return item{row: row("sentence1", capital(s1)+".", "sentence2", capital(s2)+".", "label", l, "idx", g.n(0, 1499))}
}

// value makes an answer of a kind named in the list attr.
func (g *gen) value(kind string) string {
	return g.x("{" + kind + "}")
}

func qnli(g *gen) item {
	label := g.n(0, 1)
	at := g.variants("attr")
	g.set("P", g.x("{"+at[4]+"}"))
	g.set("v", g.value(at[3]))
	q := capital(g.x(at[0]))
	s := at[1]
	if label == 1 {
		for range 50 {
			o := g.variants("attr")
			if o[0] != at[0] && (o[4] == at[4] || g.p(0.1)) && !(o[3] == at[3] && strings.Fields(o[0])[0] == strings.Fields(at[0])[0]) {
				s = o[1]
				g.set("v", g.value(o[3]))
				break
			}
		}
	}
	text := capital(g.x(s))
	if g.p(0.3) { // a clause in front that answers nothing
		text = g.X("{asides}") + " " + g.x(s)
	}
	return item{row: row("question", q, "sentence", text, "label", label, "idx", g.n(0, 5462))}
}

func boolq(g *gen) item {
	yes := g.p(0.5)
	var facts []string
	var q string
	if g.p(0.45) {
		g.set("P", g.of(g.x("{made}"), g.x("the {made} Bridge"), g.x("{city}")))
		y := g.variants("attr_yes")
		k := 0
		if !yes {
			k = 1
		}
		facts = append(facts, capital(g.x(y[k])))
		q = g.x(y[2])
	} else {
		at := g.variants("attr")
		g.set("P", g.x("{"+at[4]+"}"))
		v := g.value(at[3])
		g.set("v", v)
		facts = append(facts, capital(g.x(at[1])))
		if !yes {
			for g.bind["v"] == v {
				g.set("v", g.value(at[3]))
			}
		}
		q = g.x(at[2])
	}
	for range g.n(0, 2) { // facts that do not matter
		at := g.variants("attr")
		g.set("P", g.x("{"+at[4]+"}"))
		g.set("v", g.value(at[3]))
		facts = append(facts, capital(g.x(at[1])))
	}
	g.r.Shuffle(len(facts), func(i, j int) { facts[i], facts[j] = facts[j], facts[i] })
	answer := "no"
	if yes {
		answer = "yes"
	}
	return item{row: row("question", strings.ToLower(strings.TrimSuffix(q, "?")), "answer", yes, "passage", strings.ReplaceAll(strings.Join(facts, " "), " .", ".")),
		vars: map[string]string{"answer": answer}}
}

// gap makes a sentence with a gap, its two options and which one fits.
func (g *gen) gap() (s string, opts [2]string, right int, why string) {
	t := g.of(g.list("wg")...)
	i, j := strings.IndexByte(t, '<'), strings.IndexByte(t, '>')
	if i < 0 || j < i {
		g.fail("template %q has no <p|q>", t)
		return "", opts, 0, ""
	}
	alts := strings.SplitN(t[i+1:j], "|", 2)
	right = g.n(0, 1)
	s = g.x(t[:i]) + alts[right] + t[j+1:]
	s = g.x(s)
	for _, kind := range []string{"first", "thing", "animal"} {
		if a, ok := g.bind[kind+".1"]; ok {
			if b, ok := g.bind[kind+".2"]; ok {
				return s, [2]string{a, b}, right, alts[right]
			}
		}
	}
	g.fail("template %q names no pair of options", t)
	return s, opts, right, ""
}

func winogrande(g *gen) item {
	s, o, right, _ := g.gap()
	if g.p(0.5) {
		o[0], o[1] = o[1], o[0]
		right = 1 - right
	}
	return item{row: row("sentence", s, "option1", o[0], "option2", o[1], "answer", []string{"1", "2"}[right])}
}

func wnli(g *gen) item {
	s, o, right, _ := g.gap()
	label := g.n(0, 1)
	pick := o[right]
	if label == 0 {
		pick = o[1-right]
	}
	_, tail, _ := strings.Cut(s, "_")
	person := pick[0] >= 'A' && pick[0] <= 'Z'
	pron := "it"
	if person {
		pron = g.of("he", "she")
	}
	text := strings.Replace(s, "the _", pron, 1)
	text = strings.Replace(text, "_", pron, 1)
	if i := strings.IndexByte(tail, ','); i > 0 {
		tail = tail[:i] + "."
	}
	re := pick + tail
	if !person {
		re = "The " + re
	}
	return item{row: row("sentence1", text, "sentence2", capital(re), "label", label, "idx", g.n(0, 634))}
}

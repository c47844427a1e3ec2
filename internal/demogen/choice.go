package demogen

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// question makes a school question, its right answer first among the choices.
func (g *gen) question(k int) (q string, choices []string) {
	switch g.n(0, 6) {
	case 0: // the most or the least of k measured things
		pair, unit, _ := strings.Cut(g.of(g.list("comparative")...), "=")
		two := strings.Split(pair, "/")
		most := g.p(0.5)
		base := g.n(2, 60)
		step := g.n(1, 9)
		names := g.some("thing", k)
		if g.p(0.5) {
			names = []string{}
			for len(names) < k {
				names = append(names, g.x("{made}"))
			}
		}
		vals := g.r.Perm(k)
		lines := make([]string, k)
		best := 0
		for i := range names {
			lines[i] = fmt.Sprintf("%s: %d %s", names[i], base+step*vals[i], unit)
			if most && vals[i] > vals[best] || !most && vals[i] < vals[best] {
				best = i
			}
		}
		word := two[0]
		if !most {
			word = two[1]
		}
		g.set("word", word)
		g.set("data", strings.Join(lines, ", "))
		names[0], names[best] = names[best], names[0]
		return g.X("{ask_most}"), names
	case 1: // the opposite of a word
		pair := strings.Split(g.of(g.list("antonym")...), "/")
		if g.p(0.5) {
			pair[0], pair[1] = pair[1], pair[0]
		}
		g.set("word", pair[0])
		choices = []string{pair[1]}
		for len(choices) < k {
			o := strings.Split(g.of(g.list("antonym")...), "/")[g.n(0, 1)]
			if o != pair[0] && !slices.Contains(choices, o) {
				choices = append(choices, o)
			}
		}
		return g.X("{ask_opposite}"), choices
	case 2, 3: // a sum
		a, b := g.n(2, 30), g.n(2, 12)
		v, sign := a+b, g.of("+", "plus")
		switch g.n(0, 2) {
		case 1:
			a, b = g.n(2, 12), g.n(2, 12)
			v, sign = a*b, g.of("times", "x")
		case 2:
			a += b
			v, sign = a-b, g.of("-", "minus")
		}
		g.set("sum", fmt.Sprintf("%d %s %d", a, sign, b))
		choices = []string{strconv.Itoa(v)}
		for len(choices) < k {
			if o := strconv.Itoa(max(0, v+g.n(-6, 12))); !slices.Contains(choices, o) {
				choices = append(choices, o)
			}
		}
		return g.X("{ask_sum}"), choices
	case 4, 5: // told in the question itself
		names := []string{}
		for len(names) < k {
			names = append(names, g.x("{tellkind}"))
		}
		g.set("right", names[0])
		g.set("wrong", names[1])
		q := g.x("{tell}")
		return capital(q), names
	}
	if g.p(0.4) { // kinds of things
		all := g.list("kind")
		i := g.n(0, len(all)-1)
		name, members, _ := strings.Cut(all[i], "=")
		choices = []string{g.of(strings.Split(members, "/")...)}
		for len(choices) < k {
			_, m, _ := strings.Cut(all[g.n(0, len(all)-1)], "=")
			if o := g.of(strings.Split(m, "/")...); !strings.Contains(members, o) && !slices.Contains(choices, o) {
				choices = append(choices, o)
			}
			if len(choices) < k && len(all) < 4 && g.p(0.2) { // few kinds: any word may stand in
				if o := g.x("{thing}"); !slices.Contains(choices, o) {
					choices = append(choices, o)
				}
			}
		}
		g.set("word", name)
		return g.X("{ask_kind}"), choices
	}
	f := g.variants("fact_fixed")
	return f[0], f[1:min(len(f), k+1)]
}

// mixedUp shuffles the choices and returns where the first one went.
func (g *gen) mixedUp(choices []string) ([]string, int) {
	perm := g.r.Perm(len(choices))
	out := make([]string, len(choices))
	at := 0
	for i, p := range perm {
		out[i] = choices[p]
		if p == 0 {
			at = i
		}
	}
	return out, at
}

func arc(g *gen) item {
	q, c := g.question(4)
	c, at := g.mixedUp(c)
	marks := []string{"A", "B", "C", "D"}[:len(c)]
	if g.w == TrainWorld && g.p(0.1) {
		marks = []string{"1", "2", "3", "4"}[:len(c)]
	}
	return item{row: row("id", "gen_"+g.hex(6), "question", q, "choices", row("text", c, "label", marks), "answerKey", marks[at]),
		vars: map[string]string{"realized_prompt": q + "\n" + options(c, marks)}}
}

func mmlu(g *gen) item {
	q, c := g.question(4)
	c, at := g.mixedUp(c)
	marks := []string{"1", "2", "3", "4"}[:len(c)]
	return item{row: row("question", q, "subject", "elementary", "choices", c, "answer", at),
		vars: map[string]string{"prompt": q + "\n" + options(c, marks), "completion": marks[at]}}
}

// story picks an activity: its start, and an ending that belongs to it.
func (g *gen) story() (activity, ctx, ending string, rest []string) {
	hs := g.list("hs")
	perm := g.r.Perm(len(hs))
	p := parts(hs[perm[0]])
	agent := g.x("{agent}")
	for plural(agent) {
		agent = g.x("{agent}")
	}
	g.set("A", capital(agent))
	g.set("h", g.of("he", "she", "then", "the person"))
	ctx = g.x(p[1])
	if g.p(0.4) {
		ctx = g.X("{seen}") + " " + ctx
	}
	fix := func(s string) string {
		if g.p(0.3) {
			return strings.TrimSuffix(s, ".") + g.x(" {hs_tail}.")
		}
		return s
	}
	ending = fix(p[2+g.n(0, len(p)-3)])
	for _, i := range perm[1:4] {
		q := parts(hs[i])
		rest = append(rest, fix(q[2+g.n(0, len(q)-3)]))
	}
	return p[0], ctx, ending, rest
}

func hellaswag(g *gen) item {
	act, ctx, end, rest := g.story()
	c, at := g.mixedUp(append([]string{end}, rest...))
	return item{row: row("ind", g.n(0, 9999), "activity_label", act, "ctx", ctx, "endings", c, "split", "val", "label", strconv.Itoa(at)),
		vars: map[string]string{"endings": options(c, []string{"0", "1", "2", "3"}), "correct_ending": end}}
}

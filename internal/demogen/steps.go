package demogen

import (
	"strconv"
	"strings"
)

// gsm8k is a word problem of one or two steps with its worked answer.
func gsm8k(g *gen) item {
	p := g.variants("gs")
	m, n := g.n(2, 12), g.n(2, 9)
	v := map[string]int{"a": g.n(20, 99), "s": g.n(1, 19), "b": g.n(2, 60), "m": m, "n": n, "q": m * n, "h": m*n + g.n(1, 30), "t": 2 * g.n(2, 40)}
	if g.p(0.4) { // small numbers first
		v["a"], v["s"], v["b"] = g.n(8, 20), g.n(1, 7), g.n(2, 12)
	}
	last := 0
	for _, step := range strings.Split(p[1], ";") {
		name, e, ok := strings.Cut(strings.TrimSpace(step), "=")
		if !ok || len(e) != 3 {
			g.fail("step %q: want x=y+z", step)
			return item{}
		}
		x, y := g.operand(v, e[0]), g.operand(v, e[2])
		switch e[1] {
		case '+':
			last = x + y
		case '-':
			last = x - y
		case '*':
			last = x * y
		case '/':
			if y != 0 {
				last = x / y
			}
		}
		v[name] = last
	}
	for k, n := range v {
		g.seti(k, n)
	}
	q := capital(g.x(p[0]))
	a := strings.ReplaceAll(capital(g.x(p[2])), "~", "\n") + "\n#### " + strconv.Itoa(last)
	return item{row: row("question", q, "answer", a)}
}

func (g *gen) operand(v map[string]int, c byte) int {
	if c >= '0' && c <= '9' {
		return int(c - '0')
	}
	n, ok := v[string(c)]
	if !ok {
		g.fail("no number %q", c)
	}
	return n
}

// magicoder is a Python function to complete, in the shape of HumanEval.
func magicoder(g *gen) item {
	p := g.variants("code")
	vars := g.some("var", 2)
	g.set("V", vars[0])
	g.set("W", vars[1])
	name := strings.ToLower(g.x("{fn}"))
	name = strings.NewReplacer(" ", "_", "'", "").Replace(name)
	body := g.pyx(p[2])
	q := `"""`
	if g.w == TrainWorld && g.p(0.15) {
		q = `'''`
	}
	doc := g.x(p[1])
	hint := ""
	params := g.x(p[0])
	if g.w == TrainWorld && g.p(0.4) {
		hint = g.of(": list", ": int", ": str")
		params = strings.ReplaceAll(params, ", ", hint+", ") + hint
		hint = " -> " + g.of("int", "list", "bool", "str")
	}
	prompt := "def " + name + "(" + params + ")" + hint + ":\n    " + q + g.of("", " ") + doc + g.of("\n    ", "") + q + "\n"
	if g.w == TrainWorld && g.p(0.15) {
		prompt = "from typing import List\n\n\n" + prompt
	}
	sol := "    " + strings.ReplaceAll(body, "~", "\n    ") + "\n"
	test := ""
	if len(p) > 3 {
		test = "\n\ndef check(candidate):\n"
		for _, c := range strings.Split(p[3], ";") {
			args, want, _ := strings.Cut(strings.TrimSpace(c), ")=")
			test += "    assert candidate(*" + args + ")) == " + want + "\n"
		}
	}
	return item{row: row("task_id", "generated/"+name, "prompt", prompt, "entry_point", name, "canonical_solution", sol, "test", test)}
}

// pyx fills {V} and {W} alone: brackets are Python's here.
func (g *gen) pyx(t string) string {
	return strings.NewReplacer("{V}", g.bind["V"], "{W}", g.bind["W"]).Replace(t)
}

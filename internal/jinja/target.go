package jinja

import "github.com/evalrun/evalrun/core/text"

// assignable checks that a name may be assigned to.
func (p *parser) assignable(t token) string {
	switch t.text {
	case "true", "false", "none", "True", "False", "None":
		raiseSyntax(t.line, "can't assign to 'name'")
	}
	return t.text
}

// target parses the left side of an assignment: names and parenthesised tuples
// of them, up to a token that ends it.
func (p *parser) target(namespaces bool, end string) target {
	p.enter()
	defer p.leave()
	var items []target
	tuple := false
	for {
		if len(items) > 0 {
			p.expect(",")
		}
		if p.is(tokVarEnd) || p.is(tokEnd) || p.is(")") || end != "" && p.word(end) {
			break
		}
		items = append(items, p.primaryTarget(namespaces))
		if !p.is(",") {
			break
		}
		tuple = true
	}
	if !tuple {
		if len(items) == 1 {
			return items[0]
		}
		p.fail("Expected an expression, got %s", text.Repr(p.cur().describe()))
	}
	return target{items: items, tuple: true}
}

func (p *parser) primaryTarget(namespaces bool) target {
	t := p.next()
	switch t.kind {
	case tokName:
		switch t.text {
		case "true", "false", "none", "True", "False", "None":
			raiseSyntax(t.line, "can't assign to 'const'")
		}
		if namespaces && p.skip(".") {
			return target{name: t.text, attr: p.expect(tokName).text}
		}
		return target{name: t.text}
	case "(":
		to := p.target(namespaces, "")
		p.expect(")")
		return to
	case tokString, tokInt, tokFloat:
		raiseSyntax(t.line, "can't assign to 'const'")
	case "[":
		raiseSyntax(t.line, "can't assign to 'list'")
	case "{":
		raiseSyntax(t.line, "can't assign to 'dict'")
	}
	raiseSyntax(t.line, "unexpected %s", text.Repr(t.describe()))
	return target{}
}

// names appends the names that t assigns.
func (t target) names(to []string) []string {
	if t.tuple {
		for _, item := range t.items {
			to = item.names(to)
		}
		return to
	}
	return append(to, t.name)
}

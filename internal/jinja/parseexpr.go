package jinja

import (
	"strings"

	"github.com/evalrun/evalrun/core/text"
)

// tupleRules say how far an expression without brackets reaches.
type tupleRules struct {
	noCond bool   // "a if b else c" needs brackets
	paren  bool   // inside brackets: may be empty
	end    string // a further name that ends it
}

// tuple parses an expression or, where commas follow, a tuple.
func (p *parser) tuple(rules tupleRules) expr {
	p.enter()
	defer p.leave()
	var items []expr
	tuple := false
	for {
		if len(items) > 0 {
			p.expect(",")
		}
		if p.is(tokVarEnd) || p.is(tokEnd) || p.is(")") || rules.end != "" && p.word(rules.end) {
			break
		}
		if rules.noCond {
			items = append(items, p.or())
		} else {
			items = append(items, p.expression())
		}
		if !p.is(",") {
			break
		}
		tuple = true
	}
	if !tuple {
		if len(items) > 0 {
			return items[0]
		}
		if !rules.paren {
			p.fail("Expected an expression, got %s", text.Repr(p.cur().describe()))
		}
	}
	return &tupleExpr{items}
}

func (p *parser) expression() expr {
	p.enter()
	defer p.leave()
	line, from := p.cur().line, len(p.uses)
	e := p.or()
	for p.skipWord("if") {
		c := &condExpr{then: e, line: line}
		c.test = p.or()
		if p.skipWord("else") {
			c.otherwise = p.expression()
		}
		p.softly(from)
		e, line = c, p.cur().line
	}
	return e
}

func (p *parser) or() expr {
	e := p.and()
	for p.skipWord("or") {
		e = &binaryExpr{"or", e, p.and()}
	}
	return e
}

func (p *parser) and() expr {
	e := p.not()
	for p.skipWord("and") {
		e = &binaryExpr{"and", e, p.not()}
	}
	return e
}

func (p *parser) not() expr {
	if p.skipWord("not") {
		p.enter()
		defer p.leave()
		return &unaryExpr{"not", p.not()}
	}
	return p.compare()
}

func (p *parser) compare() expr {
	x := p.sum()
	var c *compareExpr
	for {
		op := p.cur().kind
		switch op {
		case "==", "!=", "<", "<=", ">", ">=":
			p.next()
		case tokName:
			switch {
			case p.skipWord("in"):
				op = "in"
			case p.word("not") && p.look().kind == tokName && p.look().text == "in":
				p.next()
				p.next()
				op = "not in"
			default:
				op = ""
			}
		default:
			op = ""
		}
		if op == "" {
			break
		}
		if c == nil {
			c = &compareExpr{x: x}
		}
		c.ops, c.args = append(c.ops, op), append(c.args, p.sum())
	}
	if c == nil {
		return x
	}
	return c
}

// chain parses operators of one precedence, grouped from the left.
func (p *parser) chain(operand func() expr, ops ...string) expr {
	e := operand()
	for {
		op := p.cur().kind
		found := false
		for _, o := range ops {
			found = found || o == op
		}
		if !found {
			return e
		}
		p.next()
		e = &binaryExpr{op, e, operand()}
	}
}

func (p *parser) sum() expr { return p.chain(p.concat, "+", "-") }

func (p *parser) concat() expr {
	items := []expr{p.product()}
	for p.skip("~") {
		items = append(items, p.product())
	}
	if len(items) == 1 {
		return items[0]
	}
	return &concatExpr{items}
}

func (p *parser) product() expr { return p.chain(p.power, "*", "/", "//", "%") }

// power parses "**", which groups from the left in Jinja's grammar.
func (p *parser) power() expr {
	return p.chain(func() expr { return p.unary(true) }, "**")
}

func (p *parser) unary(filters bool) expr {
	p.enter()
	defer p.leave()
	var e expr
	switch {
	case p.skip("-"):
		e = &unaryExpr{"-", p.unary(false)}
	case p.skip("+"):
		e = &unaryExpr{"+", p.unary(false)}
	default:
		e = p.primary()
	}
	e = p.postfix(e)
	if !filters {
		return e
	}
	for {
		switch {
		case p.is("|"):
			e = p.filters(e, false)
		case p.word("is"):
			e = p.test(e)
		case p.is("("):
			e = &callExpr{e, p.arguments()}
		default:
			return e
		}
	}
}

func (p *parser) primary() expr {
	t := p.next()
	switch t.kind {
	case tokName:
		switch t.text {
		case "true", "True":
			return &constExpr{true}
		case "false", "False":
			return &constExpr{false}
		case "none", "None":
			return &constExpr{nil}
		}
		p.names = append(p.names, t.text)
		return &nameExpr{t.text}
	case tokString:
		if !p.is(tokString) {
			return &constExpr{t.text}
		}
		parts := []string{t.text}
		for p.is(tokString) {
			parts = append(parts, p.next().text)
		}
		return &constExpr{strings.Join(parts, "")}
	case tokInt, tokFloat:
		return &constExpr{t.value}
	case "(":
		e := p.tuple(tupleRules{paren: true})
		p.expect(")")
		return e
	case "[":
		l := &listExpr{}
		for !p.is("]") {
			if len(l.items) > 0 {
				p.expect(",")
				if p.is("]") {
					break
				}
			}
			l.items = append(l.items, p.expression())
		}
		p.expect("]")
		return l
	case "{":
		d := &dictExpr{}
		for !p.is("}") {
			if len(d.keys) > 0 {
				p.expect(",")
				if p.is("}") {
					break
				}
			}
			d.keys = append(d.keys, p.expression())
			p.expect(":")
			d.values = append(d.values, p.expression())
		}
		p.expect("}")
		return d
	}
	raiseSyntax(t.line, "unexpected %s", text.Repr(t.describe()))
	return nil
}

func (p *parser) postfix(e expr) expr {
	for {
		switch {
		case p.skip("."):
			t := p.next()
			switch t.kind {
			case tokName:
				e = &attrExpr{e, t.text}
			case tokInt:
				e = &itemExpr{e, &constExpr{t.value}}
			default:
				raiseSyntax(t.line, "expected name or number")
			}
		case p.skip("["):
			var args []expr
			for !p.is("]") {
				if len(args) > 0 {
					p.expect(",")
				}
				args = append(args, p.subscript())
			}
			p.expect("]")
			if len(args) == 1 {
				e = &itemExpr{e, args[0]}
			} else {
				e = &itemExpr{e, &tupleExpr{args}}
			}
		case p.is("("):
			e = &callExpr{e, p.arguments()}
		default:
			return e
		}
	}
}

// subscript parses an index or a slice.
func (p *parser) subscript() expr {
	s := &sliceExpr{}
	if !p.skip(":") {
		e := p.expression()
		if !p.skip(":") {
			return e
		}
		s.start = e
	}
	if !p.is(":") && !p.is("]") && !p.is(",") {
		s.stop = p.expression()
	}
	if p.skip(":") && !p.is("]") && !p.is(",") {
		s.step = p.expression()
	}
	return s
}

func (p *parser) arguments() callArgs {
	line := p.expect("(").line
	var a callArgs
	ensure := func(ok bool) {
		if !ok {
			raiseSyntax(line, "invalid syntax for function call expression")
		}
	}
	for comma := false; !p.is(")"); comma = true {
		if comma {
			p.expect(",")
			if p.is(")") {
				break
			}
		}
		switch {
		case p.skip("*"):
			ensure(a.star == nil && a.dstar == nil)
			a.star = p.expression()
		case p.skip("**"):
			ensure(a.dstar == nil)
			a.dstar = p.expression()
		case p.is(tokName) && p.look().kind == "=":
			ensure(a.dstar == nil)
			a.keywords = append(a.keywords, p.next().text)
			p.next()
			a.values = append(a.values, p.expression())
		default:
			ensure(a.star == nil && a.dstar == nil && a.keywords == nil)
			a.pos = append(a.pos, p.expression())
		}
	}
	p.expect(")")
	return a
}

// filters parses "| name(args)" as often as it comes; with inline the first
// one has no "|" before it.
func (p *parser) filters(e expr, inline bool) expr {
	for inline || p.skip("|") {
		inline = false
		name, line := p.dotted()
		f := &filterExpr{x: e, name: name}
		if p.is("(") {
			f.args = p.arguments()
		}
		p.uses = append(p.uses, use{name: name, filter: true, line: line})
		e = f
	}
	return e
}

// dotted parses a name with points in it.
func (p *parser) dotted() (string, int) {
	t := p.expect(tokName)
	name := t.text
	for p.skip(".") {
		name += "." + p.expect(tokName).text
	}
	return name, t.line
}

// test parses "is name args" and "is not name args".
func (p *parser) test(e expr) expr {
	p.next()
	negated := p.skipWord("not")
	name, line := p.dotted()
	t := &testExpr{x: e, name: name}
	switch p.cur().kind {
	case "(":
		t.args = p.arguments()
	case tokName, tokString, tokInt, tokFloat, "[", "{":
		if p.word("else") || p.word("or") || p.word("and") {
			break
		}
		if p.word("is") {
			p.fail("You cannot chain multiple tests with is")
		}
		t.args.pos = []expr{p.postfix(p.primary())}
	}
	p.uses = append(p.uses, use{name: name, line: line})
	if negated {
		return &unaryExpr{"not", t}
	}
	return t
}

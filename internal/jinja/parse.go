package jinja

import (
	"fmt"
	"slices"
	"strings"

	"github.com/evalrun/evalrun/core/text"
)

// maxNesting bounds brackets and blocks within each other.
const maxNesting = 200

// parser is a recursive-descent parser over the tokens of a template.
type parser struct {
	t       *Template
	tokens  []token
	at      int
	nesting int
	tags    []string   // open tags
	ends    [][]string // end tags that are looked for
	loops   int        // open for-loops

	names []string // every name that was read, in order
	uses  []use    // every filter and test that was named, in order
}

// use is a filter or test that the template names. Where soft is set an unknown
// name is no error before it is called.
type use struct {
	name   string
	filter bool
	soft   bool
	fixed  bool
	line   int
}

func (p *parser) cur() token { return p.tokens[p.at] }

func (p *parser) next() token {
	t := p.tokens[p.at]
	if t.kind != tokEOF {
		p.at++
	}
	return t
}

func (p *parser) look() token {
	return p.tokens[min(p.at+1, len(p.tokens)-1)]
}

// is tells whether the current token is an operator or of a kind.
func (p *parser) is(kind string) bool { return p.cur().kind == kind }

// word tells whether the current token is the name w.
func (p *parser) word(w string) bool { return p.cur().kind == tokName && p.cur().text == w }

func (p *parser) skip(kind string) bool {
	if p.is(kind) {
		p.next()
		return true
	}
	return false
}

func (p *parser) skipWord(w string) bool {
	if p.word(w) {
		p.next()
		return true
	}
	return false
}

func (p *parser) expect(kind string) token {
	if !p.is(kind) {
		p.unexpected(describeKind(kind))
	}
	return p.next()
}

func (p *parser) expectWord(w string) {
	if !p.skipWord(w) {
		p.unexpected(w)
	}
}

func (p *parser) unexpected(wanted string) {
	if p.is(tokEOF) {
		p.fail("unexpected end of template, expected %s.", text.Repr(wanted))
	}
	p.fail("expected token %s, got %s", text.Repr(wanted), text.Repr(p.cur().describe()))
}

func (p *parser) fail(format string, args ...any) { raiseSyntax(p.cur().line, format, args...) }

func (p *parser) enter() {
	if p.nesting++; p.nesting > maxNesting {
		panic(&Error{Type: "LimitError", Message: fmt.Sprintf("template nested more than %d deep", maxNesting), Line: p.cur().line})
	}
}

func (p *parser) leave() { p.nesting-- }

// template parses everything and checks the filters and tests that were named.
func (p *parser) template() []stmt {
	body := p.statements(nil)
	for _, u := range p.uses {
		kind, known := "test", testNames[u.name]
		if u.filter {
			kind, known = "filter", p.t.hasFilter(u.name)
		}
		if !known && !u.soft {
			panic(&Error{Type: "TemplateAssertionError", Message: fmt.Sprintf("No %s named %s.", kind, text.Repr(u.name)), Line: u.line})
		}
	}
	return body
}

// statements parses up to one of the end tags, whose name is then the current
// token; without end tags up to the end of the template.
func (p *parser) statements(ends []string) []stmt {
	p.enter()
	defer p.leave()
	if ends != nil {
		p.ends = append(p.ends, ends)
		defer func() { p.ends = p.ends[:len(p.ends)-1] }()
	}
	var body []stmt
	var out *outputStmt
	add := func(e expr, line int) {
		if out == nil {
			out = &outputStmt{}
			body = append(body, out)
		}
		out.items, out.lines = append(out.items, e), append(out.lines, line)
	}
	for !p.is(tokEOF) {
		t := p.next()
		switch t.kind {
		case tokData:
			add(t.text, t.line)
		case tokVarOpen:
			add(p.tuple(tupleRules{}), t.line)
			p.expect(tokVarEnd)
		default: // block_begin
			out = nil
			if ends != nil && p.is(tokName) && slices.Contains(ends, p.cur().text) {
				return body
			}
			if s := p.statement(); s != nil {
				body = append(body, s)
			}
			p.expect(tokEnd)
		}
	}
	if ends != nil {
		p.unknownTag("")
	}
	return body
}

// body parses the rest of an opening tag and the statements up to an end tag.
func (p *parser) body(ends ...string) []stmt {
	p.skip(":")
	p.expect(tokEnd)
	return p.statements(ends)
}

// unknownTag complains about a tag, or with "" about the end of the template.
func (p *parser) unknownTag(name string) {
	quote := func(words []string) string {
		quoted := make([]string, len(words))
		for i, w := range words {
			quoted[i] = text.Repr(w)
		}
		return strings.Join(quoted, " or ")
	}
	message := "Unexpected end of template."
	if name != "" {
		message = "Encountered unknown tag " + text.Repr(name) + "."
	}
	if n := len(p.ends); n > 0 {
		expected := name != "" && slices.ContainsFunc(p.ends, func(e []string) bool { return slices.Contains(e, name) })
		if expected {
			message += " You probably made a nesting mistake. Jinja is expecting this tag, but currently looking for " + quote(p.ends[n-1]) + "."
		} else {
			message += " Jinja was looking for the following tags: " + quote(p.ends[n-1]) + "."
		}
	}
	if n := len(p.tags); n > 0 {
		message += " The innermost block that needs to be closed is " + text.Repr(p.tags[n-1]) + "."
	}
	p.fail("%s", message)
}

func (p *parser) statement() stmt {
	if !p.is(tokName) {
		p.fail("tag name expected")
	}
	tag := p.cur()
	parse := p.tagParser(tag.text)
	if parse == nil {
		p.unknownTag(tag.text)
	}
	p.tags = append(p.tags, tag.text)
	defer func() { p.tags = p.tags[:len(p.tags)-1] }()
	p.next()
	return parse(tag.line)
}

func (p *parser) tagParser(tag string) func(line int) stmt {
	switch tag {
	case "for":
		return p.parseFor
	case "if":
		return p.parseIf
	case "set":
		return p.parseSet
	case "macro":
		return p.parseMacro
	case "call":
		return p.parseCall
	case "filter":
		return p.parseFilterBlock
	case "with":
		return p.parseWith
	case "block":
		return p.parseBlock
	case "print":
		return p.parsePrint
	case "autoescape":
		return p.parseAutoescape
	case "extends", "include", "import", "from":
		return func(line int) stmt {
			if p.is(tokEnd) {
				p.fail("Expected an expression, got %s", text.Repr(p.cur().describe()))
			}
			for !p.is(tokEnd) && !p.is(tokEOF) {
				p.next()
			}
			return loaderStmt{line}
		}
	case "generation":
		if p.t.opts.Transformers {
			return func(int) stmt { return &scopeStmt{body: p.closed("endgeneration")} }
		}
	case "break", "continue":
		if p.t.opts.LoopControls {
			return func(line int) stmt {
				if p.loops == 0 {
					panic(&Error{Type: "SyntaxError", Message: fmt.Sprintf("'%s' outside loop", tag), Line: line})
				}
				if tag == "break" {
					return breakStmt{}
				}
				return continueStmt{}
			}
		}
	}
	return nil
}

// closed parses a body with its end tag.
func (p *parser) closed(end string) []stmt {
	body := p.body(end)
	p.next()
	return body
}

// hard marks the filters named since from as not soft, whatever encloses them.
func (p *parser) hard(from int) {
	for i := from; i < len(p.uses); i++ {
		p.uses[i].fixed = true
	}
}

// softly marks the filters named since from as allowed to be unknown.
func (p *parser) softly(from int) {
	for i := from; i < len(p.uses); i++ {
		if !p.uses[i].fixed {
			p.uses[i].soft, p.uses[i].fixed = true, true
		}
	}
}

func (p *parser) parseFor(line int) stmt {
	s := &forStmt{line: line}
	s.target = p.target(false, "in")
	if slices.Contains(s.target.names(nil), "loop") {
		panic(&Error{Type: "TemplateAssertionError", Message: "Can't assign to special loop variable in for-loop target", Line: line})
	}
	p.expectWord("in")
	s.iter = p.tuple(tupleRules{noCond: true, end: "recursive"})
	from := len(p.uses)
	if p.skipWord("if") {
		s.filter = p.expression()
	}
	s.recursive = p.skipWord("recursive")
	p.loops++
	s.body = p.body("endfor", "else")
	p.loops--
	if p.next().text == "else" {
		s.otherwise = p.closed("endfor")
	}
	p.hard(from)
	return s
}

func (p *parser) parseIf(line int) stmt {
	s := &ifStmt{line: line}
	from := len(p.uses)
	for {
		s.tests = append(s.tests, p.tuple(tupleRules{noCond: true}))
		s.bodies = append(s.bodies, p.body("elif", "else", "endif"))
		word := p.next().text
		if word == "elif" {
			continue
		}
		if word == "else" {
			s.otherwise = p.closed("endif")
		}
		break
	}
	p.softly(from)
	return s
}

func (p *parser) parseSet(line int) stmt {
	to := p.target(true, "")
	if p.skip("=") {
		return &setStmt{to, p.tuple(tupleRules{}), line}
	}
	s := &setBlockStmt{target: to, line: line}
	s.filter = p.filters(nil, false)
	from := len(p.uses)
	s.body = p.closed("endset")
	p.hard(from)
	return s
}

// signature parses the parameters of a macro.
func (p *parser) signature(m *macroStmt) {
	p.expect("(")
	for !p.is(")") {
		if len(m.params) > 0 {
			p.expect(",")
		}
		name := p.assignable(p.expect(tokName))
		if p.skip("=") {
			m.defaults = append(m.defaults, p.expression())
		} else if len(m.defaults) > 0 {
			p.fail("non-default argument follows default argument")
		}
		m.params = append(m.params, name)
	}
	p.expect(")")
}

// macroBody parses a macro's body and notes which special names it reads.
func (p *parser) macroBody(m *macroStmt, end string) {
	names, uses, loops := len(p.names), len(p.uses), p.loops
	p.loops = 0
	m.body = p.closed(end)
	p.loops = loops
	read := p.names[names:]
	m.varargs = slices.Contains(read, "varargs")
	m.kwargs = slices.Contains(read, "kwargs")
	m.caller = slices.Contains(read, "caller")
	p.hard(uses)
}

func (p *parser) parseMacro(int) stmt {
	m := &macroStmt{name: p.assignable(p.expect(tokName))}
	p.signature(m)
	p.macroBody(m, "endmacro")
	return m
}

func (p *parser) parseCall(line int) stmt {
	s := &callStmt{line: line}
	s.macro.name = "caller"
	if p.is("(") {
		p.signature(&s.macro)
	}
	call, ok := p.expression().(*callExpr)
	if !ok {
		raiseSyntax(line, "expected call")
	}
	s.call = call
	p.macroBody(&s.macro, "endcall")
	return s
}

func (p *parser) parseFilterBlock(line int) stmt {
	s := &filterStmt{line: line}
	s.filter = p.filters(nil, true)
	from := len(p.uses)
	s.body = p.closed("endfilter")
	p.hard(from)
	return s
}

func (p *parser) parseWith(line int) stmt {
	s := &withStmt{line: line}
	for !p.is(tokEnd) {
		if len(s.targets) > 0 {
			p.expect(",")
		}
		s.targets = append(s.targets, p.target(false, ""))
		p.expect("=")
		s.values = append(s.values, p.expression())
	}
	from := len(p.uses)
	s.body = p.closed("endwith")
	p.hard(from)
	return s
}

func (p *parser) parseBlock(line int) stmt {
	s := &blockStmt{name: p.expect(tokName).text, line: line}
	s.scoped = p.skipWord("scoped")
	p.skipWord("required")
	if p.is("-") {
		p.fail("Block names in Jinja have to be valid Python identifiers and may not contain hyphens, use an underscore instead.")
	}
	if p.t.blocks[s.name] != nil {
		panic(&Error{Type: "TemplateAssertionError", Message: fmt.Sprintf("block %s defined twice", text.Repr(s.name)), Line: line})
	}
	p.t.blocks[s.name] = s
	from, loops := len(p.uses), p.loops
	p.loops = 0
	s.body = p.closed("endblock")
	p.loops = loops
	p.skipWord(s.name)
	p.hard(from)
	return s
}

func (p *parser) parsePrint(line int) stmt {
	s := &outputStmt{}
	for !p.is(tokEnd) {
		if len(s.items) > 0 {
			p.expect(",")
		}
		s.items, s.lines = append(s.items, p.expression()), append(s.lines, line)
	}
	return s
}

func (p *parser) parseAutoescape(line int) stmt {
	if c, ok := p.expression().(*constExpr); !ok || c.value != false {
		panic(&Error{Type: "Unsupported", Message: "automatic escaping is not supported", Line: line})
	}
	return &scopeStmt{body: p.closed("endautoescape")}
}

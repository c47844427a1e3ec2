package jinja

import "github.com/evalrun/evalrun/core/text"

// testNames are the built-in tests.
var testNames = map[string]bool{
	"odd": true, "even": true, "divisibleby": true, "defined": true, "undefined": true, "filter": true, "test": true,
	"none": true, "boolean": true, "false": true, "true": true, "integer": true, "float": true, "lower": true,
	"upper": true, "string": true, "mapping": true, "number": true, "sequence": true, "iterable": true,
	"callable": true, "sameas": true, "escaped": true, "in": true, "==": true, "eq": true, "equalto": true,
	"!=": true, "ne": true, ">": true, "gt": true, "greaterthan": true, "ge": true, ">=": true, "<": true,
	"lt": true, "lessthan": true, "<=": true, "le": true,
}

// test applies a test.
func (r *state) test(name string, v any, a *args) any {
	a = &args{append([]any{v}, a.pos...), a.kw}
	one := func() any { return a.bind("test_"+name, "value")[0] }
	two := func() (any, any) {
		p := a.bind("test_"+name, "value", "other")
		return p[0], p[1]
	}
	compare := func(op string) any {
		x, y := two()
		return r.compare(op, x, y)
	}
	switch name {
	case "defined", "undefined":
		_, gone := one().(*undefined)
		return gone == (name == "undefined")
	case "odd":
		return r.equal(r.arith("%", one(), 2), 1)
	case "even":
		return r.equal(r.arith("%", one(), 2), 0)
	case "divisibleby":
		p := a.bind("test_divisibleby", "value", "num")
		return r.equal(r.arith("%", p[0], p[1]), 0)
	case "none":
		return one() == nil
	case "boolean":
		_, ok := one().(bool)
		return ok
	case "true":
		return one() == true
	case "false":
		return one() == false
	case "integer":
		return typeName(one()) == "int"
	case "float":
		return typeName(one()) == "float"
	case "number":
		_, _, _, ok := number(one())
		return ok
	case "string":
		_, ok := asStr(one())
		return ok
	case "escaped":
		u, ok := one().(*undefined)
		return isMarkup(v) || ok && u.kind == Chainable
	case "lower":
		return oneCase(str(one()), isLower)
	case "upper":
		return oneCase(str(one()), isUpper)
	case "mapping":
		_, ok := one().(*dict)
		return ok
	case "sequence":
		switch x := one().(type) {
		case string, markup, *list, tuple, group, *dict, *span:
			return true
		case *undefined:
			return x.kind != Strict
		}
		return false
	case "iterable":
		if u, ok := one().(*undefined); ok {
			u.use(u.kind == Strict)
		}
		return iterable(v)
	case "callable":
		switch one().(type) {
		case *builtin, *macro, *loop, *joiner, *undefined:
			return true
		}
		return false
	case "sameas":
		x, y := two()
		return identical(x, y)
	case "filter":
		s, ok := asStr(one())
		return ok && r.t.hasFilter(s)
	case "test":
		s, ok := asStr(one())
		return ok && testNames[s]
	case "in":
		p := a.bind("test_in", "value", "seq")
		return r.contains(p[1], p[0])
	case "==", "eq", "equalto":
		return compare("==")
	case "!=", "ne":
		return compare("!=")
	case ">", "gt", "greaterthan":
		return compare(">")
	case ">=", "ge":
		return compare(">=")
	case "<", "lt", "lessthan":
		return compare("<")
	case "<=", "le":
		return compare("<=")
	}
	raise("TemplateRuntimeError", "No test named %s found.", text.Repr(name))
	return nil
}

// identical is Python's "is" as far as CPython makes it predictable: None, True
// and False, equal ints and strings, the same object.
func identical(a, b any) bool {
	switch x := a.(type) {
	case tuple, group:
		return false
	case int:
		y, ok := b.(int)
		return ok && x == y
	}
	switch b.(type) {
	case tuple, group:
		return false
	}
	return a == b
}

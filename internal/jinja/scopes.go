package jinja

import (
	"maps"
	"slices"
)

// Jinja decides before rendering which block a name belongs to: a name that a
// block assigns before it reads it, and that no block around it mentions, is
// the block's own from the beginning on, and undefined until it is assigned,
// whatever the caller passes under that name. That shows where a block within
// reads it too early. symbols does that analysis (jinja2/idtracking.py).
type symbols struct {
	parent *symbols
	refs   map[string]bool // mentioned here
	stores map[string]bool // assigned here
	hidden map[string]bool // undefined until assigned
}

func newSymbols(parent *symbols) *symbols {
	return &symbols{parent, map[string]bool{}, map[string]bool{}, map[string]bool{}}
}

func (s *symbols) mentions(name string) bool {
	for ; s != nil; s = s.parent {
		if s.refs[name] {
			return true
		}
	}
	return false
}

func (s *symbols) load(name string) {
	if !s.mentions(name) {
		s.refs[name] = true
	}
}

func (s *symbols) store(name string) {
	s.stores[name] = true
	if s.refs[name] {
		return
	}
	s.refs[name] = true
	if !s.parent.mentions(name) {
		s.hidden[name] = true
	}
}

func (s *symbols) param(names ...string) {
	for _, name := range names {
		s.stores[name], s.refs[name] = true, true
	}
}

// branch is a copy for one way through an if.
func (s *symbols) branch() *symbols {
	return &symbols{s.parent, maps.Clone(s.refs), maps.Clone(s.stores), maps.Clone(s.hidden)}
}

// join takes the mentions of branches over. What only a branch assigns may not
// have been assigned, so it is looked up outside.
func (s *symbols) join(branches ...*symbols) {
	for _, b := range branches {
		maps.Copy(s.refs, b.refs)
		maps.Copy(s.stores, b.stores)
	}
}

// names lists what is hidden.
func (s *symbols) names() []string { return slices.Sorted(maps.Keys(s.hidden)) }

// exprs notes the names that expressions read.
func (s *symbols) exprs(list ...expr) {
	for _, e := range list {
		switch x := e.(type) {
		case *nameExpr:
			s.load(x.name)
		case *listExpr:
			s.exprs(x.items...)
		case *tupleExpr:
			s.exprs(x.items...)
		case *dictExpr:
			s.exprs(x.keys...)
			s.exprs(x.values...)
		case *unaryExpr:
			s.exprs(x.x)
		case *binaryExpr:
			s.exprs(x.l, x.r)
		case *concatExpr:
			s.exprs(x.items...)
		case *compareExpr:
			s.exprs(x.x)
			s.exprs(x.args...)
		case *condExpr:
			s.exprs(x.test, x.then, x.otherwise)
		case *attrExpr:
			s.exprs(x.x)
		case *itemExpr:
			s.exprs(x.x, x.index)
		case *sliceExpr:
			s.exprs(x.start, x.stop, x.step)
		case *callExpr:
			s.exprs(x.fn)
			s.args(x.args)
		case *filterExpr:
			s.exprs(x.x)
			s.args(x.args)
		case *testExpr:
			s.exprs(x.x)
			s.args(x.args)
		}
	}
}

func (s *symbols) args(a callArgs) {
	s.exprs(a.pos...)
	s.exprs(a.values...)
	s.exprs(a.star, a.dstar)
}

func (s *symbols) target(t target) {
	switch {
	case t.tuple:
		for _, item := range t.items {
			s.target(item)
		}
	case t.attr != "":
		s.load(t.name)
	default:
		s.store(t.name)
	}
}

// block notes what statements mention; blocks within them keep to themselves.
func (s *symbols) block(body []stmt) {
	for _, st := range body {
		switch x := st.(type) {
		case *outputStmt:
			s.exprs(x.items...)
		case *ifStmt:
			s.exprs(x.tests[0])
			then, elif, otherwise := s.branch(), s.branch(), s.branch()
			then.block(x.bodies[0])
			for i, test := range x.tests[1:] {
				elif.exprs(test)
				b := elif.branch()
				b.block(x.bodies[i+1])
				elif.join(b)
			}
			otherwise.block(x.otherwise)
			s.join(then, elif, otherwise)
		case *setStmt:
			s.exprs(x.value)
			s.target(x.target)
		case *setBlockStmt:
			s.target(x.target)
		case *forStmt:
			s.exprs(x.iter)
		case *macroStmt:
			s.store(x.name)
		case *callStmt:
			s.exprs(x.call)
		case *filterStmt:
			s.exprs(x.filter)
		case *withStmt:
			s.exprs(x.values...)
		}
	}
}

// inner analyses the scopes within statements whose own names s holds.
func (s *symbols) inner(body []stmt) {
	for _, st := range body {
		switch x := st.(type) {
		case *ifStmt:
			for _, b := range x.bodies {
				s.inner(b)
			}
			s.inner(x.otherwise)
		case *forStmt:
			params := append(x.target.names(nil), "loop")
			x.hidden = s.scope(x.body, nil, params...)
			x.hiddenElse = s.scope(x.otherwise, nil)
		case *macroStmt:
			x.analyse(s)
		case *callStmt:
			x.macro.analyse(s)
		case *setBlockStmt:
			x.hidden = s.scope(x.body, nil)
		case *filterStmt:
			x.hidden = s.scope(x.body, nil)
		case *withStmt:
			var params []string
			for _, t := range x.targets {
				params = t.names(params)
			}
			x.hidden = s.scope(x.body, nil, params...)
		case *scopeStmt:
			x.hidden = s.scope(x.body, nil)
		case *blockStmt:
			x.hidden = (*symbols)(nil).scope(x.body, nil)
		}
	}
}

// scope analyses a block within s and gives the names that it hides.
func (s *symbols) scope(body []stmt, before []expr, params ...string) []string {
	own := newSymbols(s)
	own.param(params...)
	own.exprs(before...)
	own.block(body)
	own.inner(body)
	return own.names()
}

func (m *macroStmt) analyse(s *symbols) {
	params := append([]string{"caller", "varargs", "kwargs"}, m.params...)
	m.hidden = s.scope(m.body, m.defaults, params...)
}

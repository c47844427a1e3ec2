package derive

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser"
	"github.com/expr-lang/expr/types"
	"github.com/expr-lang/expr/vm"

	"github.com/evalrun/evalrun/internal/nearest"
)

const (
	// reserved begins the names that the compiler adds to expressions.
	reserved   = "__"
	runName    = "__run"    // the *running of this evaluation
	rowName    = "__row"    // the row, where an expression says $env
	columnFunc = "__column" // (run, name): a column that must be there
	tickFunc   = "__tick"   // (run, value): value, or an error when the time is over
	boundFunc  = "__bound"  // (value): value, or an error when it is a text too long

	maxSource = 16 << 10 // characters of one expression
	maxNodes  = 2000     // nodes of its tree
)

// program is one compiled expression.
type program struct {
	what   string
	index  int
	column string   // of a derived column
	uses   []string // columns named, in order of first use
	code   *vm.Program
}

// disabled builtins depend on the clock, or have no bound; json replaces toJSON.
var disabled = []string{"now", "date", "duration", "timezone", "toJSON"}

func compile(what string, index int, source string, known []string, condition bool) (*program, error) {
	p := &program{what: what, index: index}
	fail := func(at file.Error, hint string) error {
		line, column := place(source, at.Location.From)
		return &Error{What: what, Index: index, Line: line, Column: column, Row: -1, Message: at.Message, Hint: hint}
	}
	if len(source) > maxSource {
		return nil, &Error{What: what, Index: index, Row: -1, Message: fmt.Sprintf("the expression is longer than %d bytes", maxSource), Hint: "divide it into several derived columns"}
	}
	tree, err := parser.Parse(source)
	if err != nil {
		return nil, p.foreign(err, source, nil)
	}
	names := collect(tree.Node)
	for _, n := range names.all {
		if strings.HasPrefix(n.Value, reserved) {
			return nil, fail(file.Error{Location: n.Location(), Message: fmt.Sprintf("names that begin with %s are reserved", reserved)}, "use the column's own name")
		}
	}
	env := types.Map{runName: types.Any, rowName: types.Any}
	for _, n := range names.columns {
		if known != nil && !slices.Contains(known, n.Value) {
			return nil, fail(file.Error{Location: n.Location(), Message: fmt.Sprintf("there is no column %q", n.Value)}, suggest(n.Value, known))
		}
		env[n.Value] = types.Any
		if !slices.Contains(p.uses, n.Value) {
			p.uses = append(p.uses, n.Value)
		}
	}
	for _, n := range names.quoted {
		if known != nil && !slices.Contains(known, n.Value) {
			return nil, fail(file.Error{Location: n.Location(), Message: fmt.Sprintf("there is no column %q", n.Value)}, suggest(n.Value, known))
		}
		if !slices.Contains(p.uses, n.Value) {
			p.uses = append(p.uses, n.Value)
		}
	}
	rewrite := &rewriter{env: env, lets: names.lets}
	options := []expr.Option{expr.Env(env), expr.MaxNodes(maxNodes), expr.Patch(rewrite)}
	for _, name := range disabled {
		options = append(options, expr.DisableBuiltin(name))
	}
	for _, t := range transforms {
		options = append(options, expr.Function(t.Name, t.run))
	}
	for name, f := range internals {
		options = append(options, expr.Function(name, f))
	}
	if condition {
		options = append(options, expr.AsBool())
	} else {
		options = append(options, expr.AsAny())
	}
	p.code, err = expr.Compile(source, options...)
	if err != nil {
		return nil, p.foreign(err, source, known)
	}
	if rewrite.err != nil {
		return nil, fail(*rewrite.err, "see the table of transforms in the documentation of data")
	}
	return p, nil
}

// place turns an offset in characters into line and column, from 1.
func place(source string, offset int) (line, column int) {
	line, column = 1, 1
	for i, r := range []rune(source) {
		if i == offset {
			break
		}
		if column++; r == '\n' {
			line, column = line+1, 1
		}
	}
	return line, column
}

// foreign translates an error of the library at compile time.
func (p *program) foreign(err error, source string, known []string) error {
	out := &Error{What: p.what, Index: p.index, Row: -1, Message: err.Error(), Hint: "see the expression language's definition at expr-lang.org"}
	var fe *file.Error
	if errors.As(err, &fe) {
		out.Line, out.Column = place(source, fe.From)
		out.Message = fe.Message
		if name, ok := strings.CutPrefix(fe.Message, "unknown name "); ok {
			out.Message = fmt.Sprintf("there is no function or variable %q", name)
			out.Hint = suggest(name, append(functionNames(), known...))
		}
	}
	return out
}

// names are the identifiers of an expression.
type names struct {
	all     []*ast.IdentifierNode
	columns []*ast.IdentifierNode // neither called, nor made by let
	quoted  []*ast.StringNode     // in $env["name"]
	lets    map[string]bool
	callees map[ast.Node]bool
}

func collect(root ast.Node) *names {
	n := &names{lets: make(map[string]bool), callees: make(map[ast.Node]bool)}
	ast.Walk(&root, n)
	for _, id := range n.all {
		if !n.callees[id] && !n.lets[id.Value] && id.Value != "$env" {
			n.columns = append(n.columns, id)
		}
	}
	return n
}

// Visit is part of ast.Visitor; children come before parents.
func (n *names) Visit(node *ast.Node) {
	switch x := (*node).(type) {
	case *ast.IdentifierNode:
		n.all = append(n.all, x)
	case *ast.CallNode:
		n.callees[x.Callee] = true
	case *ast.VariableDeclaratorNode:
		n.lets[x.Name] = true
	case *ast.MemberNode:
		if name, ok := ofEnv(x); ok {
			n.quoted = append(n.quoted, name)
		}
	}
}

// ofEnv gives the name in $env["name"] and $env.name, but not in $env?.name.
func ofEnv(m *ast.MemberNode) (*ast.StringNode, bool) {
	id, ok := m.Node.(*ast.IdentifierNode)
	if !ok || id.Value != "$env" && id.Value != rowName || m.Optional {
		return nil, false
	}
	name, ok := m.Property.(*ast.StringNode)
	return name, ok
}

// rewriter puts the bounds into the tree: columns are fetched by a call that
// knows which are missing, the body of every loop counts a step, and a sum that
// may be a text is bounded.
type rewriter struct {
	env  types.Map
	lets map[string]bool
	err  *file.Error
}

// Visit is part of ast.Visitor; children come before parents.
func (w *rewriter) Visit(node *ast.Node) {
	switch x := (*node).(type) {
	case *ast.IdentifierNode:
		switch {
		case x.Value == "$env":
			ast.Patch(node, &ast.IdentifierNode{Value: rowName})
		case w.env[x.Value] != nil && !w.lets[x.Value] && !strings.HasPrefix(x.Value, reserved):
			ast.Patch(node, w.fetch(x, x.Value))
		}
	case *ast.MemberNode:
		if name, ok := ofEnv(x); ok {
			ast.Patch(node, w.fetch(x, name.Value))
		}
	case *ast.CallNode:
		// The name of a function has been taken for a column by the first case.
		if c, ok := x.Callee.(*ast.CallNode); ok {
			if name, ok := fetched(c); ok {
				id := &ast.IdentifierNode{Value: name}
				id.SetLocation(c.Location())
				x.Callee = id
			}
		}
		if id, ok := x.Callee.(*ast.IdentifierNode); ok {
			w.checkCall(x, id.Value)
		}
	case *ast.PredicateNode:
		x.Node = w.call(x.Node, tickFunc, w.name(x.Node, runName), x.Node)
	case *ast.BinaryNode:
		if x.Operator != "+" {
			return
		}
		if t := x.Type(); t == nil || t.Kind() == reflect.String || t.Kind() == reflect.Interface {
			ast.Patch(node, w.call(x, boundFunc, x))
		}
	}
}

func (w *rewriter) name(at ast.Node, name string) ast.Node {
	id := &ast.IdentifierNode{Value: name}
	id.SetLocation(at.Location())
	return id
}

func (w *rewriter) call(at ast.Node, name string, arguments ...ast.Node) ast.Node {
	c := &ast.CallNode{Callee: w.name(at, name), Arguments: arguments}
	c.SetLocation(at.Location())
	return c
}

func (w *rewriter) fetch(at ast.Node, column string) ast.Node {
	s := &ast.StringNode{Value: column}
	s.SetLocation(at.Location())
	return w.call(at, columnFunc, w.name(at, runName), s)
}

func fetched(c *ast.CallNode) (string, bool) {
	id, ok := c.Callee.(*ast.IdentifierNode)
	if !ok || id.Value != columnFunc || len(c.Arguments) != 2 {
		return "", false
	}
	s, ok := c.Arguments[1].(*ast.StringNode)
	if !ok {
		return "", false
	}
	return s.Value, true
}

// checkCall refuses at compile time what can be seen then: a wrong number of
// arguments of a transform, a pattern that does not compile.
func (w *rewriter) checkCall(c *ast.CallNode, name string) {
	i := slices.IndexFunc(transforms, func(t Transform) bool { return t.Name == name })
	if i < 0 || w.err != nil {
		return
	}
	t := transforms[i]
	if n := len(c.Arguments); n < t.least || n > t.most {
		w.err = &file.Error{Location: c.Location(), Message: fmt.Sprintf("%s has %d arguments here; it is written %s", name, n, t.Form)}
		return
	}
	if name == "regex_replace" {
		if s, ok := c.Arguments[1].(*ast.StringNode); ok {
			re, err := pattern(s.Value)
			if err != nil {
				w.err = &file.Error{Location: s.Location(), Message: err.Error()}
				return
			}
			// Compiled once, not once a row.
			ast.Patch(&c.Arguments[1], &ast.ConstantNode{Value: re})
		}
	}
}

// internals are the functions that rewriter writes into expressions.
var internals = map[string]func(...any) (any, error){
	columnFunc: func(a ...any) (any, error) {
		r, name := a[0].(*running), a[1].(string)
		if v, ok := r.row[name]; ok {
			return v, nil
		}
		return nil, &missing{name, r.row}
	},
	tickFunc: func(a ...any) (any, error) { return a[1], a[0].(*running).tick() },
	boundFunc: func(a ...any) (any, error) {
		if s, ok := a[0].(string); ok && len(s) > maxText {
			return nil, errLong
		}
		return a[0], nil
	},
}

// missing says that a row lacks a column.
type missing struct {
	name string
	row  map[string]any
}

func (m *missing) Error() string { return fmt.Sprintf("the row has no column %q", m.name) }

// eval runs the program over one row. Errors are *Error.
func (p *program) eval(r *running, row map[string]any, index int) (any, error) {
	r.row = row
	v, err := r.machine.Run(p.code, map[string]any{runName: r, rowName: row})
	if err == nil {
		return v, nil
	}
	out := &Error{What: p.what, Index: p.index, Row: index, Message: err.Error(), Hint: "mend the expression or the row"}
	var fe *file.Error
	if errors.As(err, &fe) {
		out.Message = firstLine(fe.Message)
		// The library counts lines from 1 and columns from 0.
		out.Line, out.Column = fe.Line, fe.Column+1
	}
	var gone *missing
	switch {
	case errors.As(err, &gone):
		have := make([]string, 0, len(gone.row))
		for name := range gone.row {
			have = append(have, name)
		}
		slices.Sort(have)
		out.Message, out.Hint = gone.Error(), suggest(gone.name, have)
	case errors.Is(err, errTime):
		out.Message, out.Hint = errTime.Error(), hintTime
	case errors.Is(err, errLong) || strings.Contains(out.Message, "memory budget exceeded"):
		out.Hint = "the expression makes lists or texts that are too long"
	}
	return nil, out
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	return s
}

// suggest names the nearest of the names, and a few others.
func suggest(wanted string, names []string) string {
	best := nearest.Word(wanted, names)
	switch {
	case best != "":
		return fmt.Sprintf("did you mean %q?", best)
	case len(names) == 0:
		return "the row has no columns at all"
	case len(names) > 20:
		return "there are: " + strings.Join(names[:20], ", ") + " …"
	}
	return "there are: " + strings.Join(names, ", ")
}

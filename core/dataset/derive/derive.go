// Package derive computes columns from columns and decides which rows count, by
// expressions in the expr language (github.com/expr-lang/expr) and the named
// transforms of [Transforms].
//
// An expression is compiled once. A name in it stands for a column; a column
// whose name is no identifier is written $env["its name"]. A column that a row
// lacks is an error that names the nearest one, unless it is asked for by
// $env?.name or get($env, "name"), which give nil. Expressions see nothing but
// their row: no clock, no files, no network, and maps are listed in the order of
// their keys, so that the same row always gives the same value.
//
// Task files come from other people. Every evaluation is bounded in time, in the
// number of elements that it makes, and in the length of texts.
package derive

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/expr-lang/expr/vm"

	"github.com/evalrun/evalrun/core"
)

// Options bound one evaluation. The zero value means the defaults.
type Options struct {
	// Time for all expressions of one row; 2 seconds by default.
	Time time.Duration
	// Elements that lists and maps made by one expression may hold together;
	// 1,000,000 by default.
	Elements uint
}

func (o Options) filled() Options {
	if o.Time <= 0 {
		o.Time = 2 * time.Second
	}
	if o.Elements == 0 {
		o.Elements = 1_000_000
	}
	return o
}

// An Error is a mistake in an expression, found when it was compiled or when it
// met a row.
type Error struct {
	// What names the expression: filter, or column "name".
	What string
	// Index is the place of a derived column in its list; −1 for a filter.
	Index int
	// Line and Column are the place within the expression's text, from 1; 0
	// where the mistake is not at one place. Column counts characters.
	Line, Column int
	// Row is the row's index in its split, or −1 where no row is involved.
	Row     int
	Message string
	Hint    string
}

// Error says which expression, where in it, for which row, and what.
func (e *Error) Error() string {
	var b strings.Builder
	if e.Row >= 0 {
		fmt.Fprintf(&b, "row %d: ", e.Row)
	}
	b.WriteString(e.What)
	if e.Line > 0 {
		fmt.Fprintf(&b, ", %d:%d", e.Line, e.Column)
	}
	return b.String() + ": " + e.Message
}

// User gives the error in the form that the command line prints; where is the
// file or the file:line:column of the expression.
func (e *Error) User(where string) *core.UserError {
	return &core.UserError{Where: where, Message: e.Error(), Hint: e.Hint}
}

// Columns is a list of derived columns. It is immutable and safe for use by
// several goroutines.
type Columns struct {
	programs []*program
	options  Options
}

// Compile compiles derived columns in order: a later one sees the earlier ones,
// and may replace a column of the same name. known lists the columns of the rows;
// nil means that they are not known yet, and missing ones are found row by row.
// Errors are *Error.
func Compile(columns []core.Column, known []string, o Options) (*Columns, error) {
	c := &Columns{options: o.filled()}
	known = slices.Clone(known)
	for i, column := range columns {
		what := fmt.Sprintf("column %q", column.Name)
		if column.Name == "" || strings.HasPrefix(column.Name, reserved) {
			return nil, &Error{What: what, Index: i, Row: -1, Message: "a derived column cannot have this name",
				Hint: "give it a name that does not begin with " + reserved}
		}
		p, err := compile(what, i, column.Expr, known, false)
		if err != nil {
			return nil, err
		}
		p.column = column.Name
		c.programs = append(c.programs, p)
		if known != nil {
			known = append(known, column.Name)
		}
	}
	return c, nil
}

// Names lists the derived columns in order.
func (c *Columns) Names() []string {
	var names []string
	for _, p := range c.programs {
		names = append(names, p.column)
	}
	return names
}

// Uses lists the columns that rows must have: those that the expressions name and
// that no earlier expression makes.
func (c *Columns) Uses() []string {
	var uses, made []string
	for _, p := range c.programs {
		for _, name := range p.uses {
			if !slices.Contains(made, name) && !slices.Contains(uses, name) {
				uses = append(uses, name)
			}
		}
		made = append(made, p.column)
	}
	return uses
}

// Apply gives a copy of the row with the derived columns in it; index is the
// row's number in its split, for errors, which are *Error. The values of the row
// are shared with the copy, and never changed.
func (c *Columns) Apply(row map[string]any, index int) (map[string]any, error) {
	out := make(map[string]any, len(row)+len(c.programs))
	maps.Copy(out, row)
	if len(c.programs) == 0 {
		return out, nil
	}
	err := c.options.watch(c.programs[0], index, func(r *running) error {
		for _, p := range c.programs {
			v, err := p.eval(r, out, index)
			if err != nil {
				return err
			}
			if out[p.column], err = settle(v); err != nil {
				return &Error{What: p.what, Index: p.index, Row: index, Message: err.Error(),
					Hint: "end the expression in a text, number, truth value, list or map"}
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// Filter is a condition on rows. It is immutable and safe for use by several
// goroutines.
type Filter struct {
	program *program
	options Options
}

// CompileFilter compiles a condition; see [Compile] for known. A nil *Filter,
// which an empty condition gives, keeps every row.
func CompileFilter(condition string, known []string, o Options) (*Filter, error) {
	if strings.TrimSpace(condition) == "" {
		return nil, nil
	}
	p, err := compile("filter", -1, condition, known, true)
	if err != nil {
		return nil, err
	}
	return &Filter{p, o.filled()}, nil
}

// Uses lists the columns that the condition names.
func (f *Filter) Uses() []string {
	if f == nil {
		return nil
	}
	return slices.Clone(f.program.uses)
}

// Keep tells whether the row counts. Errors are *Error; a condition that is
// neither true nor false is one.
func (f *Filter) Keep(row map[string]any, index int) (keep bool, err error) {
	if f == nil {
		return true, nil
	}
	err = f.options.watch(f.program, index, func(r *running) error {
		v, err := f.program.eval(r, row, index)
		if err != nil {
			return err
		}
		b, ok := v.(bool)
		if !ok {
			return &Error{What: "filter", Index: -1, Row: index, Message: fmt.Sprintf("the condition gave %s, not true or false", nameOf(v)),
				Hint: `compare with something, for example label == 1`}
		}
		keep = b
		return nil
	})
	return keep && err == nil, err
}

// running is the state of the evaluation of one row, on one goroutine.
type running struct {
	machine  vm.VM
	deadline time.Time
	steps    int
	row      map[string]any
}

// errTime is what tick gives when the time is over.
var errTime = fmt.Errorf("the time for one row is over")

// tick is called in every turn of every loop of an expression.
func (r *running) tick() error {
	if r.steps++; r.steps&255 == 0 && time.Now().After(r.deadline) {
		return errTime
	}
	return nil
}

// watch runs f on a goroutine of its own and waits for it. Loops end by
// themselves through tick; a single call of the library that takes longer than
// twice the limit cannot be stopped, and is left behind with an error.
func (o Options) watch(p *program, index int, f func(*running) error) error {
	done := make(chan error, 1)
	r := &running{deadline: time.Now().Add(o.Time)}
	r.machine.MemoryBudget = o.Elements
	go func() { done <- f(r) }()
	select {
	case err := <-done: // mostly ready at once: no timer is needed
		return err
	default:
	}
	timer := time.NewTimer(2 * o.Time)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		return &Error{What: p.what, Index: p.index, Row: index, Message: errTime.Error(), Hint: hintTime}
	}
}

const hintTime = "make the expression simpler; it may not loop over loops of long lists"

package local

import (
	"sync"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/extract"
)

// patterns are those of requests, compiled once each.
type patterns struct {
	mu   sync.Mutex
	held map[core.Pattern]*extract.Pattern
}

// mostPatterns bounds what is held; a run has a handful.
const mostPatterns = 1000

// get compiles a pattern, nil where it cannot be.
func (p *patterns) get(c core.Pattern) *extract.Pattern {
	key := core.Pattern{Expr: c.Expr, Flags: c.Flags}
	p.mu.Lock()
	defer p.mu.Unlock()
	if found, ok := p.held[key]; ok {
		return found
	}
	if len(p.held) >= mostPatterns {
		clear(p.held)
	}
	compiled, err := extract.Compile(c.Expr, c.Flags, 0)
	if err != nil {
		compiled = nil
	}
	p.held[key] = compiled
	return compiled
}

// until gives a function that tells when no continuation of a growing answer
// can change what any of the patterns extracts; nil where that never comes.
func (o settings) until(wanted []core.Pattern) func(text string) bool {
	var settlers []*extract.Settler
	for _, w := range wanted {
		p := o.patterns.get(w)
		if p == nil || w.Select < 0 {
			return nil
		}
		settlers = append(settlers, p.Settler(w.Select))
	}
	return func(text string) bool {
		for _, s := range settlers {
			if !s.Settled(text) {
				return false
			}
		}
		return true
	}
}

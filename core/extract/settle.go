package extract

import (
	"math"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A Settler follows a text that grows at its end, and tells when what a
// pattern extracts from it can no longer change, however the text goes on.
//
// It searches as a backtracking engine does and notes whether the search ever
// asked what stands at the end of the text: a match that was found without
// asking is the match in every continuation. So a growing \d+ is settled by
// what follows the digits, and a match that only a longer one could replace is
// not settled while the longer one is possible. The last match (select −1)
// never settles, nor does a pattern with back-references, conditionals or
// look-behind of more than one character: "no" is always safe.
//
// A Settler belongs to one text and one goroutine.
type Settler struct {
	root    *node // nil: never settles
	pick    int   // match wanted
	from    int   // bytes before this place begin no match
	found   int   // matches that are settled
	settled bool
}

// Settler makes one for match number pick.
func (p *Pattern) Settler(pick int) *Settler {
	s := &Settler{pick: pick}
	if pick < 0 {
		return s
	}
	q := &nodeParser{src: p.re.String()}
	if root := q.alternation(); q.ok() && q.at == len(q.src) {
		s.root = root
	}
	return s
}

// budget is the number of steps that a look at a text may take.
const budget = 200_000

// Settled tells whether the extraction from text is that from any text that
// begins with it. Each call is given a text that begins with the one before.
func (s *Settler) Settled(text string) bool {
	if s.settled || s.root == nil {
		return s.settled
	}
	m := &matcher{text: text, steps: budget}
	for s.from <= len(text) {
		end := -1
		ok := m.match(s.root, s.from, func(at int) bool { end = at; return true })
		if m.asked || m.steps < 0 {
			return false
		}
		if !ok {
			_, size := utf8.DecodeRuneInString(text[s.from:])
			s.from += max(size, 1)
			continue
		}
		if s.found == s.pick {
			s.settled = true
			return true
		}
		if end == s.from {
			s.root = nil // where the next search begins depends on an empty match
			return false
		}
		s.found, s.from = s.found+1, end
	}
	return false
}

// node is a part of a pattern.
type node struct {
	kind   nodeKind
	set    []rune // ranges, for one character
	parts  []*node
	lo, hi int  // of a repetition; hi < 0 is no limit
	lazy   bool // a repetition tries less first
	negate bool // a look that must fail
}

type nodeKind uint8

const (
	charNode nodeKind = iota
	seqNode
	altNode
	repeatNode
	atomicNode
	aheadNode
	behindNode // of one character
	startNode  // \A
	endNode    // \z
	lastNode   // \Z: the end, or before a line end that is the last character
	bolNode    // ^ at lines
	eolNode    // $ at lines
)

// matcher is one search.
type matcher struct {
	text  string
	steps int
	asked bool // something depended on what stands at the end
}

// match tries a node at a place, and next behind it.
func (m *matcher) match(n *node, at int, next func(int) bool) bool {
	if m.steps--; m.steps < 0 || m.asked {
		return false
	}
	switch n.kind {
	case charNode:
		r, size, ok := m.next(at)
		return ok && inRanges(n.set, r) && next(at+size)
	case seqNode:
		return m.sequence(n.parts, at, next)
	case altNode:
		for _, p := range n.parts {
			if m.match(p, at, next) {
				return true
			}
		}
		return false
	case repeatNode:
		return m.repeat(n, 0, at, -1, next)
	case atomicNode:
		end := -1
		return m.match(n.parts[0], at, func(e int) bool { end = e; return true }) && next(end)
	case aheadNode:
		return m.match(n.parts[0], at, func(int) bool { return true }) != n.negate && !m.asked && next(at)
	case behindNode:
		r, size := utf8.DecodeLastRuneInString(m.text[:at])
		return (size > 0 && inRanges(n.parts[0].set, r)) != n.negate && next(at)
	case startNode:
		return at == 0 && next(at)
	case bolNode:
		return (at == 0 || m.text[at-1] == '\n') && next(at)
	case eolNode:
		r, _, ok := m.next(at)
		return ok && r == '\n' && next(at)
	case endNode:
		m.next(at)
		return false
	case lastNode:
		if r, size, ok := m.next(at); ok && r == '\n' {
			m.next(at + size)
		}
		return false
	}
	return false
}

// next is the character at a place; at the end it notes that it was asked for.
func (m *matcher) next(at int) (r rune, size int, ok bool) {
	if at >= len(m.text) {
		m.asked = true
		return 0, 0, false
	}
	r, size = utf8.DecodeRuneInString(m.text[at:])
	return r, size, true
}

func (m *matcher) sequence(parts []*node, at int, next func(int) bool) bool {
	if len(parts) == 0 {
		return next(at)
	}
	return m.match(parts[0], at, func(e int) bool { return m.sequence(parts[1:], e, next) })
}

// repeat has gone through the part count times, the last one from began.
func (m *matcher) repeat(n *node, count, at, began int, next func(int) bool) bool {
	if m.steps--; m.steps < 0 || m.asked {
		return false
	}
	more := func() bool {
		// An empty round beyond those that must be is not repeated.
		if n.hi >= 0 && count >= n.hi || count >= n.lo && at == began {
			return false
		}
		return m.match(n.parts[0], at, func(e int) bool { return m.repeat(n, count+1, e, at, next) })
	}
	switch {
	case count < n.lo:
		return more()
	case n.lazy:
		return next(at) || more()
	}
	return more() || next(at)
}

func inRanges(set []rune, r rune) bool {
	for i := 0; i+1 < len(set); i += 2 {
		if r < set[i] {
			return false
		}
		if r <= set[i+1] {
			return true
		}
	}
	return false
}

// nodeParser reads what translate writes: a small language in which every
// character stands for itself or is escaped, and classes are spelled out.
type nodeParser struct {
	src   string
	at    int
	wrong bool // something that this file does not know
	depth int
}

func (p *nodeParser) ok() bool { return !p.wrong }

func (p *nodeParser) has(s string) bool {
	if strings.HasPrefix(p.src[p.at:], s) {
		p.at += len(s)
		return true
	}
	return false
}

func (p *nodeParser) alternation() *node {
	if p.depth++; p.depth > 2*maxDepth {
		p.wrong = true
	}
	n := &node{kind: altNode}
	for {
		n.parts = append(n.parts, p.sequence())
		if !p.ok() || !p.has("|") {
			break
		}
	}
	p.depth--
	if len(n.parts) == 1 {
		return n.parts[0]
	}
	return n
}

func (p *nodeParser) sequence() *node {
	n := &node{kind: seqNode}
	for p.ok() && p.at < len(p.src) && p.src[p.at] != '|' && p.src[p.at] != ')' {
		n.parts = append(n.parts, p.repetition(p.atom()))
	}
	return n
}

func (p *nodeParser) repetition(n *node) *node {
	for p.ok() {
		lo, hi := 0, -1
		switch {
		case p.has("*"):
		case p.has("+"):
			lo = 1
		case p.has("?"):
			hi = 1
		case p.at < len(p.src) && p.src[p.at] == '{':
			end := strings.IndexByte(p.src[p.at:], '}')
			if end < 0 {
				p.wrong = true
				return n
			}
			from, to, two := strings.Cut(p.src[p.at+1:p.at+end], ",")
			p.at += end + 1
			var err error
			if lo, err = strconv.Atoi(from); err != nil {
				p.wrong = true
			}
			hi = lo
			if two {
				if hi = -1; to != "" {
					if hi, err = strconv.Atoi(to); err != nil {
						p.wrong = true
					}
				}
			}
		default:
			return n
		}
		if hi >= math.MaxInt32 {
			hi = -1
		}
		n = &node{kind: repeatNode, parts: []*node{n}, lo: lo, hi: hi, lazy: p.has("?")}
	}
	return n
}

func (p *nodeParser) atom() *node {
	within := func(kind nodeKind, negate bool) *node {
		n := &node{kind: kind, parts: []*node{p.alternation()}, negate: negate}
		if !p.has(")") {
			p.wrong = true
		}
		return n
	}
	switch {
	case p.has(`\A`):
		return &node{kind: startNode}
	case p.has(`\Z`):
		return &node{kind: lastNode}
	case p.has(`\z`):
		return &node{kind: endNode}
	case p.has("(?m:^)"):
		return &node{kind: bolNode}
	case p.has("(?m:$)"):
		return &node{kind: eolNode}
	case p.has("(?:"):
		return within(seqNode, false)
	case p.has("(?>"):
		return within(atomicNode, false)
	case p.has("(?="):
		return within(aheadNode, false)
	case p.has("(?!"):
		return within(aheadNode, true)
	case p.has("(?<="), p.has("(?<!"):
		negate := p.src[p.at-1] == '!'
		n := within(behindNode, negate)
		// The set may stand within a sequence of one.
		inner := n.parts[0]
		for inner.kind == seqNode && len(inner.parts) == 1 {
			inner = inner.parts[0]
		}
		if p.wrong = p.wrong || inner.kind != charNode; p.ok() {
			n.parts[0] = inner
		}
		return n
	case strings.HasPrefix(p.src[p.at:], "(?"):
		p.wrong = true
		return &node{}
	case p.has("("):
		return within(seqNode, false)
	}
	return p.char()
}

// char reads one character, escaped or not, or a set of them, by Go's own
// parser.
func (p *nodeParser) char() *node {
	from, end := p.at, p.at
	switch c := p.src[p.at]; {
	case c == '[':
		for end++; end < len(p.src) && p.src[end] != ']'; end++ {
			if p.src[end] == '\\' {
				end++
			}
		}
		end++
	case c == '\\' && strings.HasPrefix(p.src[p.at:], `\p{`), c == '\\' && strings.HasPrefix(p.src[p.at:], `\P{`):
		end += strings.IndexByte(p.src[p.at:], '}') + 1
	case c == '\\' && strings.HasPrefix(p.src[p.at:], `\x`):
		end += 4
	case c == '\\' && strings.HasPrefix(p.src[p.at:], `\u`):
		end += 6
	case c == '\\' && strings.HasPrefix(p.src[p.at:], `\k`):
		p.wrong = true
		return &node{}
	case c == '\\':
		end += 2
	default:
		_, size := utf8.DecodeRuneInString(p.src[p.at:])
		end += size
	}
	if end > len(p.src) || end == from {
		p.wrong = true
		return &node{}
	}
	p.at = end
	text := p.src[from:end]
	for {
		at := strings.Index(text, `\u`)
		if at < 0 || at+6 > len(text) {
			break
		}
		text = text[:at] + `\x{` + text[at+2:at+6] + "}" + text[at+6:]
	}
	re, err := syntax.Parse(text, syntax.ClassNL|syntax.UnicodeGroups|syntax.PerlX)
	if err != nil {
		p.wrong = true
		return &node{}
	}
	switch {
	case re.Op == syntax.OpLiteral && len(re.Rune) == 1:
		first := re.Rune[0]
		all := []rune{first}
		if re.Flags&syntax.FoldCase != 0 { // how the parser writes [Yy]
			for r := unicode.SimpleFold(first); r != first; r = unicode.SimpleFold(r) {
				all = append(all, r)
			}
			slices.Sort(all)
		}
		n := &node{kind: charNode}
		for _, r := range all {
			n.set = append(n.set, r, r)
		}
		return n
	case re.Op == syntax.OpCharClass:
		return &node{kind: charNode, set: slices.Clone(re.Rune)}
	case re.Op == syntax.OpAnyChar:
		return &node{kind: charNode, set: []rune{0, utf8.MaxRune}}
	case re.Op == syntax.OpAnyCharNotNL:
		return &node{kind: charNode, set: []rune{0, '\n' - 1, '\n' + 1, utf8.MaxRune}}
	case re.Op == syntax.OpNoMatch:
		return &node{kind: charNode}
	}
	p.wrong = true
	return &node{}
}

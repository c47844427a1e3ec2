// Package kv keeps account of the key-value cache: which page of the device's
// memory belongs to which sequence, and which pages sequences with the same
// leading tokens share.
//
// The number of pages is fixed when the Pool is made. A sequence gets all the
// pages it can ever need when it is admitted, so that it never has to stop
// half-way; it waits outside until they are free.
//
// The pages of a prompt are entered in a tree: the path from the root spells
// the tokens, so a page is found only by a prompt that agrees from the first
// token on. A page that nobody uses stays, to be found again, until its memory
// is wanted: the one unused for longest goes first.
//
// A Pool touches no device memory and belongs to one goroutine.
package kv

import (
	"errors"
	"fmt"

	"github.com/evalrun/evalrun/kernels"
)

const page = kernels.PageTokens

// ErrTooLong is returned for a sequence that the whole pool could not hold.
var ErrTooLong = errors.New("longer than the key-value cache")

// key is the content of a page: tokens, and noToken behind the end of a prompt.
type key [page]int32

const noToken = -1

func keyOf(tokens []int32) (k key) {
	for i := copy(k[:], tokens); i < page; i++ {
		k[i] = noToken
	}
	return k
}

// node is a page of the tree.
type node struct {
	parent   *node
	children map[key]*node
	key      key
	page     int32
	depth    int    // index of the page within its sequences
	size     int    // tokens of the key: a page's, or less at the end of a prompt
	users    []*Seq // running sequences that hold the page
	owner    *Seq   // who computes it, nil once it is filled
	touched  uint64 // when it was last released
}

// Pool hands out pages. Make it with New.
type Pool struct {
	pages int
	free  []int32
	roots map[string]*node
	idle  lru
	clock uint64
	hits  Stats
}

// Stats counts what sharing saved.
type Stats struct {
	Prompt int64 // tokens of prompts admitted
	Shared int64 // of them, tokens found in pages of others
}

// New makes a pool of so many pages.
func New(pages int) *Pool {
	p := &Pool{pages: pages, roots: map[string]*node{}}
	for i := pages - 1; i >= 0; i-- {
		p.free = append(p.free, int32(i))
	}
	return p
}

// Pages is the size of the pool.
func (p *Pool) Pages() int { return p.pages }

// Available is how many pages a new sequence could get: free ones, and those
// held only by the memory of the past.
func (p *Pool) Available() int { return len(p.free) + p.idle.len() }

// Stats since the pool was made.
func (p *Pool) Stats() Stats { return p.hits }

// Seq is one admitted sequence: its pages in the order of positions.
type Seq struct {
	Pages []int32
	// Copy asks for a copy of the first N positions of page From to page To,
	// before anything else is stored in any page; N is 0 for none.
	Copy struct {
		From, To int32
		N        int
	}
	path  []*node // the leading pages that are in the tree
	start int     // positions below need not be computed by this sequence
}

// minCopy is the least number of positions for which a page is copied.
const minCopy = 4

// Start is the first position that the sequence has to compute itself. It can
// fall when the sequence that was to compute a shared page is released early.
func (s *Seq) Start() int { return s.start }

// Wait tells on whom the sequence depends: its pages below Start are complete
// once owner has computed the positions below until. owner is nil when they
// are complete already.
func (s *Seq) Wait() (owner *Seq, until int) {
	shared := s.start / page // what is behind them was copied
	if shared == 0 || s.path[shared-1].owner == nil {
		return nil, 0
	}
	return s.path[shared-1].owner, shared * page
}

// Admit reserves pages for a prompt that may grow to total tokens. Pages are
// shared only within a scope (an adapter's content, say); share false asks for
// pages of its own. The last token of the prompt is never shared, so that
// there is something to compute its successor from.
//
// Admit returns nil when the pages are not available now, and an error that
// wraps ErrTooLong when they can never be.
func (p *Pool) Admit(scope string, prompt []int32, total int, share bool) (*Seq, error) {
	total = max(total, len(prompt))
	need := (total + page - 1) / page
	if need > p.pages {
		return nil, fmt.Errorf("a sequence of %d tokens needs %d pages of %d, the cache has %d: %w",
			total, need, page, p.pages, ErrTooLong)
	}
	s := &Seq{}
	var at *node
	if share {
		at = p.match(scope, prompt, s)
	}
	// What is found idle is not available for the rest.
	fresh := need - len(s.path)
	kept := 0
	for _, n := range s.path {
		if len(n.users) == 0 {
			kept++
		}
	}
	if fresh > p.Available()-kept {
		return nil, nil
	}
	for _, n := range s.path {
		p.use(n, s)
	}
	shared := len(s.path)
	if share {
		s.Copy.From, s.Copy.N = at.alike(prompt[shared*page : len(prompt)-1])
	}
	s.start = shared*page + s.Copy.N
	p.hits.Prompt += int64(len(prompt))
	p.hits.Shared += int64(s.start)
	for i := len(s.path); i < need; i++ {
		id := p.take()
		s.Pages = append(s.Pages, id)
		// The prompt's further pages are offered to those that come. The same
		// end of a prompt is entered once.
		if share && i*page < len(prompt) {
			size := min(page, len(prompt)-i*page)
			k := keyOf(prompt[i*page:])
			if at.children[k] != nil {
				share = false
				continue
			}
			n := &node{parent: at, key: k, page: id, depth: i, size: size, owner: s, users: []*Seq{s}}
			if at.children == nil {
				at.children = map[key]*node{}
			}
			at.children[k] = n
			s.path = append(s.path, n)
			at = n
		}
	}
	if s.Copy.N > 0 {
		s.Copy.To = s.Pages[shared]
	}
	return s, nil
}

// alike looks among the complete pages behind n for the one that agrees with
// rest for longest, and gives it with the number of tokens.
func (n *node) alike(rest []int32) (from int32, common int) {
	for _, c := range n.children {
		if c.owner != nil {
			continue
		}
		k := 0
		for k < c.size && k < len(rest) && c.key[k] == rest[k] {
			k++
		}
		if k > common {
			from, common = c.page, k
		}
	}
	if common < minCopy {
		return 0, 0
	}
	return from, common
}

// match follows the prompt through the tree and notes the pages it meets.
func (p *Pool) match(scope string, prompt []int32, s *Seq) (last *node) {
	at := p.roots[scope]
	if at == nil {
		at = &node{depth: -1}
		p.roots[scope] = at
	}
	for from := 0; from+page <= len(prompt)-1; from += page {
		next := at.children[key(prompt[from:])]
		if next == nil {
			break
		}
		at = next
		s.path = append(s.path, next)
		s.Pages = append(s.Pages, next.page)
	}
	return at
}

func (p *Pool) use(n *node, s *Seq) {
	if len(n.users) == 0 {
		p.idle.remove(n)
	}
	n.users = append(n.users, s)
}

// take gives a free page, or the one that has been idle for longest.
func (p *Pool) take() int32 {
	if len(p.free) == 0 {
		n := p.idle.oldest()
		p.idle.remove(n)
		p.drop(n)
	}
	id := p.free[len(p.free)-1]
	p.free = p.free[:len(p.free)-1]
	return id
}

// drop takes a page without users and children out of the tree.
func (p *Pool) drop(n *node) {
	delete(n.parent.children, n.key)
	p.free = append(p.free, n.page)
}

// Computed tells that the sequence has stored the positions below done: its
// pages up to there are complete for everyone.
func (p *Pool) Computed(s *Seq, done int) {
	for _, n := range s.path {
		if n.owner == s && done >= n.depth*page+n.size {
			n.owner = nil
		}
	}
}

// Release gives the sequence's pages back. Complete shared pages stay for
// others to find. Where others wait for pages that the sequence did not come
// to compute, the eldest of them takes over, and its Start falls.
func (p *Pool) Release(s *Seq) {
	for i := len(s.path) - 1; i >= 0; i-- {
		n := s.path[i]
		n.users = without(n.users, s)
		switch {
		case len(n.users) == 0 && n.owner == nil:
			p.clock++
			n.touched = p.clock
			p.idle.add(n)
		case len(n.users) == 0:
			p.drop(n) // never computed: nothing to find
		case n.owner == s:
			heir := n.users[0]
			n.owner = heir
			heir.start = min(heir.start, n.depth*page)
		}
	}
	p.free = append(p.free, s.Pages[len(s.path):]...)
	s.Pages, s.path = nil, nil
}

func without(list []*Seq, s *Seq) []*Seq {
	for i, u := range list {
		if u == s {
			return append(list[:i:i], list[i+1:]...)
		}
	}
	return list
}

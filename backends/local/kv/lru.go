package kv

import "container/heap"

// lru holds the idle pages. A page is released after its children (a sequence
// lets go of its last page first), so the one released longest ago has no idle
// child, and a child in use keeps its parents in use: the oldest is a leaf.
type lru struct {
	order byAge
}

type byAge struct {
	nodes []*node
	at    map[*node]int // index in nodes
}

func (l *lru) len() int { return len(l.order.nodes) }

func (l *lru) add(n *node) {
	if l.order.at == nil {
		l.order.at = map[*node]int{}
	}
	heap.Push(&l.order, n)
}

func (l *lru) remove(n *node) { heap.Remove(&l.order, l.order.at[n]) }

func (l *lru) oldest() *node { return l.order.nodes[0] }

func (b *byAge) Len() int           { return len(b.nodes) }
func (b *byAge) Less(i, j int) bool { return b.nodes[i].touched < b.nodes[j].touched }
func (b *byAge) Swap(i, j int) {
	b.nodes[i], b.nodes[j] = b.nodes[j], b.nodes[i]
	b.at[b.nodes[i]], b.at[b.nodes[j]] = i, j
}

func (b *byAge) Push(x any) {
	n := x.(*node)
	b.at[n] = len(b.nodes)
	b.nodes = append(b.nodes, n)
}

func (b *byAge) Pop() any {
	n := b.nodes[len(b.nodes)-1]
	b.nodes = b.nodes[:len(b.nodes)-1]
	delete(b.at, n)
	return n
}

// Package tier keeps the book of a memory that is smaller than what is asked of it:
// what lies in it, and what leaves first. It moves nothing itself.
//
// Law of the house: what is in use never leaves, and the budget is never passed.
//
// First call: New.
package tier

import (
	"cmp"
	"fmt"
	"slices"
)

// Book is of things K with sizes in bytes.
type Book[K comparable] struct {
	budget, used int64
	items        map[K]*item
	clock        int64
}

type item struct{ bytes, last int64 }

// New begins a book of a memory of so many bytes.
func New[K comparable](budget int64) *Book[K] {
	return &Book[K]{budget: budget, items: map[K]*item{}}
}

// Used is the sum of what is there, Budget what it never passes.
func (b *Book[K]) Used() int64   { return b.used }
func (b *Book[K]) Budget() int64 { return b.budget }

// Has tells whether k is there.
func (b *Book[K]) Has(k K) bool { return b.items[k] != nil }

// Use makes k the last that leaves, if it is there.
func (b *Book[K]) Use(k K) {
	if i := b.items[k]; i != nil {
		b.clock++
		i.last = b.clock
	}
}

// Room gives what has to leave for so many bytes more: of what is not busy, that
// which was not used for longest. Without ok, not even all of it would do.
func (b *Book[K]) Room(bytes int64, busy func(K) bool) (leave []K, ok bool) {
	short := b.used + bytes - b.budget
	if short <= 0 {
		return nil, true
	}
	var idle []K
	for k := range b.items {
		if !busy(k) {
			idle = append(idle, k)
		}
	}
	slices.SortFunc(idle, func(x, y K) int { return cmp.Compare(b.items[x].last, b.items[y].last) })
	for i, k := range idle {
		if short -= b.items[k].bytes; short <= 0 {
			return idle[:i+1], true
		}
	}
	return nil, false
}

// Add enters k, used now, where there is room.
func (b *Book[K]) Add(k K, bytes int64) {
	if b.Has(k) || b.used+bytes > b.budget {
		panic(fmt.Sprintf("BUG: %d bytes more, %d of %d are used", bytes, b.used, b.budget))
	}
	b.items[k] = &item{bytes: bytes}
	b.used += bytes
	b.Use(k)
}

// Remove takes k out, if it is there.
func (b *Book[K]) Remove(k K) {
	if i := b.items[k]; i != nil {
		b.used -= i.bytes
		delete(b.items, k)
	}
}

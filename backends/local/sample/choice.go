package sample

import (
	"math"
	"slices"
)

// Choices is a set of answers as a trie over tokens: a node for each beginning
// that some answers share.
type Choices struct {
	next map[int32]*Choices
	ids  []int32 // keys of next, ascending
	ends bool    // an answer ends here
	// Depth is the number of tokens of the longest answer.
	Depth int
}

// NewChoices makes the trie of answers; empty ones are left out.
func NewChoices(answers [][]int32) *Choices {
	root := &Choices{}
	for _, a := range answers {
		if len(a) == 0 {
			continue
		}
		root.Depth = max(root.Depth, len(a))
		at := root
		for _, id := range a {
			if at.next[id] == nil {
				if at.next == nil {
					at.next = map[int32]*Choices{}
				}
				at.next[id] = &Choices{}
				i, _ := slices.BinarySearch(at.ids, id)
				at.ids = slices.Insert(at.ids, i, id)
			}
			at = at.next[id]
		}
		at.ends = true
	}
	return root
}

// Done tells whether an answer ends here and no other goes on.
func (c *Choices) Done() bool { return c.ends && len(c.ids) == 0 }

// Ends tells whether an answer ends here.
func (c *Choices) Ends() bool { return c.ends }

// Step goes on by a token, nil where no answer does.
func (c *Choices) Step(id int32) *Choices { return c.next[id] }

// Mask leaves the logits of tokens by which an answer goes on, and, where one
// ends, those of end, and makes all others impossible. What is left is never
// so unlikely that it could not be chosen.
func (c *Choices) Mask(logits []float32, end map[int32]bool) {
	kept := make(map[int32]float32, len(c.ids)+len(end))
	keep := func(id int32) {
		if int(id) < len(logits) {
			x := logits[id]
			if !(x >= -math.MaxFloat32) { // also NaN
				x = -math.MaxFloat32
			}
			kept[id] = x
		}
	}
	for _, id := range c.ids {
		keep(id)
	}
	if c.ends {
		for id := range end {
			keep(id)
		}
	}
	for i := range logits {
		logits[i] = float32(math.Inf(-1))
	}
	for id, x := range kept {
		logits[id] = x
	}
}

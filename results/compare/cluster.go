package compare

// clusterNumbers gives pairs the numbers of their clusters, one after the other.
type clusterNumbers struct {
	n       int
	numbers []int
	known   map[uint64]int
	shared  bool
}

// add takes the next pair's cluster as each side has it; 0 is none. A run made
// before the task named a cluster has none, and then the other side's counts.
func (c *clusterNumbers) add(a, b uint64) {
	if a == 0 {
		a = b
	}
	number, ok := c.known[a]
	if a == 0 || !ok {
		number = c.n
		c.n++
	} else {
		c.shared = true
	}
	if a != 0 && !ok {
		if c.known == nil {
			c.known = map[uint64]int{}
		}
		c.known[a] = number
	}
	c.numbers = append(c.numbers, number)
}

// list is nil where no two pairs share a cluster.
func (c *clusterNumbers) list() []int {
	if !c.shared {
		return nil
	}
	return c.numbers
}

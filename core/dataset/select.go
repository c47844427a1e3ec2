package dataset

import (
	"container/heap"
	"context"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/dataset/derive"
)

// Limit says which rows of a source are taken, after the filter. The zero value
// takes all.
type Limit struct {
	// First and Last bound a range, counted from 0 over the rows that the filter
	// keeps: First is taken, Last is not. Last 0 means to the end.
	First, Last int
	// Random, when above 0, takes that many rows at random instead; they keep the
	// order of the source.
	Random int
	// Seed of the random choice.
	Seed uint64
}

// ParseLimit reads the form of the command line: N takes the first N rows, A-B
// takes rows A to B−1 counted from 0, A- takes all from A, random:N takes N at
// random, all or 0 takes all. seed is that of --seed.
func ParseLimit(s string, seed uint64) (Limit, error) {
	bad := func(why string) (Limit, error) {
		return Limit{}, &core.UserError{Where: "--limit", Message: fmt.Sprintf("%q: %s", s, why),
			Hint: "write N, A-B (A is taken, B is not, counted from 0), random:N or all"}
	}
	number := func(s string) (int, bool) {
		n, err := strconv.ParseUint(s, 10, 31)
		return int(n), err == nil && s[0] != '+'
	}
	if s == "all" {
		return Limit{}, nil
	}
	if rest, ok := strings.CutPrefix(s, "random:"); ok {
		n, ok := number(rest)
		if !ok || n == 0 {
			return bad("a number above 0 is wanted after random:")
		}
		return Limit{Random: n, Seed: seed}, nil
	}
	if from, to, ok := strings.Cut(s, "-"); ok && from != "" {
		a, ok := number(from)
		if !ok {
			return bad("the range does not begin with a number")
		}
		if to == "" {
			return Limit{First: a}, nil
		}
		b, ok := number(to)
		if !ok {
			return bad("the range does not end with a number")
		}
		if b <= a {
			return bad("the range is empty")
		}
		return Limit{First: a, Last: b}, nil
	}
	n, ok := number(s)
	if !ok {
		return bad("not a number of rows")
	}
	return Limit{Last: n}, nil
}

// String gives the form that [ParseLimit] reads.
func (l Limit) String() string {
	switch {
	case l.Random > 0:
		return "random:" + strconv.Itoa(l.Random)
	case l.First > 0 && l.Last == 0:
		return strconv.Itoa(l.First) + "-"
	case l.First > 0:
		return fmt.Sprintf("%d-%d", l.First, l.Last)
	case l.Last > 0:
		return strconv.Itoa(l.Last)
	}
	return "all"
}

// most is the largest number of rows that the limit can give, or −1.
func (l Limit) most() int {
	switch {
	case l.Random > 0:
		return l.Random
	case l.Last > 0:
		return l.Last - l.First
	}
	return -1
}

// Picked is a selected row, with its derived columns.
type Picked struct {
	// ID names the row within its split: Index in digits.
	ID string
	// Index is the row's position in the source, from 0, whatever the filter and
	// the limit leave out.
	Index  int
	Fields Row
}

// Selection is the part of a source that a run is about: filter first, then
// limit, then derived columns. It is immutable, and may be read by several
// goroutines at once and any number of times.
type Selection struct {
	Source Source
	// Filter may be nil. When it names a derived column, the columns are derived
	// before it is asked.
	Filter *derive.Filter
	// Columns may be nil.
	Columns *derive.Columns
	Limit   Limit
}

// Rows makes one pass over the selected rows in the order of the source; with a
// random limit it reads the source twice. The first error ends the pass.
func (s Selection) Rows(ctx context.Context) iter.Seq2[Picked, error] {
	return func(yield func(Picked, error) bool) {
		var chosen []int
		if s.Limit.Random > 0 {
			var err error
			if chosen, err = s.choose(ctx); err != nil {
				yield(Picked{}, err)
				return
			}
			if len(chosen) == 0 {
				return
			}
		}
		rank := -1 // among the rows that the filter keeps
		for p, err := range s.kept(ctx, chosen == nil) {
			if err != nil {
				yield(Picked{}, err)
				return
			}
			if rank++; chosen != nil {
				if p.Index != chosen[0] {
					continue
				}
				chosen = chosen[1:]
			} else if rank < s.Limit.First {
				continue
			}
			if p.Fields, err = s.finish(p); err != nil {
				yield(Picked{}, err)
				return
			}
			if !yield(p, nil) {
				return
			}
			if chosen != nil && len(chosen) == 0 || chosen == nil && s.Limit.Last > 0 && rank+1 >= s.Limit.Last {
				return
			}
		}
	}
}

// derivesFirst tells whether the filter looks at a derived column.
func (s Selection) derivesFirst() bool {
	if s.Filter == nil || s.Columns == nil {
		return false
	}
	made := s.Columns.Names()
	return slices.ContainsFunc(s.Filter.Uses(), func(name string) bool { return slices.Contains(made, name) })
}

// kept yields the rows that the filter keeps. Unless filter is asked for, the rows
// have been filtered by an earlier pass and are yielded all.
func (s Selection) kept(ctx context.Context, filter bool) iter.Seq2[Picked, error] {
	return func(yield func(Picked, error) bool) {
		first := filter && s.derivesFirst()
		index := -1
		for row, err := range s.Source.Rows(ctx) {
			if err != nil {
				yield(Picked{}, err)
				return
			}
			index++
			if filter && s.Filter != nil {
				seen := row
				if first {
					if seen, err = s.Columns.Apply(row, index); err != nil {
						yield(Picked{}, s.wrong(err))
						return
					}
				}
				keep, err := s.Filter.Keep(seen, index)
				if err != nil {
					yield(Picked{}, s.wrong(err))
					return
				}
				if !keep {
					continue
				}
			}
			if !yield(Picked{ID: strconv.Itoa(index), Index: index, Fields: row}, nil) {
				return
			}
		}
	}
}

func (s Selection) finish(p Picked) (Row, error) {
	if s.Columns == nil {
		return p.Fields, nil
	}
	row, err := s.Columns.Apply(p.Fields, p.Index)
	if err != nil {
		return nil, s.wrong(err)
	}
	return row, nil
}

// wrong says which source a row came from that an expression cannot digest; the
// *derive.Error stays within reach of errors.As.
func (s Selection) wrong(err error) error {
	if e, ok := err.(*derive.Error); ok {
		return &core.UserError{Where: s.Source.Name(), Message: "an expression does not fit a row", Hint: e.Hint, Err: e}
	}
	return err
}

// choose makes the first pass of a random selection: the rows with the smallest
// keys, where a row's key depends on the seed and its index alone. So random:100
// is a part of random:200, and a row stays chosen when rows behind it are added,
// until rows with smaller keys push it out.
func (s Selection) choose(ctx context.Context) ([]int, error) {
	var best keyed
	for p, err := range s.kept(ctx, true) {
		if err != nil {
			return nil, err
		}
		k := key{rank(s.Limit.Seed, uint64(p.Index)), p.Index}
		if len(best) < s.Limit.Random {
			heap.Push(&best, k)
		} else if k.before(best[0]) {
			best[0] = k
			heap.Fix(&best, 0)
		}
	}
	chosen := make([]int, len(best))
	for i, k := range best {
		chosen[i] = k.index
	}
	slices.Sort(chosen)
	return chosen, nil
}

// rank is SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number
// generators", 2014) started from the seed's own output, at position index.
func rank(seed, index uint64) uint64 {
	mix := func(z uint64) uint64 {
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		return z ^ z>>31
	}
	const gamma = 0x9e3779b97f4a7c15
	return mix(mix(seed+gamma) + (index+1)*gamma)
}

type key struct {
	rank  uint64
	index int
}

func (k key) before(o key) bool {
	return k.rank < o.rank || k.rank == o.rank && k.index < o.index
}

// keyed is a heap with the largest key on top.
type keyed []key

func (h keyed) Len() int           { return len(h) }
func (h keyed) Less(i, j int) bool { return h[j].before(h[i]) }
func (h keyed) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *keyed) Push(x any)        { *h = append(*h, x.(key)) }
func (h *keyed) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}

// Most is the largest number of rows that the selection can give, or −1 where the
// limit sets none.
func (s Selection) Most() int { return s.Limit.most() }

// Summary of a selection, for the manifest of a run.
type Summary struct {
	Rows int
	// SHA256 in hexadecimal digits, over the canonical form of the rows; see
	// [Digest].
	SHA256 string
}

// Summarise makes one pass and counts and hashes the selected rows.
func (s Selection) Summarise(ctx context.Context) (Summary, error) {
	d := NewDigest()
	for p, err := range s.Rows(ctx) {
		if err != nil {
			return Summary{}, err
		}
		if err := d.Add(p.ID, p.Fields); err != nil {
			return Summary{}, &core.UserError{Where: s.Source.Name(), Message: fmt.Sprintf("row %d", p.Index), Hint: "leave that column out", Err: err}
		}
	}
	return Summary{Rows: d.Rows(), SHA256: d.Sum()}, nil
}

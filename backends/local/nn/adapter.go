package nn

import "github.com/evalrun/evalrun/kernels"

// An Adapter changes some of a decoder's modules for the rows that use it. Its
// parts are numbered like the modules; nil leaves one as it is.
type Adapter struct {
	Parts []*Part
	Bytes int64 // memory that the parts take
}

// A Part is what an adapter does to one module:
//
//	y = (x·Wᵀ + LowRank) ∘ Columns + Shift + b
//
// with a Weight or Norm of its own in the place of the base's, where those are
// set, and a Bias of its own in the place of b.
type Part struct {
	LowRank kernels.LowRank  // without A: none
	Columns kernels.Buffer   // DoRA's factor of each output
	Shift   kernels.Buffer   // the bias of B, scaled
	Weight  kernels.Prepared // of a linear layer or an embedding
	Norm    kernels.Buffer
	Bias    kernels.Buffer
}

// Use says that rows Row to Row+N-1 use an adapter.
type Use struct {
	Row, N  int
	Adapter *Adapter
}

func (u Use) part(module int) *Part {
	if module < len(u.Adapter.Parts) {
		return u.Adapter.Parts[module]
	}
	return nil
}

// changes tells whether any use has a part of the module.
func changes(uses []Use, module int) bool {
	for _, u := range uses {
		if u.part(module) != nil {
			return true
		}
	}
	return false
}

// runs calls f for stretches of rows that together are all of them, each with
// its part of the module, nil where there is none.
func runs(uses []Use, module, rows int, f func(row, n int, p *Part)) {
	at := 0
	for _, u := range uses {
		p := u.part(module)
		if p == nil {
			continue
		}
		if u.Row > at {
			f(at, u.Row-at, nil)
		}
		f(u.Row, u.N, p)
		at = u.Row + u.N
	}
	if at < rows {
		f(at, rows-at, nil)
	}
}

// wanted gives the uses of the rows that Gather picks.
func wanted(uses []Use, want []int32) []Use {
	var out []Use
	i := 0
	for _, u := range uses {
		for i < len(want) && int(want[i]) < u.Row {
			i++
		}
		from := i
		for i < len(want) && int(want[i]) < u.Row+u.N {
			i++
		}
		if i > from {
			out = append(out, Use{from, i - from, u.Adapter})
		}
	}
	return out
}

// between gives the uses of rows from to from+n-1, counted from there.
func between(uses []Use, from, n int) []Use {
	var out []Use
	for _, u := range uses {
		lo, hi := max(u.Row, from), min(u.Row+u.N, from+n)
		if lo < hi {
			out = append(out, Use{lo - from, hi - lo, u.Adapter})
		}
	}
	return out
}

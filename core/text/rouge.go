package text

import (
	"strings"
	"sync"
)

// PRF is precision, recall and their harmonic mean F, each in [0, 1].
type PRF struct {
	Precision, Recall, F float64
}

// NewPRF makes a PRF of a number of hits, the prediction's count and the
// reference's count. Without hits all three are 0, whatever the counts.
func NewPRF(hits, predicted, wanted int) PRF {
	if hits == 0 || predicted == 0 || wanted == 0 {
		return PRF{}
	}
	p, r := float64(hits)/float64(predicted), float64(hits)/float64(wanted)
	return PRF{Precision: p, Recall: r, F: 2 * p * r / (p + r)}
}

// Variant names the Python package whose ROUGE is meant.
type Variant string

// The variants. Torchmetrics and Google agree on rouge1, rouge2 and rougeL; the
// tokens of GoogleStem are stemmed.
const (
	Torchmetrics Variant = "torchmetrics"
	Google       Variant = "google"
	GoogleStem   Variant = "google-stem"
)

// Rouge scores pairs of texts. It keeps its buffers between calls, so that a
// pair costs no allocation once they have grown; one goroutine at a time.
// The zero value scores as Torchmetrics does with its stemmer off.
type Rouge struct {
	Variant Variant
	// Unicode takes the words of all scripts for tokens instead of the runs of
	// [a-z0-9]; see UnicodeTokens. No package named by Variant does so.
	Unicode bool

	table     tokenTable
	wanted    []int32 // reference token ids, in order
	predicted []int32 // prediction token ids, -1 where the reference has no such token
	masks     []uint64
	state     []uint64
	grams     gramTable
}

// L scores the longest common subsequence of tokens over the whole texts; line
// ends are not special (rougeL).
func (r *Rouge) L(prediction, reference string) PRF {
	r.load(prediction, reference)
	return r.scoreL()
}

// N scores the overlap of runs of n tokens, each counted at most as often as
// the reference has it (rouge1, rouge2, …). n below 1 counts as 1.
func (r *Rouge) N(n int, prediction, reference string) PRF {
	r.load(prediction, reference)
	return r.scoreN(max(n, 1))
}

// BestL is L against the reference that gives the highest F, the first of
// equals; without references it is zero.
func (r *Rouge) BestL(prediction string, references []string) PRF {
	var top PRF
	for i, reference := range references {
		if s := r.L(prediction, reference); i == 0 || s.F > top.F {
			top = s
		}
	}
	return top
}

// Best is the result with the highest F, the first of equals; zero without
// any. As in torchmetrics since 1.5 and in rouge_score the best is chosen for
// each key (rouge1, rougeL …) by itself.
func Best(results []PRF) PRF {
	var top PRF
	for i, s := range results {
		if i == 0 || s.F > top.F {
			top = s
		}
	}
	return top
}

// Mean is the mean of results over several references, of P, R and F each for
// itself (accumulate="avg" of torchmetrics); zero without any. Like there, F is
// not the harmonic mean of the other two any more.
func Mean(results []PRF) PRF {
	var sum PRF
	for _, p := range results {
		sum.Precision += p.Precision
		sum.Recall += p.Recall
		sum.F += p.F
	}
	if n := float64(len(results)); n > 0 {
		sum.Precision, sum.Recall, sum.F = sum.Precision/n, sum.Recall/n, sum.F/n
	}
	return sum
}

// HasTokens reports whether s holds any token that ROUGE counts. A reference
// without one (a text in a script other than Latin, for example) can only
// score 0.
func HasTokens(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' {
			return true
		}
		if _, width := asciiLower(s, i); width > 1 {
			return true
		}
	}
	return false
}

// Tokens cuts s as torchmetrics and rouge_score do: lower case, then the
// maximal runs of [a-z0-9]. Other letters separate: "naïve" is "na", "ve".
func Tokens(s string) []string {
	return new(tokenTable).tokens(s)
}

// Has reports whether s holds any token that r counts; see HasTokens.
func (r *Rouge) Has(s string) bool {
	if r.Unicode {
		return strings.ContainsFunc(s, isTokenRune)
	}
	return HasTokens(s)
}

// load tokenises both texts and numbers the reference's tokens.
func (r *Rouge) load(prediction, reference string) {
	t := &r.table
	t.reset()
	t.stem, t.unicode = r.Variant == GoogleStem, r.Unicode
	r.wanted, r.predicted = r.wanted[:0], r.predicted[:0]
	t.scan(reference, func(start, end int, hash uint32) {
		r.wanted = append(r.wanted, t.intern(start, end, hash))
	})
	t.scan(prediction, func(start, end int, hash uint32) {
		r.predicted = append(r.predicted, t.find(start, end, hash))
	})
}

func (r *Rouge) scoreL() PRF {
	m := len(r.wanted)
	words := (m + 63) / 64
	need := len(r.table.entries) * words
	if cap(r.masks) < need {
		r.masks = make([]uint64, need, 2*need)
	}
	r.masks = r.masks[:need]
	clear(r.masks)
	if cap(r.state) < words {
		r.state = make([]uint64, words, 2*words)
	}
	for i, id := range r.wanted {
		r.masks[int(id)*words+i/64] |= 1 << (i % 64)
	}
	return NewPRF(lcsLength(r.masks, words, r.predicted, m, r.state[:words]), len(r.predicted), m)
}

func (r *Rouge) scoreN(n int) PRF {
	wanted, predicted := len(r.wanted)-n+1, len(r.predicted)-n+1
	if wanted <= 0 || predicted <= 0 {
		return PRF{}
	}
	// Runs are numbered by their length: a run of k+1 tokens is the number of
	// its first k and the token behind them, so two integers always suffice.
	g := &r.grams
	g.reset()
	for i := range wanted {
		id := r.wanted[i]
		for k := 1; k < n; k++ {
			id = g.intern(id, r.wanted[i+k], k)
		}
		g.count(id)
	}
	hits := 0
	for i := range predicted {
		id := r.predicted[i]
		for k := 1; k < n && id >= 0; k++ {
			id = g.find(id, r.predicted[i+k], k)
		}
		if id >= 0 && g.take(id) {
			hits++
		}
	}
	return NewPRF(hits, predicted, wanted)
}

// gramTable numbers pairs (prefix, next token) and counts the runs of the
// wanted length.
type gramTable struct {
	ids    map[gramKey]int32
	counts []int32
}

type gramKey struct {
	prefix, next int32
	length       int32
}

func (g *gramTable) reset() {
	if g.ids == nil {
		g.ids = make(map[gramKey]int32)
	}
	clear(g.ids)
	g.counts = g.counts[:0]
}

func (g *gramTable) intern(prefix, next int32, length int) int32 {
	key := gramKey{prefix, next, int32(length)}
	id, ok := g.ids[key]
	if !ok {
		id = int32(len(g.ids))
		g.ids[key] = id
	}
	return id
}

func (g *gramTable) find(prefix, next int32, length int) int32 {
	if next < 0 {
		return -1
	}
	if id, ok := g.ids[gramKey{prefix, next, int32(length)}]; ok {
		return id
	}
	return -1
}

func (g *gramTable) count(id int32) {
	for int(id) >= len(g.counts) {
		g.counts = append(g.counts, 0)
	}
	g.counts[id]++
}

// take uses up one of the reference's runs with this number.
func (g *gramTable) take(id int32) bool {
	if int(id) >= len(g.counts) || g.counts[id] == 0 {
		return false
	}
	g.counts[id]--
	return true
}

var rougePool = sync.Pool{New: func() any { return new(Rouge) }}

// RougeL is Rouge.L with pooled buffers; safe for concurrent use.
func RougeL(prediction, reference string) PRF {
	r := rougePool.Get().(*Rouge)
	defer rougePool.Put(r)
	r.Variant, r.Unicode = Torchmetrics, false
	return r.L(prediction, reference)
}

// RougeN is Rouge.N with pooled buffers; safe for concurrent use.
func RougeN(n int, prediction, reference string) PRF {
	r := rougePool.Get().(*Rouge)
	defer rougePool.Put(r)
	r.Variant, r.Unicode = Torchmetrics, false
	return r.N(n, prediction, reference)
}

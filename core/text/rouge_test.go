package text

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// lcsTable is the readable twin of lcsLength: the textbook dynamic programme.
func lcsTable(a, b []string) int {
	table := make([][]int, len(a)+1)
	for i := range table {
		table[i] = make([]int, len(b)+1)
	}
	for i := range a {
		for j := range b {
			if a[i] == b[j] {
				table[i+1][j+1] = table[i][j] + 1
			} else {
				table[i+1][j+1] = max(table[i][j+1], table[i+1][j])
			}
		}
	}
	return table[len(a)][len(b)]
}

// overlap is the readable twin of scoreN.
func overlap(n int, predicted, wanted []string) PRF {
	count := func(tokens []string) (map[string]int, int) {
		m, total := map[string]int{}, 0
		for i := 0; i+n <= len(tokens); i++ {
			m[strings.Join(tokens[i:i+n], " ")]++
			total++
		}
		return m, total
	}
	p, np := count(predicted)
	w, nw := count(wanted)
	hits := 0
	for gram, c := range p {
		hits += min(c, w[gram])
	}
	return NewPRF(hits, np, nw)
}

func TestRougeAgainstTwin(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var r Rouge
	for trial := range 3000 {
		vocabulary := 1 + rng.IntN(1+trial%90)
		draw := func() []string {
			tokens := make([]string, rng.IntN([]int{4, 70, 140, 400}[trial%4]))
			for i := range tokens {
				tokens[i] = fmt.Sprintf("w%d", rng.IntN(vocabulary))
			}
			return tokens
		}
		p, w := draw(), draw()
		ps, ws := strings.Join(p, ", "), strings.ToUpper(strings.Join(w, "\n"))
		if got, want := r.L(ps, ws), NewPRF(lcsTable(p, w), len(p), len(w)); got != want {
			t.Fatalf("trial %d: rougeL %v, twin %v\n%q\n%q", trial, got, want, ps, ws)
		}
		for n := 1; n <= 3; n++ {
			if got, want := r.N(n, ps, ws), overlap(n, p, w); got != want {
				t.Fatalf("trial %d: rouge%d %v, twin %v\n%q\n%q", trial, n, got, want, ps, ws)
			}
		}
	}
}

func TestTokens(t *testing.T) {
	for in, want := range map[string][]string{
		"": nil, "!?": nil, "Don't stop": {"don", "t", "stop"}, "naïve café": {"na", "ve", "caf"}, "日本": nil,
		"İstanbul": {"i", "stanbul"}, "10\u212am": {"10km"}, "a_b": {"a", "b"}, "x²": {"x"}, "a\xffb": {"a", "b"},
	} {
		if got := Tokens(in); !slices.Equal(got, want) {
			t.Errorf("Tokens(%q) = %q, want %q", in, got, want)
		}
		if got := HasTokens(in); got != (len(want) > 0) {
			t.Errorf("HasTokens(%q) = %v", in, got)
		}
	}
}

func TestBestReference(t *testing.T) {
	var r Rouge
	got := r.BestL("a b c", []string{"x", "a b", "a b c d"})
	if want := r.L("a b c", "a b c d"); got != want {
		t.Errorf("BestL = %v, want %v", got, want)
	}
	if got := Best(nil); got != (PRF{}) {
		t.Errorf("Best of nothing = %v", got)
	}
}

// NLTK 3.10
func TestPorter(t *testing.T) {
	for in, want := range map[string]string{
		"dying": "die", "skies": "sky", "news": "news", "generously": "gener", "studies": "studi", "ties": "tie",
		"agreed": "agre", "feed": "feed", "hopping": "hop", "falling": "fall", "filing": "file", "happy": "happi",
		"enjoy": "enjoy", "rationally": "ration", "relational": "relat", "geology": "geolog", "hopefully": "hope",
		"adoption": "adopt", "replacement": "replac", "controlling": "control", "syzygy": "syzygi", "yyyy": "yyyi",
	} {
		if got := porterStem([]byte(in)); got != want {
			t.Errorf("porterStem(%q) = %q, NLTK %q", in, got, want)
		}
	}
}

func ExampleRougeL() {
	s := RougeL("the cat sat on the mat", "the cat lay on a mat")
	fmt.Printf("%.3f %.3f %.3f\n", s.Precision, s.Recall, s.F)
	// Output: 0.667 0.667 0.667
}

func TestRougeAllocatesNothing(t *testing.T) {
	var r Rouge
	a, b := strings.Repeat("some words to compare ", 40), strings.Repeat("words to compare some ", 40)
	r.L(a, b)
	if n := testing.AllocsPerRun(100, func() { r.L(a, b) }); n != 0 {
		t.Errorf("%v allocations a pair", n)
	}
}

// Pairs of 50 and of 400 tokens. The peer, rouge_score in Python, does 2,600
// pairs of 50 a second on the machine where this was written, and 22 of 400.
func BenchmarkRougeL(b *testing.B) {
	for _, tokens := range []int{50, 400} {
		b.Run(fmt.Sprint(tokens), func(b *testing.B) {
			rng := rand.New(rand.NewPCG(3, 4))
			texts := make([]string, 200)
			for i := range texts {
				var s strings.Builder
				for range tokens {
					s.WriteString("word")
					s.WriteString(fmt.Sprint(rng.IntN(3 * tokens)))
					s.WriteByte(' ')
				}
				texts[i] = s.String()
			}
			var r Rouge
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				r.L(texts[i%200], texts[(i*7+1)%200])
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "pairs/s")
		})
	}
}

func TestLsum(t *testing.T) {
	var r Rouge
	// One sentence on both sides: the same as L.
	a, b := "the cat sat on the mat", "the cat lay on a mat"
	if got, want := r.Lsum([]string{a}, []string{b}), r.L(a, b); got != want {
		t.Errorf("one sentence: %v, L %v", got, want)
	}
	// "a b" and "c d" together hold four of five words, though in another order.
	got := r.Lsum(Lines("c d\n\na b\n"), []string{"a b c d e"})
	if want := NewPRF(4, 4, 5); got != want {
		t.Errorf("union: %v, want %v", got, want)
	}
	// A word counts as often as both have it.
	if got, want := r.Lsum([]string{"a"}, []string{"a", "a"}), NewPRF(1, 1, 2); got != want {
		t.Errorf("clipped: %v, want %v", got, want)
	}
	if got := r.Lsum(nil, []string{"a"}); got != (PRF{}) {
		t.Errorf("nothing: %v", got)
	}
}

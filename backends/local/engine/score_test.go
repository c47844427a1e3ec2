package engine

import (
	"strings"
	"testing"

	"github.com/evalrun/evalrun/backends/local/internal/fixture"
	"github.com/evalrun/evalrun/kernels/format"
	"github.com/evalrun/evalrun/kernels/ref"
)

// Scores agree with the log-probabilities of generating the same tokens, on
// the readable device too.
func TestScoreAgreesWithGenerate(t *testing.T) {
	dir := fixture.Tiny.WriteHF(t, 4, format.F32)
	for _, o := range []Options{{Threads: 2}, {Device: ref.New()}} {
		e := load(t, dir, o)
		prompt := []int32{1, 50, 60, 70, 80, 90, 100}
		g := ask(t, e, Request{ID: "g", Kind: Generate, Tokens: prompt, MaxTokens: 45, Logprobs: true, TopLogprobs: 3, IgnoreEOS: true})["g"]
		s := ask(t, e, Request{ID: "s", Kind: Score, Tokens: prompt, ContinuationTokens: [][]int32{g.Tokens[:1], g.Tokens, {g.Tokens[0] ^ 1}}})["s"]
		var sum float64
		for i, lp := range g.Logprobs {
			sum += lp
			if top := g.TopLogprobs[i]; len(top) != 3 || top[0].ID != g.Tokens[i] || top[0].LogProb != lp {
				t.Fatalf("token %d: alternatives %v", i, top)
			}
		}
		if s.Scores[0].LogProb != g.Logprobs[0] || s.Scores[1].LogProb != sum || s.Scores[1].Tokens != 45 {
			t.Errorf("scores %+v, want %g and %g", s.Scores, g.Logprobs[0], sum)
		}
		if !s.Scores[1].Greedy || s.Scores[2].Greedy {
			t.Errorf("greedy: %+v", s.Scores)
		}
	}
}

func TestPromptOnceForLabels(t *testing.T) {
	e := load(t, fixture.Tiny.WriteHF(t, 4, format.F32), Options{Tokenizer: bytewise{}})
	before := e.Stats().Rows
	r := ask(t, e, Request{ID: "s", Kind: Score, Prompt: strings.Repeat("which one? ", 5), Continuations: []string{"A", "B", "C", "Apple"}})["s"]
	// The prompt's last space goes to the continuations.
	if n := e.Stats().Rows - before; n != int64(1+5*11-1+5) {
		t.Errorf("%d tokens computed", n)
	}
	if len(r.Scores) != 4 || r.Scores[0].Tokens != 2 || r.Scores[3].Tokens != 6 {
		t.Errorf("scores %+v", r.Scores)
	}
}

func TestPromptOnceForTexts(t *testing.T) {
	e := load(t, fixture.Tiny.WriteHF(t, 4, format.F32), Options{Tokenizer: bytewise{}})
	r := Request{ID: "s", Kind: Score, Prompt: strings.Repeat("what?", 10), Continuations: []string{"Apple", "Bread", "Cream"}}
	before := e.Stats().Rows
	got := ask(t, e, r)["s"]
	// The prompt and four letters; the prompt's last token and four letters twice.
	if n := e.Stats().Rows - before; n != 51+4+2*(1+4) {
		t.Errorf("%d tokens computed", n)
	}
	plain := load(t, fixture.Tiny.WriteHF(t, 4, format.F32), Options{Tokenizer: bytewise{}, NoSharing: true})
	if want := ask(t, plain, r)["s"]; bits(got) != bits(want) {
		t.Errorf("scores %+v, alone %+v", got.Scores, want.Scores)
	}
	// The same prompt again costs one token.
	before = e.Stats().Rows
	g := Request{ID: "g", Kind: Generate, Prompt: r.Prompt, MaxTokens: 1}
	if ask(t, e, g); e.Stats().Rows-before != 1 {
		t.Errorf("%d tokens computed for a known prompt", e.Stats().Rows-before)
	}
}

// A text longer than the context is scored in windows: each token once, and the
// last window is full.
func TestScoreInWindows(t *testing.T) {
	dir := fixture.Tiny.WriteHF(t, 4, format.F32)
	const size = 16
	e := load(t, dir, Options{Tokenizer: bytewise{}, Context: size})
	score := func(id string, prompt, cont []int32) float64 {
		return ask(t, e, Request{ID: id, Kind: Score, Tokens: prompt, ContinuationTokens: [][]int32{cont}})[id].Scores[0].LogProb
	}
	for _, n := range []int{1, size - 1, size, size + 1, 2*size + 5, 3 * size} {
		text := strings.Repeat("what a text this is ", 5)[:n]
		got := ask(t, e, Request{ID: "w", Kind: Score, Continuations: []string{text}, Overflow: Windows})["w"]
		bare, err := bytewise{}.Encode(text, false, true)
		if err != nil {
			t.Fatal(err)
		}
		first, _ := e.first()
		whole := append([]int32{first}, bare...)
		want := 0.0
		for from := 1; from < len(whole); from += size {
			to := min(from+size, len(whole))
			begin := from - 1
			if to-from < size { // reaches back
				begin = max(0, to-1-size)
			}
			// Token by token, by the plain way.
			for at := from; at < to; at++ {
				want += score("s", whole[begin:at], whole[at:at+1])
			}
		}
		if l := got.Scores[0]; l.Tokens != len(bare) || l.LogProb-want > 1e-4 || want-l.LogProb > 1e-4 {
			t.Errorf("%d tokens: %+v, want %g", n, l, want)
		}
	}
}

package local_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/evalrun/evalrun/backends/local"
	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/extract"
)

// Whatever the pattern, an answer that was ended early gives the extraction of
// the whole answer, and is a beginning of it.
func TestUntilChangesNoExtraction(t *testing.T) {
	t.Setenv("EVALRUN_CACHE", filepath.Join(os.TempDir(), "evalrun-test-cache"))
	rng := rand.New(rand.NewPCG(8, 1))
	words := []string{`\d+`, `[a-z]+`, `\w+`, `(?:a|the)`, `e`, `[^\w]`, `\b\w{2,4}\b`, `t.*?e`, `o.`, `s$`, `(?i:[A-Z]\w+)`, `\s+`}
	var requests []core.Request
	for i := range 120 {
		p := core.Pattern{Expr: words[rng.IntN(len(words))], Select: rng.IntN(3)}
		if i%3 == 0 {
			p.Expr += words[rng.IntN(len(words))]
		}
		if i%10 == 9 {
			p.Select = -1
		}
		r := core.Request{ID: fmt.Sprint(i), Kind: core.Generate, Prompt: fmt.Sprintf("The harbour was quiet, and %d boats", i), Until: []core.Pattern{p},
			Generation: core.Generation{MaxTokens: 40, Temperature: 1.1, Seed: uint64(i)}}
		if i%4 == 0 {
			r.Generation.Stop = []string{" the", "e "}
		}
		requests = append(requests, r)
	}
	ask := func(until string) map[string]*core.Response {
		b, err := local.New(core.Config{Options: map[string]string{"until": until}})
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		s, err := b.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		for _, r := range requests {
			if err := s.Send(r); err != nil {
				t.Fatal(err)
			}
		}
		got := map[string]*core.Response{}
		for ev, err := range s.Events() {
			if err != nil || ev.Err != nil {
				t.Fatal(err, ev.Err)
			}
			if ev.Response != nil {
				got[ev.ID] = ev.Response
			}
			if len(got) == len(requests) {
				break
			}
		}
		return got
	}
	whole, early := ask("off"), ask("on")
	ended, saved := 0, 0
	for _, r := range requests {
		w, e := whole[r.ID], early[r.ID]
		p, err := extract.Compile(r.Until[0].Expr, "", 0)
		if err != nil {
			t.Fatal(err)
		}
		find := func(text string) string {
			m, err := p.Select(text, r.Until[0].Select)
			if err != nil {
				t.Fatal(err)
			}
			return fmt.Sprint(m)
		}
		if a, b := find(w.Text), find(e.Text); a != b {
			t.Errorf("%q, match %d: %s of the whole answer %q, %s of %q", r.Until[0].Expr, r.Until[0].Select, a, w.Text, b, e.Text)
		}
		if e.Finish == core.FinishUntil {
			ended++
			if r.Until[0].Select < 0 {
				t.Errorf("%q: the last match has settled", r.Until[0].Expr)
			}
		} else if e.Text != w.Text {
			t.Errorf("%q: not ended early, and the text differs", r.Until[0].Expr)
		}
		if w.Finish == core.FinishUntil {
			t.Error("ended early although switched off")
		}
		saved += w.Usage.Completion - e.Usage.Completion
	}
	if ended < 40 || saved < 500 {
		t.Errorf("%d answers ended early, %d tokens saved", ended, saved)
	}
	t.Logf("%d of %d answers ended early, %d tokens saved", ended, len(requests), saved)
}

// An answer that is held to choices is one of them, whatever else the model
// would say, in any company; without company the logits decide.
func TestChoices(t *testing.T) {
	b := demo(t)
	defer b.Close()
	open := func() core.Session {
		s, err := b.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	labels := []string{"blue", "blueish", "no", "10", "1"}
	seen := map[string]int{}
	for i := range 40 {
		r := core.Request{ID: fmt.Sprint(i), Kind: core.Generate, Prompt: fmt.Sprintf("What is number %d?\n### Answer:", i), Choices: labels,
			Generation: core.Generation{MaxTokens: 1, Temperature: float64(i%2) * 3, Seed: uint64(i)}}
		if i%3 == 0 {
			r.Prompt += " "
		}
		s := open()
		got := one(t, s, r)
		s.Close()
		text := strings.TrimSpace(got.Text)
		if !slices.Contains(labels, text) || got.Finish != core.FinishStop {
			t.Errorf("%q, finished by %s", got.Text, got.Finish)
		}
		seen[text]++
	}
	if len(seen) < 3 {
		t.Errorf("only %v were ever chosen", seen)
	}
	s := open()
	defer s.Close()
	err := s.Send(core.Request{ID: "x", Kind: core.Generate, Prompt: "a", Choices: []string{""}, Generation: core.Generation{MaxTokens: 1}})
	if e, ok := err.(*core.Error); !ok || e.Code != core.CodeInvalid {
		t.Errorf("an empty choice: %v", err)
	}
}

package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/evalrun/evalrun/backends/local/arch"
	"github.com/evalrun/evalrun/backends/local/internal/fixture"
	"github.com/evalrun/evalrun/backends/local/quant"
	"github.com/evalrun/evalrun/backends/local/sample"
	"github.com/evalrun/evalrun/internal/shared"
	"github.com/evalrun/evalrun/kernels/cpu"
	"github.com/evalrun/evalrun/kernels/format"
)

// bytewise is a tokenizer of bytes: 1 begins a text, 2 ends one, 3+b is b.
type bytewise struct{}

func (bytewise) Encode(text string, addSpecial, literal bool) ([]int32, error) {
	ids := []int32{}
	if addSpecial {
		ids = append(ids, 1)
	}
	for {
		plain, rest, found := strings.Cut(text, "</s>")
		if literal {
			plain, found = text, false
		}
		for _, b := range []byte(plain) {
			ids = append(ids, int32(b)+3)
		}
		if !found {
			return ids, nil
		}
		ids, text = append(ids, 2), rest
	}
}

func (bytewise) BOS() (int32, bool) { return 1, true }
func (bytewise) EOS() (int32, bool) { return 2, true }
func (bytewise) Token(id int32) (string, bool) {
	return map[int32]string{1: "<s>", 2: "</s>"}[id], id == 1 || id == 2
}
func (bytewise) Stream([]int32) TextStream { return &byteStream{} }

type byteStream struct{ held []byte }

func (s *byteStream) Push(id int32) string {
	if id < 3 || id > 258 {
		return ""
	}
	s.held = append(s.held, byte(id-3))
	if !utf8.FullRune(s.held) {
		return ""
	}
	return s.Flush()
}

func (s *byteStream) Flush() string {
	text := strings.ToValidUTF8(string(s.held), "\uFFFD")
	s.held = nil
	return text
}

func load(t testing.TB, path string, o Options) *Engine {
	t.Helper()
	e, err := Load(path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// ask submits requests to one session and waits for all their ends.
func ask(t testing.TB, e *Engine, requests ...Request) map[string]*Response {
	t.Helper()
	s := e.NewSession()
	defer s.Close()
	go func() {
		for _, r := range requests {
			if err := s.Submit(r); err != nil {
				s.emit(Event{ID: r.ID, Err: err})
			}
		}
	}()
	got := map[string]*Response{}
	for ev := range s.Events() {
		if ev.Err != nil {
			t.Fatalf("%s: %v", ev.ID, ev.Err)
		}
		if ev.Response != nil {
			if got[ev.ID] != nil {
				t.Fatalf("%s ended twice", ev.ID)
			}
			got[ev.ID] = ev.Response
		}
		if len(got) == len(requests) {
			break
		}
	}
	return got
}

// mixture is a set of requests of every kind, many with common beginnings.
func mixture(n int) []Request {
	rng := rand.New(rand.NewPCG(2, 3))
	word := func(n int) []int32 {
		ids := make([]int32, n)
		for i := range ids {
			ids[i] = int32(rng.IntN(fixture.Tiny.Vocab))
		}
		return ids
	}
	common := [][]int32{word(70), word(33), word(100)}
	var all []Request
	for i := range n {
		r := Request{ID: fmt.Sprint(i), Kind: Generate, MaxTokens: 1 + rng.IntN(40), Logprobs: true, IgnoreEOS: true, RandomStream: uint64(i)}
		r.Tokens = slices.Concat(common[i%3][:rng.IntN(len(common[i%3])+1)], word(1+rng.IntN(40)))
		switch i % 5 {
		case 1:
			r.Sampling = sample.Params{Temperature: 0.9, TopP: 0.95, Seed: 7, Repetition: 1.2}
		case 2:
			r.Kind, r.ContinuationTokens = Score, [][]int32{word(1), word(1), word(5), word(40)}
			r.ContinuationTokens = append(r.ContinuationTokens, r.ContinuationTokens[3][:3])
		case 3:
			if i%2 == 0 {
				r.Kind = Embed
			}
		}
		all = append(all, r)
	}
	return all
}

// bits writes all numbers of a response so that equal text means equal bits.
func bits(r *Response) string {
	var b strings.Builder
	fmt.Fprint(&b, r.Tokens, r.Finish)
	for _, x := range r.Logprobs {
		fmt.Fprintf(&b, " %x", math.Float64bits(x))
	}
	for _, s := range r.Scores {
		fmt.Fprintf(&b, " %x/%d/%v", math.Float64bits(s.LogProb), s.Tokens, s.Greedy)
	}
	for _, x := range r.Embedding {
		fmt.Fprintf(&b, " %x", math.Float32bits(x))
	}
	return b.String()
}

// An answer does not depend on its neighbours, on sharing, on the size of
// batches, on threads or on how much memory there is: not on a plain model, not
// with a window, adapters, or rotary angles that change with the length.
func TestSameBits(t *testing.T) {
	shape := fixture.Tiny
	plain := shape.WriteHF(t, 3, format.F32)
	window := shape.WriteHF(t, 3, format.F32)
	config := shape.Config()
	config["model_type"], config["sliding_window"], config["head_dim"] = "mistral", 19, 8
	fixture.WriteConfig(t, window, config)
	wide := map[string][2]int{"q_proj": {40, 40}, "v_proj": {8, 40}, "down_proj": {40, 72}}
	adapters := []AdapterPath{
		{"a", fixture.WriteAdapter(t, 5, 4, wide, shape.Layers, nil)},
		{"b", fixture.WriteAdapter(t, 6, 7, map[string][2]int{"o_proj": {40, 40}, "up_proj": {72, 40}}, shape.Layers, nil)},
	}
	for _, c := range []struct {
		name, dir string
		adapters  []AdapterPath
		paths     []string
	}{
		{"plain", plain, nil, cpu.Paths()},
		{"window and adapters", window, adapters, cpu.Paths()},
		{"long angles", shape.WritePhi3(t, 3, 60), nil, cpu.Paths()[:1]},
	} {
		requests := mixture(60)
		for i := range requests {
			if c.adapters != nil {
				requests[i].Adapter = []string{"", "a", "b", "a"}[i%4]
			}
		}
		for _, path := range c.paths {
			t.Run(c.name+"/"+path, func(t *testing.T) {
				t.Setenv(cpu.PathVariable, path)
				sameBits(t, c.dir, c.adapters, requests)
			})
		}
	}
}

func sameBits(t *testing.T, dir string, adapters []AdapterPath, requests []Request) {
	want := map[string]string{}
	alone := load(t, dir, Options{Threads: 1, NoSharing: true, Sequences: 1, Adapters: adapters})
	for _, r := range requests {
		want[r.ID] = bits(ask(t, alone, r)[r.ID])
	}
	config := alone.Config()
	for name, o := range map[string]Options{
		"batch":              {Threads: 1, NoSharing: true},
		"seven":              {Threads: 2, NoSharing: true, Sequences: 7},
		"shared":             {Threads: 1},
		"two threads":        {Threads: 2},
		"small batches":      {Threads: 2, BatchRows: 13, Sequences: 9},
		"one row at a time":  {Threads: 1, BatchRows: 1, Sequences: 3},
		"little memory":      {Threads: 2, KVBytes: 10 * config.PageBytes(), Context: 256},
		"everything at once": {Threads: 2, BatchRows: 4096, Sequences: 4096},
	} {
		o.Adapters = adapters
		e := load(t, dir, o)
		got := ask(t, e, requests...)
		for id, r := range got {
			if b := bits(r); b != want[id] {
				t.Errorf("%s: request %s: %.200s, alone %.200s", name, id, b, want[id])
			}
		}
		st := e.Stats()
		if shared := st.Shared > 0; shared == o.NoSharing {
			t.Errorf("%s: %d tokens shared", name, st.Shared)
		}
		if e.pool.Available() != e.pool.Pages() {
			t.Errorf("%s: %d of %d pages came back", name, e.pool.Available(), e.pool.Pages())
		}
	}
}

// A sequence that grows past the length of the first context goes on as one
// that was long from the beginning.
func TestBecomesLong(t *testing.T) {
	const first = 40
	dir := fixture.Tiny.WritePhi3(t, 4, first)
	e := load(t, dir, Options{Threads: 1})
	prompt := make([]int32, first-5)
	for i := range prompt {
		prompt[i] = int32(i*37%200 + 3)
	}
	whole := ask(t, e, Request{ID: "x", Kind: Generate, Tokens: prompt, MaxTokens: 20, IgnoreEOS: true, Logprobs: true})["x"]
	for n := range whole.Tokens {
		next := ask(t, e, Request{ID: "x", Kind: Generate, Tokens: append(slices.Clone(prompt), whole.Tokens[:n]...), MaxTokens: 1, IgnoreEOS: true, Logprobs: true})["x"]
		if next.Tokens[0] != whole.Tokens[n] || math.Float64bits(next.Logprobs[0]) != math.Float64bits(whole.Logprobs[n]) {
			t.Fatalf("token %d: %d with %g in one go, %d with %g from the prompt", n, whole.Tokens[n], whole.Logprobs[n], next.Tokens[0], next.Logprobs[0])
		}
	}
}

// The fused matrices of Phi-3 are those of Llama side by side.
func TestFused(t *testing.T) {
	shape := fixture.Tiny
	a, b := load(t, shape.WriteHF(t, 4, format.F32), Options{Threads: 1}), load(t, shape.WritePhi3(t, 4, 0), Options{Threads: 1})
	r := Request{ID: "x", Kind: Generate, Tokens: []int32{5, 9, 200, 17}, MaxTokens: 30, IgnoreEOS: true, Logprobs: true}
	if x, y := ask(t, a, r)["x"], ask(t, b, r)["x"]; bits(x) != bits(y) {
		t.Errorf("apart %.200s, fused %.200s", bits(x), bits(y))
	}
}

// A request for an adapter that is not there is refused.
func TestUnknownAdapter(t *testing.T) {
	e := load(t, fixture.Tiny.WriteHF(t, 3, format.F32), Options{Threads: 1})
	err := e.NewSession().Submit(Request{ID: "x", Kind: Generate, Tokens: []int32{5}, MaxTokens: 1, Adapter: "nobody"})
	if !errors.Is(err, ErrNoAdapter) || !strings.Contains(err.Error(), "nobody") {
		t.Errorf("error %v", err)
	}
}

// The engine's greedy tokens and their log-probabilities are transformers'.
func TestGolden(t *testing.T) {
	for _, family := range []string{"llama", "llama-gqa3"} {
		dir := shared.Path(t, "golden", "models", family)
		text, err := os.ReadFile(filepath.Join(dir, "expected.json"))
		if err != nil {
			t.Fatal(err)
		}
		var want struct {
			Prompts [][]int32
			Greedy  []struct {
				IDs      []int32   `json:"ids"`
				Logprobs []float64 `json:"logprobs"`
			}
			Loss float64 `json:"mean_cross_entropy_prompt1"`
		}
		if err := json.Unmarshal(text, &want); err != nil {
			t.Fatal(err)
		}
		e := load(t, dir, Options{})
		for i, p := range want.Prompts {
			g := want.Greedy[i]
			got := ask(t, e,
				Request{ID: "g", Kind: Generate, Tokens: p, MaxTokens: len(g.IDs), Logprobs: true, IgnoreEOS: true},
				Request{ID: "s", Kind: Score, Tokens: p, ContinuationTokens: [][]int32{g.IDs, g.IDs[:3]}},
				Request{ID: "loss", Kind: Score, Tokens: p[:1], ContinuationTokens: [][]int32{p[1:]}})
			if !slices.Equal(got["g"].Tokens, g.IDs) {
				t.Fatalf("%s: tokens %v, want %v", family, got["g"].Tokens, g.IDs)
			}
			var sum, first float64
			for k, lp := range g.Logprobs {
				if d := math.Abs(lp - got["g"].Logprobs[k]); d > 1e-5 {
					t.Errorf("%s: log-probability %d is off by %g", family, k, d)
				}
				if sum += lp; k < 3 {
					first += lp
				}
			}
			for k, w := range []float64{sum, first} {
				s := got["s"].Scores[k]
				if math.Abs(s.LogProb-w) > 1e-4 || !s.Greedy {
					t.Errorf("%s: score %d is %+v, want %g", family, k, s, w)
				}
			}
			if loss := -got["loss"].Scores[0].LogProb / float64(len(p)-1); i == 1 && math.Abs(loss-want.Loss) > 1e-5 {
				t.Errorf("%s: cross entropy %g, want %g", family, loss, want.Loss)
			}
		}
	}
}

// Deltas join up to the text, never split a character and never show a stop.
func TestTextAndStops(t *testing.T) {
	e := load(t, fixture.Tiny.WriteHF(t, 5, format.F32), Options{Tokenizer: bytewise{}})
	s := e.NewSession()
	defer s.Close()
	free := ask(t, e, Request{ID: "f", Kind: Generate, Prompt: "Once upon", MaxTokens: 120, IgnoreEOS: true, Sampling: sample.Params{Temperature: 1.5}})["f"]
	if len(free.Text) < 20 {
		t.Fatalf("text %q", free.Text)
	}
	runes := []rune(free.Text)
	stop := string(runes[len(runes)/2 : len(runes)/2+3])
	wantText := free.Text[:strings.Index(free.Text, stop)]
	if err := s.Submit(Request{ID: "d", Kind: Generate, Prompt: "Once upon", MaxTokens: 120, IgnoreEOS: true, Deltas: true,
		Sampling: sample.Params{Temperature: 1.5}, Stop: []string{"\x00never", stop}}); err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for ev := range s.Events() {
		if ev.Err != nil {
			t.Fatal(ev.Err)
		}
		if !utf8.ValidString(ev.Delta) {
			t.Fatalf("delta %q", ev.Delta)
		}
		text.WriteString(ev.Delta)
		if ev.Response != nil {
			if ev.Response.Text != wantText || ev.Response.Finish != FinishStop {
				t.Errorf("text %q (%s), want %q", ev.Response.Text, ev.Response.Finish, wantText)
			}
			break
		}
	}
	if text.String() != wantText {
		t.Errorf("deltas give %q, want %q", text.String(), wantText)
	}
}

func TestUntil(t *testing.T) {
	e := load(t, fixture.Tiny.WriteHF(t, 5, format.F32), Options{Tokenizer: bytewise{}})
	r := Request{ID: "f", Kind: Generate, Prompt: "Once upon", MaxTokens: 60, IgnoreEOS: true, Sampling: sample.Params{Temperature: 1.5}}
	free := ask(t, e, r)["f"]
	var seen []string
	r.Until = func(text string) bool {
		seen = append(seen, text)
		return len(text) >= len(free.Text)/2
	}
	got := ask(t, e, r)["f"]
	if got.Finish != FinishUntil || got.Text != seen[len(seen)-1] || !strings.HasPrefix(free.Text, got.Text) || len(got.Tokens) >= len(free.Tokens) {
		t.Errorf("%q (%s) of %q", got.Text, got.Finish, free.Text)
	}
	for i := 1; i < len(seen); i++ {
		if len(seen[i]) <= len(seen[i-1]) {
			t.Errorf("asked again about %q", seen[i])
		}
	}
}

func TestOverflow(t *testing.T) {
	e := load(t, fixture.Tiny.WriteHF(t, 5, format.F32), Options{Context: 40, Tokenizer: bytewise{}})
	s := e.NewSession()
	defer s.Close()
	long := strings.Repeat("x", 50) + "tail"
	if err := s.Submit(Request{ID: "a", Kind: Generate, Prompt: long, MaxTokens: 5}); !errors.Is(err, ErrContext) {
		t.Errorf("error %v", err)
	}
	got := ask(t, e,
		Request{ID: "cut", Kind: Generate, Prompt: long, MaxTokens: 5, Overflow: KeepTail, IgnoreEOS: true},
		Request{ID: "same", Kind: Generate, Prompt: long[len(long)-34:], MaxTokens: 5, IgnoreEOS: true},
		Request{ID: "full", Kind: Generate, Prompt: strings.Repeat("y", 36), MaxTokens: 50, IgnoreEOS: true},
		Request{ID: "score", Kind: Score, Prompt: long, Continuations: []string{"end"}, Overflow: KeepTail})
	if c := got["cut"]; c.PromptTokens != 35 || c.Truncated != 20 || c.Text != got["same"].Text {
		t.Errorf("%d prompt tokens, %d cut, %q for %q", c.PromptTokens, c.Truncated, c.Text, got["same"].Text)
	}
	if f := got["full"]; f.Finish != FinishLength || len(f.Tokens) != 3 {
		t.Errorf("%d tokens, %s", len(f.Tokens), f.Finish)
	}
	if got["score"].Truncated != 17 {
		t.Errorf("score cut %d", got["score"].Truncated)
	}
}

func TestInvalid(t *testing.T) {
	e := load(t, fixture.Tiny.WriteHF(t, 5, format.F32), Options{Context: 40, Tokenizer: bytewise{}})
	s := e.NewSession()
	defer s.Close()
	for _, r := range []Request{
		{ID: "kind", Prompt: "x"},
		{ID: "no tokens", Kind: Generate, Prompt: "x"},
		{ID: "id", Kind: Generate, Tokens: []int32{5, 999}, MaxTokens: 1},
		{ID: "negative id", Kind: Embed, Tokens: []int32{-1}},
		{ID: "temperature", Kind: Generate, Prompt: "x", MaxTokens: 1, Sampling: sample.Params{Temperature: -1}},
		{ID: "stop", Kind: Generate, Prompt: "x", MaxTokens: 1, Stop: []string{""}},
		{ID: "nothing to score", Kind: Score, Prompt: "x"},
		{ID: "empty continuation", Kind: Score, Prompt: "x", Continuations: []string{"a", ""}},
	} {
		if err := s.Submit(r); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), r.ID) {
			t.Errorf("%s: error %v", r.ID, err)
		}
	}
	for _, r := range []Request{
		{ID: "empty prompt", Kind: Generate, MaxTokens: 1}, {ID: "bare", Kind: Score, Bare: true, Continuations: []string{"x"}},
		{ID: "empty ids", Kind: Embed, Tokens: []int32{}},
	} {
		if got := ask(t, e, r)[r.ID]; got.PromptTokens != 1 {
			t.Errorf("%s: %d prompt tokens", r.ID, got.PromptTokens)
		}
	}
}

// A model without a tokenizer takes and gives ids.
func TestNoTokenizer(t *testing.T) {
	hf := fixture.Tiny.WriteHF(t, 6, format.F32)
	for _, path := range []string{hf, filepath.Join(hf, "model.safetensors"), fixture.Tiny.WriteGGUF(t, 6, format.F32, format.F32)} {
		e := load(t, path, Options{})
		if e.Tokenizer() != nil {
			t.Fatalf("%s: found a tokenizer", path)
		}
		s := e.NewSession()
		defer s.Close()
		for _, r := range []Request{
			{ID: "a", Kind: Generate, Prompt: "text", MaxTokens: 1}, {ID: "b", Kind: Score, Prompt: "text", Continuations: []string{"x"}},
			{ID: "c", Kind: Generate, Tokens: []int32{1}, MaxTokens: 1, Stop: []string{"x"}},
		} {
			if err := s.Submit(r); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "tokenizer") {
				t.Errorf("%s: error %v", r.ID, err)
			}
		}
		got := ask(t, e, Request{ID: "d", Kind: Generate, Tokens: []int32{1, 2}, MaxTokens: 9, IgnoreEOS: true})["d"]
		if len(got.Tokens) != 9 || got.Text != "" {
			t.Errorf("%s: %+v", path, got)
		}
	}
}

// Whatever is cancelled whenever: every request ends once, the pages come
// back, and the others' answers are what they would have been.
func TestCancel(t *testing.T) {
	dir := fixture.Tiny.WriteHF(t, 6, format.F32)
	e := load(t, dir, Options{Threads: 2, Sequences: 7, BatchRows: 40, Queue: 10})
	requests := mixture(80)
	want := ask(t, e, requests...)
	for round := range 4 {
		rng := rand.New(rand.NewPCG(uint64(round), 0))
		s := e.NewSession()
		go func() {
			for i, r := range requests {
				if err := s.Submit(r); err != nil {
					s.emit(Event{ID: r.ID, Err: err})
				}
				if rng.IntN(2) == 0 {
					s.Cancel(fmt.Sprint(rng.IntN(i + 1)))
				}
			}
		}()
		ended := map[string]bool{}
		for ev := range s.Events() {
			if ended[ev.ID] {
				t.Fatalf("%s goes on after its end", ev.ID)
			}
			ended[ev.ID] = true
			if ev.Err != nil && !errors.Is(ev.Err, ErrCancelled) {
				t.Fatal(ev.Err)
			}
			if ev.Response != nil && bits(ev.Response) != bits(want[ev.ID]) {
				t.Errorf("%s: %.100s, want %.100s", ev.ID, bits(ev.Response), bits(want[ev.ID]))
			}
			if len(ended) == len(requests) {
				break
			}
		}
		s.Close()
	}
	ask(t, e, requests[0]) // by now the loop has seen every cancellation
	if e.pool.Available() != e.pool.Pages() || e.queued != 0 {
		t.Errorf("%d of %d pages came back, %d in the queue", e.pool.Available(), e.pool.Pages(), e.queued)
	}
}

func TestClose(t *testing.T) {
	e := load(t, fixture.Tiny.WriteHF(t, 6, format.F32), Options{Sequences: 2, Queue: 3})
	busy, idle, left := e.NewSession(), e.NewSession(), e.NewSession()
	done := make(chan string, 4)
	go func() {
		for i := 0; ; i++ {
			if err := busy.Submit(Request{ID: fmt.Sprint(i), Kind: Generate, Tokens: []int32{1}, MaxTokens: 400, IgnoreEOS: true}); err != nil {
				if !errors.Is(err, ErrClosed) {
					t.Error(err)
				}
				done <- "submit"
				return
			}
		}
	}()
	for name, s := range map[string]*Session{"busy": busy, "idle": idle} {
		go func() {
			for range s.Events() {
			}
			done <- name
		}()
	}
	left.Close()
	if err := left.Submit(Request{ID: "x", Kind: Generate, Tokens: []int32{1}, MaxTokens: 4}); !errors.Is(err, ErrClosed) {
		t.Errorf("submit to a closed session: %v", err)
	}
	time.Sleep(20 * time.Millisecond)
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	for range 3 {
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			t.Fatal("somebody still waits")
		}
	}
	late := e.NewSession()
	for range late.Events() {
		t.Error("an event from a closed engine")
	}
}

func TestPlanRefuses(t *testing.T) {
	dir := fixture.Tiny.WriteHF(t, 6, format.F32)
	for _, c := range []struct {
		o    Options
		want string
	}{
		{Options{Context: 600}, "more than the model's 512"},
		{Options{Context: 500, KVBytes: 1 << 10}, "raise KVBytes or lower Context"},
		{Options{Sequences: -1}, "Sequences is -1"},
		{Options{KVBytes: -1}, "KVBytes is -1"},
		{Options{KVBytes: 5}, "raise KVBytes"},
	} {
		if _, err := Load(dir, c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: error %v", c.o, err)
		}
	}
	if _, err := Load(t.TempDir(), Options{}); err == nil {
		t.Error("an empty folder was loaded")
	}
}

// What the plan says is what the heap holds once a model is loaded, quantised
// on load or not.
func TestPlanHolds(t *testing.T) {
	shape := fixture.Shape{Hidden: 512, Layers: 3, Heads: 8, KVHeads: 2, MLP: 1024, Vocab: 2000, Context: 256}
	dir := shape.WriteHF(t, 1, format.BF16)
	for _, policy := range quant.Policies() {
		w, err := arch.ParseOptions("", policy)
		if err != nil {
			t.Fatal(err)
		}
		held := func() int64 {
			var m runtime.MemStats
			runtime.GC()
			runtime.GC()
			runtime.ReadMemStats(&m)
			return int64(m.HeapAlloc)
		}
		before := held()
		e, err := Load(dir, Options{Threads: 1, Sequences: 4, BatchRows: 64, Weights: w})
		if err != nil {
			t.Fatal(err)
		}
		took, plan := held()-before, e.Plan().Bytes()
		if e.Close(); float64(took) > 1.05*float64(plan)+1<<20 || float64(took) < 0.9*float64(plan) {
			t.Errorf("%s: %d bytes are held, %d planned", policy, took, plan)
		}
		t.Logf("%s: %.1f MiB held, %.1f planned", policy, float64(took)/(1<<20), float64(plan)/(1<<20))
	}
}

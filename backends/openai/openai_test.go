package openai

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/evalrun/evalrun/backends/backendtest"
	"github.com/evalrun/evalrun/core"
)

func TestContract(t *testing.T) {
	slow := func(w http.ResponseWriter, r *http.Request, body string) bool {
		if strings.Contains(body, "4096") {
			select {
			case <-r.Context().Done():
			case <-time.After(30 * time.Millisecond):
			}
		}
		return false
	}
	for name, options := range map[string]map[string]string{
		"chat":        nil,
		"completions": {"api": "completions"},
		"stream":      {"stream": "true"},
		"narrow":      {"concurrency": "2"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStub(t, slow)
			backendtest.Run(t, func(t *testing.T) core.Backend {
				return newBackend(t, s.URL+"/v1", "tiny", options)
			}, backendtest.Options{})
		})
	}
}

func TestWhatIsSent(t *testing.T) {
	tests := []struct {
		name    string
		model   string
		options map[string]string
		r       core.Request
		want    map[string]string // member to JSON text; "" is absent
	}{
		{"greedy sends temperature 0", "m", nil, generate("x"),
			map[string]string{"temperature": "0", "max_tokens": "8", "top_p": "", "seed": "", "stop": "", "n": "", "stream": "false", "model": "m"}},
		{"sampled", "m", nil, core.Request{Kind: core.Generate, Prompt: "x", Repeat: 2, Generation: core.Generation{
			MaxTokens: 3, Temperature: 0.7, TopP: 0.9, Seed: 40, FrequencyPenalty: 0.5, PresencePenalty: -0.25, Stop: []string{"\n", "a"}}},
			map[string]string{"temperature": "0.7", "top_p": "0.9", "seed": "42", "frequency_penalty": "0.5", "presence_penalty": "-0.25", "stop": "[\n a]"}},
		{"parameters of other services", "m", nil, core.Request{Kind: core.Generate, Prompt: "x", Generation: core.Generation{
			MaxTokens: 3, TopK: 5, MinP: 0.1, RepetitionPenalty: 1.2}},
			map[string]string{"top_k": "5", "min_p": "0.1", "repetition_penalty": "1.2"}},
		{"a model whose sampling is fixed", "o3-mini", map[string]string{"reasoning_effort": "low"}, core.Request{Kind: core.Generate, Prompt: "x",
			Generation: core.Generation{MaxTokens: 9, Stop: []string{"\n"}}},
			map[string]string{"temperature": "", "max_tokens": "", "max_completion_tokens": "9", "stop": "", "reasoning_effort": "low"}},
		{"a younger one", "gpt-5.9-mini", nil, generate("x"), map[string]string{"temperature": "", "max_completion_tokens": "8"}},
		{"stream", "m", map[string]string{"stream": "true"}, generate("x"),
			map[string]string{"stream": "true", "stream_options": "map[include_usage:true]", "temperature": "0"}},
		{"empty message", "m", nil, core.Request{Kind: core.Generate, Messages: []core.Message{{Role: "system"}, {Role: "user", Content: `{"role":"user"}`}},
			Generation: core.Generation{MaxTokens: 1}},
			map[string]string{"messages": `[map[content: role:system] map[content:{"role":"user"} role:user]]`}},
		{"completions", "m", map[string]string{"api": "completions"}, generate("x"),
			map[string]string{"prompt": "x", "temperature": "0", "max_tokens": "8", "messages": "", "echo": ""}},
		{"score", "m", nil, core.Request{Kind: core.ScoreText, Prompt: "a b", Continuations: []string{" c"}},
			map[string]string{"prompt": "a b c", "echo": "true", "logprobs": "1", "max_tokens": "0", "temperature": "0"}},
		{"score for servers that refuse 0", "m", map[string]string{"score_max_tokens": "1"}, core.Request{Kind: core.ScoreText, Prompt: "a b", Continuations: []string{" c"}},
			map[string]string{"max_tokens": "1", "echo": "true"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newStub(t, nil)
			if _, e, _ := ask(t, newBackend(t, s.URL, tt.model, tt.options), tt.r); e != nil {
				t.Fatal(e)
			}
			body := s.lastBody(t)
			for name, want := range tt.want {
				got, ok := body[name]
				if want == "" && ok {
					t.Errorf("%s is sent: %v", name, got)
				}
				if want != "" && fmt.Sprint(got) != want {
					t.Errorf("%s is %v, want %s", name, got, want)
				}
			}
			if strings.Count(s.bodies[len(s.bodies)-1], `"temperature"`) > 1 {
				t.Error("temperature is sent twice")
			}
			if got := s.heads[len(s.heads)-1].Get("Authorization"); got != "Bearer "+testKey {
				t.Errorf("authorization %q", got)
			}
		})
	}
}

func TestAnswer(t *testing.T) {
	s := newStub(t, nil)
	for _, options := range []map[string]string{nil, {"stream": "true"}} {
		resp, e, deltas := ask(t, newBackend(t, s.URL, "gpt-4-0613", options), generate("one two süß"))
		if e != nil {
			t.Fatal(e)
		}
		if resp.Text != "süß" || resp.Finish != core.FinishStop || resp.Usage != (core.Usage{Prompt: 3, Completion: 1}) {
			t.Errorf("got %+v", resp)
		}
		if want := (3*30 + 60) / 1e6; math.Abs(resp.CostUSD-want) > 1e-12 {
			t.Errorf("cost %v, want %v", resp.CostUSD, want)
		}
		if resp.Seconds <= 0 || options != nil && deltas != resp.Text || options == nil && deltas != "" {
			t.Errorf("%v seconds, deltas %q", resp.Seconds, deltas)
		}
	}
}

func TestStopTextsAreCutHere(t *testing.T) {
	chunks := func(pieces ...string) func(http.ResponseWriter, *http.Request, string) bool {
		return func(w http.ResponseWriter, r *http.Request, body string) bool {
			w.Header().Set("Content-Type", "text/event-stream")
			for _, p := range pieces {
				fmt.Fprintf(w, "data: {\"choices\":[{\"delta\":{\"content\":%q}}]}\n\n", p)
			}
			fmt.Fprint(w, "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"length\"}]}\n\ndata: [DONE]\n\n")
			return true
		}
	}
	tests := []struct {
		pieces []string
		stops  []string
		want   string
		finish core.FinishReason
	}{
		{[]string{"one\n", "two"}, []string{"a", "b", "c", "d", "\n"}, "one", core.FinishStop},
		{[]string{"one E", "N", "D two"}, []string{"END"}, "one ", core.FinishStop},
		{[]string{"one E", "N", "DE two"}, []string{"ENDS"}, "one ENDE two", core.FinishLength},
		{[]string{"ab", "ab"}, []string{"aba"}, "", core.FinishStop},
		{[]string{"é", "à x"}, []string{"à"}, "é", core.FinishStop},
	}
	for _, tt := range tests {
		b := newBackend(t, newStub(t, chunks(tt.pieces...)).URL, "m", map[string]string{"stream": "true"})
		r := generate("x")
		r.Generation.Stop = tt.stops
		resp, e, deltas := ask(t, b, r)
		if e != nil {
			t.Fatal(e)
		}
		if resp.Text != tt.want || resp.Finish != tt.finish || deltas != tt.want {
			t.Errorf("%q with stops %q: %q, %s, deltas %q; want %q, %s", tt.pieces, tt.stops, resp.Text, resp.Finish, deltas, tt.want, tt.finish)
		}
	}
}

func TestScore(t *testing.T) {
	s := newStub(t, nil)
	resp, e, _ := ask(t, newBackend(t, s.URL, "m", nil), core.Request{
		Kind: core.ScoreText, Prompt: "où est", Continuations: []string{" la gare", " ça", "-ce"},
	})
	if e != nil {
		t.Fatal(e)
	}
	want := []core.Likelihood{{LogProb: -6, Tokens: 2, Greedy: true}, {LogProb: -2, Tokens: 1, Greedy: true},
		{LogProb: -6, Tokens: 1}} // " est-ce" is one token: it spans the border
	for i, w := range want {
		if resp.Scores[i] != w {
			t.Errorf("continuation %d: %+v, want %+v", i, resp.Scores[i], w)
		}
	}
}

func TestScoreOfAServerThatDoesNot(t *testing.T) {
	for name, body := range map[string]string{
		"no logprobs":       `{"choices":[{"text":"a b c"}]}`,
		"only what it adds": `{"choices":[{"text":"x","logprobs":{"tokens":["x"],"token_logprobs":[-1],"text_offset":[5]}}]}`,
		"uneven":            `{"choices":[{"text":"x","logprobs":{"tokens":["x"],"token_logprobs":[-1,-2],"text_offset":[0]}}]}`,
		"no echo":           `{"choices":[{"text":"x","logprobs":{"tokens":["x"],"token_logprobs":[-1],"text_offset":[0]}}]}`,
		"above 0":           `{"choices":[{"text":"x","logprobs":{"tokens":["a b"," c"],"token_logprobs":[null,2],"text_offset":[0,3]}}]}`,
	} {
		s := newStub(t, func(w http.ResponseWriter, r *http.Request, _ string) bool { fmt.Fprint(w, body); return true })
		_, e, _ := ask(t, newBackend(t, s.URL, "m", nil), core.Request{Kind: core.ScoreText, Prompt: "a b", Continuations: []string{" c"}})
		if name == "no echo" { // one token that seems to hold all is believed
			continue
		}
		if e == nil || e.Code != core.CodeInvalid || !strings.Contains(e.Message, "does not score") {
			t.Errorf("%s: %+v", name, e)
		}
	}
}

func TestModelAskedFor(t *testing.T) {
	s := newStub(t, nil)
	info, err := newBackend(t, s.URL+"/v1", "", nil).Info(context.Background())
	if err != nil || info.Model != "tiny-model" || info.ContextLength != 2048 || info.Family != "tiny-model" {
		t.Errorf("info %+v, %v", info, err)
	}
	if !strings.HasPrefix(info.Revision, "127.0.0.1:") || !strings.HasSuffix(info.Revision, "/v1") {
		t.Errorf("revision %q does not tell where", info.Revision)
	}
	if info.Prices == nil || info.Prices.Known {
		t.Errorf("prices %+v of an unknown model", info.Prices)
	}
	for name, list := range map[string]string{
		"two":  `{"data":[{"id":"a"},{"id":"b"}]}`,
		"none": `{"data":[]}`,
		"odd":  `{"data":7}`,
		"404":  "",
	} {
		s := newStub(t, func(w http.ResponseWriter, r *http.Request, _ string) bool {
			if list == "" {
				w.WriteHeader(404)
			}
			fmt.Fprint(w, list)
			return true
		})
		_, err := newBackend(t, s.URL, "", nil).Info(context.Background())
		var u *core.UserError
		if !errors.As(err, &u) || !strings.Contains(u.Hint, "--model") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestBadConfig(t *testing.T) {
	for name, tt := range map[string]struct {
		key string
		cfg core.Config
		say string
	}{
		"no key":           {"", core.Config{}, "OPENAI_API_KEY is not set"},
		"key with a break": {"sk-1\nx", core.Config{BaseURL: "http://x/v1"}, "holds a blank"},
		"unencrypted":      {"sk-1", core.Config{BaseURL: "http://api.openai.com/v1"}, "unencrypted"},
		"no address":       {"", core.Config{BaseURL: "127.0.0.1:80"}, "not the address"},
		"password":         {"", core.Config{BaseURL: "http://u:secret@x/v1"}, "user name or password"},
		"one price":        {"", core.Config{BaseURL: "http://x", Options: map[string]string{"price_in": "1"}}, "belong together"},
		"no time":          {"", core.Config{BaseURL: "http://x", Options: map[string]string{"timeout": "0"}}, "deadline of 0"},
		"adapter":          {"", core.Config{BaseURL: "http://x", Adapters: []core.Adapter{{Name: "a"}}}, "takes no adapter"},
		"unknown option":   {"", core.Config{BaseURL: "http://x", Options: map[string]string{"timout": "1"}}, `unknown option "timout"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(keyVariable, tt.key)
			t.Setenv(urlVariable, "")
			_, err := New(tt.cfg)
			var u *core.UserError
			if !errors.As(err, &u) || !strings.Contains(u.Error(), tt.say) || u.Hint == "" {
				t.Errorf("got %v", err)
			}
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("the error shows the password: %v", err)
			}
		})
	}
}

// The table is read strictly here; the backend skips what it cannot read.
func TestModelTable(t *testing.T) {
	rows := 0
	for line := range strings.Lines(modelsCSV) {
		if line = strings.TrimSpace(line); !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "model,") {
			rows++
		}
	}
	if len(models()) != rows {
		t.Errorf("%d of %d rows are read", len(models()), rows)
	}
	for name, f := range models() {
		if f.form != "chat" && f.form != "completions" && f.form != "embed" || f.prices.Input <= 0 {
			t.Errorf("%s: %+v", name, f)
		}
	}
	// The report's example: WikiSQL, 15,878 rows of 805 tokens in and 16 out on
	// gpt-4-0613, costs about 400 USD.
	p := Prices("gpt-4-0613")
	if cost := p.Cost(core.Usage{Prompt: 15878 * 805, Completion: 15878 * 16}); math.Abs(cost-400) > 5 {
		t.Errorf("WikiSQL costs %v", cost)
	}
	if p := Prices("gpt-4o-mini-2024-07-18"); !p.Known || p.Input != 0.15 {
		t.Errorf("a snapshot has prices %+v", p)
	}
	if p := Prices("ft:gpt-4o-mini:me"); p.Known {
		t.Errorf("a fine-tuned model has prices %+v", p)
	}
}

func TestMissingUsageIsEstimated(t *testing.T) {
	s := newStub(t, func(w http.ResponseWriter, r *http.Request, _ string) bool {
		fmt.Fprint(w, `{"choices":[{"message":{"content":"a short answer"},"finish_reason":"stop"}]}`)
		return true
	})
	b := newBackend(t, s.URL, "gpt-4-0613", nil)
	resp, e, _ := ask(t, b, generate("What is it?"))
	if e != nil || resp.Usage.Prompt < 3 || resp.Usage.Completion != 3 || resp.CostUSD == 0 {
		t.Errorf("got %+v, %v", resp, e)
	}
	info, err := b.Info(context.Background())
	if err != nil || len(info.Notes) != 1 || !strings.Contains(info.Notes[0], "estimated") {
		t.Errorf("notes %q, %v", info.Notes, err)
	}
}

func TestLogprobs(t *testing.T) {
	s := newStub(t, func(w http.ResponseWriter, r *http.Request, _ string) bool {
		fmt.Fprint(w, `{"choices":[{"message":{"content":"ab"},"finish_reason":"stop","logprobs":{"content":[{"token":"a","logprob":-0.5},{"token":"b","logprob":-1.25}]}}],"usage":{"prompt_tokens":1,"completion_tokens":2}}`)
		return true
	})
	r := generate("x")
	r.Logprobs = true
	resp, e, _ := ask(t, newBackend(t, s.URL, "m", nil), r)
	if e != nil || len(resp.Logprobs) != 2 || resp.Logprobs[1] != -1.25 {
		t.Errorf("got %+v, %v", resp, e)
	}
	if s.lastBody(t)["logprobs"] != true {
		t.Error("logprobs are not asked for")
	}
}

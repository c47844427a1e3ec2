package tokenizer

import (
	"strings"
	"testing"
	"time"
)

func FuzzJSON(f *testing.F) {
	f.Add(toy(nil), "low <bos> x")
	pipelines(f, func(name string, file []byte, rows []pipelineRow) {
		if len(file) < 12000 {
			f.Add(file, rows[20].Text)
		}
	})
	f.Add([]byte(`{"model":{"vocab":{"a":0,"aa":1},"merges":["a a"],"unk_token":"a","byte_fallback":true},"pre_tokenizer":{"type":"Metaspace","replacement":"a"}}`), "aaa b")
	f.Add([]byte(`{"model":{"type":"Unigram","vocab":[["a",-1],["",0]],"unk_id":0}}`), "ab")
	f.Fuzz(func(t *testing.T, file []byte, text string) {
		if strings.Contains(string(file), "Regex") {
			return // patterns of their own may take their time
		}
		tk, err := FromJSON(file)
		if err != nil {
			return
		}
		ids, err := tk.Encode(text, true, false)
		if err != nil {
			return
		}
		for _, id := range ids {
			if id < 0 || int(id) >= tk.VocabSize() {
				t.Fatalf("%q: id %d of %d", text, id, tk.VocabSize())
			}
		}
		tk.Decode(ids, true)
		s := tk.NewStream(nil, false)
		for _, id := range ids {
			s.Push(id)
		}
		s.Flush()
	})
}

func FuzzSentencePiece(f *testing.F) {
	f.Add(toySP(2, toyPieces...), "lo é x")
	f.Add(toySP(1, toyPieces...), "lo é x")
	f.Fuzz(func(t *testing.T, data []byte, text string) {
		tk, err := FromSentencePiece(data)
		if err != nil {
			return
		}
		ids, err := tk.Encode(text, true, false)
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range ids {
			if id < 0 || int(id) >= tk.VocabSize() {
				t.Fatalf("%q: id %d of %d", text, id, tk.VocabSize())
			}
		}
		tk.Decode(ids, false)
	})
}

// FuzzPattern feeds the engine patterns of its own making.
func FuzzPattern(f *testing.F) {
	for source := range scanners {
		f.Add(source, "it's 1234  x\n")
	}
	f.Add(patternO200K, "camelCase's")
	f.Add(`(?<=a)b|(?!c)d*?|[^\W_]{2,3}(e)\1`, "ab dd ee")
	f.Fuzz(func(t *testing.T, source, text string) {
		p, err := newPattern(source)
		if err != nil {
			return
		}
		if p.regexp != nil {
			p.regexp.MatchTimeout = 50 * time.Millisecond
		}
		found, err := p.all(nil, text)
		if err != nil {
			return
		}
		at := 0
		for _, m := range found {
			if m.begin != at || m.end < m.begin {
				t.Fatalf("%q on %q: %v leaves a gap", source, text, found)
			}
			at = m.end
		}
		if at != len(text) {
			t.Fatalf("%q on %q: ends at %d", source, text, at)
		}
	})
}

// FuzzText checks that byte-level vocabularies give every text back.
func FuzzText(f *testing.F) {
	f.Add("low low\n\n é 中 \xff '’s 12345")
	tk := mustToy(f)
	llama3, err := FromJSON(toy(func(m map[string]any) {
		m["pre_tokenizer"] = map[string]any{"type": "Sequence", "pretokenizers": []any{
			map[string]any{"type": "Split", "pattern": map[string]any{"Regex": patternLlama3}, "behavior": "Isolated"},
			map[string]any{"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}}}
	}))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, tk := range []*Tokenizer{tk, llama3} {
			ids, err := tk.Encode(text, false, true)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := tk.Decode(ids, true), validUTF8(text); got != want {
				t.Fatalf("%q came back as %q", want, got)
			}
		}
	})
}

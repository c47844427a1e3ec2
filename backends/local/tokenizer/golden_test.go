package tokenizer

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/tiktoken-go/tokenizer/codec"

	"github.com/evalrun/evalrun/internal/shared"
)

// goldenRow is a line of the reference tokenisations. A field that equals
// another says "same" or is left out.
type goldenRow struct {
	Tokenizer   string          `json:"tokenizer"`
	Text        string          `json:"text"`
	IDs         []int32         `json:"ids"`
	Special     json.RawMessage `json:"ids_special"`
	Literal     []int32         `json:"ids_literal"`
	Decoded     string          `json:"decoded"`
	DecodedSkip *string         `json:"decoded_skip_special"`
	DecodeOnly  bool            `json:"decode_only"`
}

// TestGolden compares with the reference implementations (Hugging Face
// tokenizers, SentencePiece, tiktoken) on hostile texts and broken id lists.
func TestGolden(t *testing.T) {
	if testing.Short() {
		t.Skip("loads eleven large vocabularies; TestPipelines covers every step in short runs")
	}
	loaded := map[string]*Tokenizer{}
	rows, wrong := map[string]int{}, map[string]int{}
	for line := range shared.Lines(t, "golden", "scoring", "tokens.jsonl") {
		var row goldenRow
		if err := json.Unmarshal(line, &row); err != nil {
			t.Fatal(err)
		}
		name := row.Tokenizer
		tk, ok := loaded[name]
		if !ok {
			if name == "tiktoken:cl100k_base" {
				tk = cl100k(t)
			} else {
				var err error
				if tk, err = Load(shared.Path(t, "models", filepath.FromSlash(name))); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
			loaded[name] = tk
		}
		if tk == nil {
			continue
		}
		rows[name]++
		fail := func(what string, got, want any) {
			if wrong[name]++; wrong[name] <= 5 {
				t.Errorf("%s: %q: %s: got %v, want %v", name, row.Text, what, got, want)
			}
		}
		// SentencePiece files have no flag: their control pieces have no text.
		if !row.DecodeOnly {
			special := row.IDs
			if string(row.Special) != `"same"` {
				special = nil
				if err := json.Unmarshal(row.Special, &special); err != nil {
					t.Fatal(err)
				}
			}
			literal := row.IDs
			if row.Literal != nil {
				literal = row.Literal
			}
			for _, c := range []struct {
				what                string
				addSpecial, literal bool
				want                []int32
			}{{"ids", false, false, row.IDs}, {"with special tokens", true, false, special}, {"literally", false, true, literal}} {
				if got, err := tk.Encode(row.Text, c.addSpecial, c.literal); err != nil || !slices.Equal(got, c.want) {
					fail(c.what, got, c.want)
				}
			}
		}
		want := row.Decoded
		if want == "same" && !row.DecodeOnly {
			want = row.Text
		}
		if got := tk.Decode(row.IDs, true); got != want {
			fail("decoded "+fmt.Sprint(row.IDs), strconv.Quote(got), strconv.Quote(want))
		}
		if row.DecodedSkip != nil {
			if got := tk.Decode(row.IDs, false); got != *row.DecodedSkip {
				fail("decoded without special tokens", strconv.Quote(got), strconv.Quote(*row.DecodedSkip))
			}
		}
	}
	for name, n := range rows {
		t.Logf("%-40s %d rows, %d differences", name, n, wrong[name])
	}
}

// TestVectors compares with llama.cpp's test vectors.
func TestVectors(t *testing.T) {
	if testing.Short() {
		t.Skip("loads seven large vocabularies")
	}
	for _, c := range []struct{ tokenizer, vectors string }{
		{"gpt2-tokenizer/tokenizer.json", "gpt2-tokenizer/ggml-vocab-gpt-2.gguf"},
		{"llama3-tokenizer/tokenizer.json", "llama3-tokenizer/ggml-vocab-llama-bpe.gguf"},
		{"qwen2-tokenizer", "qwen2-tokenizer/ggml-vocab-qwen2.gguf"},
		{"llama2-tokenizer/tokenizer.model", "llama2-tokenizer/ggml-vocab-llama-spm.gguf"},
		{"llama2-tokenizer/ggml-vocab-llama-spm.gguf", "llama2-tokenizer/ggml-vocab-llama-spm.gguf"},
		{"phi-3-tokenizer/ggml-vocab-phi-3.gguf", "phi-3-tokenizer/ggml-vocab-phi-3.gguf"},
		{"llama-2-tiny-random/llama-2-tiny-random.gguf", "llama2-tokenizer/ggml-vocab-llama-spm.gguf"},
	} {
		t.Run(c.tokenizer, func(t *testing.T) {
			tk, err := Load(shared.Path(t, "models", filepath.FromSlash(c.tokenizer)))
			if err != nil {
				t.Fatal(err)
			}
			in, err := os.ReadFile(shared.Path(t, "models", filepath.FromSlash(c.vectors)+".inp"))
			if err != nil {
				t.Fatal(err)
			}
			out, err := os.ReadFile(shared.Path(t, "models", filepath.FromSlash(c.vectors)+".out"))
			if err != nil {
				t.Fatal(err)
			}
			texts := strings.Split(string(in), "\n__ggml_vocab_test__\n")
			lines := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
			texts = texts[:min(len(texts), len(lines))]
			if len(texts) < 40 {
				t.Fatalf("%d texts, %d lines", len(texts), len(lines))
			}
			for i, text := range texts {
				var want []int32
				for _, f := range strings.Fields(lines[i]) {
					id, err := strconv.ParseInt(f, 10, 32)
					if err != nil {
						t.Fatal(err)
					}
					want = append(want, int32(id))
				}
				got, err := tk.Encode(text, false, true)
				if err != nil || !slices.Equal(got, want) {
					t.Errorf("%q: got %v, want %v", text, got, want)
				}
			}
		})
	}
}

// cl100k is OpenAI's vocabulary, taken from the module that embeds it: two
// neighbours are merged where they make a token, the smallest id first. It
// checks the model and the scanner against tiktoken's answers.
func cl100k(t testing.TB) *Tokenizer {
	t.Helper()
	codec := codec.NewCl100kBase()
	tk := newTokenizer()
	m := &bpe{byteLevel: true, unk: none, whole: map[string]int32{}, cache: newCache()}
	for id := range 100256 {
		raw, err := codec.Decode([]uint{uint(id)})
		if err != nil {
			t.Fatal(err)
		}
		m.whole[raw] = int32(id)
		var disguised []rune
		for _, b := range []byte(raw) {
			disguised = append(disguised, byteRune[b])
		}
		tk.setToken(string(disguised), int32(id))
	}
	m.pairs = newPairTable(1 << 19)
	for raw, id := range m.whole {
		for i := 1; i < len(raw); i++ {
			left, ok1 := m.whole[raw[:i]]
			right, ok2 := m.whole[raw[i:]]
			if ok1 && ok2 {
				m.pairs.put(left, right, id, id)
			}
		}
	}
	tk.setSymbols(m)
	tk.model, tk.split, tk.decoder = m, scanSplitter(scanLlama3), decodeByteLevel
	var added []addedToken
	for text, id := range map[string]int32{"<|endoftext|>": 100257, "<|fim_prefix|>": 100258, "<|fim_middle|>": 100259, "<|fim_suffix|>": 100260, "<|endofprompt|>": 100276} {
		added = append(added, addedToken{ID: id, Content: text, Special: true})
		tk.setToken(text, id)
	}
	if err := tk.setAdded(added); err != nil {
		t.Fatal(err)
	}
	return tk
}

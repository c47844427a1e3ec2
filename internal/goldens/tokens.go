package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// checkTokens holds `debug tokenize` and `debug detokenize` to Hugging Face
// tokenizers, SentencePiece and tiktoken. The tokenizers' files lie in the
// folder models beside the goldens.
func checkTokens(e *env) error {
	type row struct {
		Tokenizer   string          `json:"tokenizer"`
		Library     string          `json:"library"`
		Text        string          `json:"text"`
		IDs         []int32         `json:"ids"`
		Special     json.RawMessage `json:"ids_special"`
		Literal     []int32         `json:"ids_literal"`
		Decoded     string          `json:"decoded"`
		DecodedSkip *string         `json:"decoded_skip_special"`
		DecodeOnly  bool            `json:"decode_only"`
	}
	type text struct {
		Text string `json:"text"`
	}
	type ids struct {
		IDs []int32 `json:"ids"`
	}
	rows, err := readLines[row](e.path("scoring/tokens.jsonl"))
	if err != nil {
		return err
	}
	var names []string
	byName := map[string][]row{}
	for _, r := range rows {
		if byName[r.Tokenizer] == nil {
			names = append(names, r.Tokenizer)
		}
		byName[r.Tokenizer] = append(byName[r.Tokenizer], r)
	}
	for _, name := range names {
		group := byName[name]
		model := strings.TrimPrefix(name, "tiktoken:")
		if model == name {
			model = filepath.Join(e.dir, "..", "models", filepath.FromSlash(name))
		}
		short := strings.ReplaceAll(name, "-tokenizer", "")
		encoded, decoded := e.tally(short+" encode", "equal"), e.tally(short+" decode", "equal")
		var texts []text
		var wants []row
		lists := make([]ids, len(group))
		for i, r := range group {
			if lists[i].IDs = r.IDs; lists[i].IDs == nil {
				lists[i].IDs = []int32{}
			}
			if !r.DecodeOnly {
				texts, wants = append(texts, text{r.Text}), append(wants, r)
			}
		}
		for _, c := range []struct {
			flags []string
			want  func(row) []int32
		}{
			{[]string{"--no-special"}, func(r row) []int32 { return r.IDs }},
			{nil, func(r row) []int32 {
				var with []int32
				if json.Unmarshal(r.Special, &with) != nil { // "same"
					return r.IDs
				}
				return with
			}},
			{[]string{"--no-special", "--literal"}, func(r row) []int32 {
				if r.Literal == nil {
					return r.IDs
				}
				return r.Literal
			}},
		} {
			out, err := ask(e, texts, append([]string{"tokenize", "--model", model}, c.flags...)...)
			if err != nil {
				return err
			}
			for i, line := range out {
				var got ids
				want := c.want(wants[i])
				ok := json.Unmarshal(line, &got) == nil && slices.Equal(got.IDs, want)
				encoded.row(ok, "%q %v: got %s, want %v", wants[i].Text, c.flags, line, want)
			}
		}
		// SentencePiece and tiktoken have one way to decode: everything.
		ways := [][]string{{"--keep-special"}, nil}
		if !strings.HasPrefix(group[0].Library, "tokenizers") && !strings.HasPrefix(group[0].Library, "transformers") {
			ways = ways[:1]
		}
		for _, flags := range ways {
			out, err := ask(e, lists, append([]string{"detokenize", "--model", model}, flags...)...)
			if err != nil {
				return err
			}
			for i, line := range out {
				r := group[i]
				if flags == nil && r.DecodeOnly {
					continue // the file has these with special tokens only
				}
				want := r.Decoded
				if want == "same" && !r.DecodeOnly {
					want = r.Text
				}
				if flags == nil && r.DecodedSkip != nil {
					want = *r.DecodedSkip
				}
				var got text
				ok := json.Unmarshal(line, &got) == nil && got.Text == want
				decoded.row(ok, "%v %v: got %s, want %q", r.IDs, flags, line, want)
			}
		}
	}
	return e.checkVectors()
}

// checkVectors holds `debug tokenize --literal` to llama.cpp's vectors beside the
// tokenizers: texts in FILE.inp between lines of a mark, a line of ids each in
// FILE.out.
func (e *env) checkVectors() error {
	const mark = "\n__ggml_vocab_test__\n"
	for _, c := range []struct{ model, vectors string }{
		{"gpt2-tokenizer/tokenizer.json", "gpt2-tokenizer/ggml-vocab-gpt-2.gguf"},
		{"llama3-tokenizer/tokenizer.json", "llama3-tokenizer/ggml-vocab-llama-bpe.gguf"},
		{"qwen2-tokenizer", "qwen2-tokenizer/ggml-vocab-qwen2.gguf"},
		{"llama2-tokenizer/tokenizer.model", "llama2-tokenizer/ggml-vocab-llama-spm.gguf"},
		{"llama2-tokenizer/ggml-vocab-llama-spm.gguf", "llama2-tokenizer/ggml-vocab-llama-spm.gguf"},
		{"llama-2-tiny-random/llama-2-tiny-random.gguf", "llama2-tokenizer/ggml-vocab-llama-spm.gguf"},
		{"phi-3-tokenizer/ggml-vocab-phi-3.gguf", "phi-3-tokenizer/ggml-vocab-phi-3.gguf"},
	} {
		at := func(name string) string { return filepath.Join(e.dir, "..", "models", filepath.FromSlash(name)) }
		in, err := os.ReadFile(at(c.vectors + ".inp"))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		out, err := os.ReadFile(at(c.vectors + ".out"))
		if err != nil {
			return err
		}
		texts := strings.Split(string(in), mark)
		lines := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
		texts = texts[:min(len(texts), len(lines))]
		asked := make([]map[string]string, len(texts))
		for i, text := range texts {
			asked[i] = map[string]string{"text": text}
		}
		got, err := ask(e, asked, "tokenize", "--model", at(c.model), "--no-special", "--literal")
		if err != nil {
			return err
		}
		t := e.tally("vectors: "+strings.ReplaceAll(c.model, "-tokenizer", ""), "equal")
		for i, line := range got {
			var answer struct {
				IDs []int `json:"ids"`
			}
			err := json.Unmarshal(line, &answer)
			ids := strings.Trim(fmt.Sprint(answer.IDs), "[]")
			t.row(err == nil && ids == strings.Join(strings.Fields(lines[i]), " "), "%q: got %s, want %s", texts[i], ids, lines[i])
		}
	}
	return nil
}

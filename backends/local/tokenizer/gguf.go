package tokenizer

import (
	"fmt"
	"strings"

	"github.com/evalrun/evalrun/backends/local/weights"
	"github.com/evalrun/evalrun/internal/pieces"
)

// namedSplit is how GGUF files name a way of splitting in tokenizer.ggml.pre
// instead of writing it out (llama.cpp, src/llama-vocab.cpp).
type namedSplit struct {
	pattern string
	digits  bool // each digit is cut off first
	bos     bool // a beginning token is added where the file does not say
	whole   bool // a piece that is a token is taken at once
}

var splitsByName = map[string]namedSplit{
	"gpt-2":     {pattern: patternGPT2},
	"gpt2":      {pattern: patternGPT2},
	"phi-2":     {pattern: patternGPT2},
	"mpt":       {pattern: patternGPT2},
	"olmo":      {pattern: patternGPT2},
	"starcoder": {pattern: patternGPT2, digits: true},
	"refact":    {pattern: patternGPT2, digits: true},
	"command-r": {pattern: patternGPT2, digits: true},
	"smollm":    {pattern: patternGPT2, digits: true},
	"codeshell": {pattern: patternGPT2, digits: true},
	"llama3":    {pattern: patternLlama3, bos: true, whole: true},
	"llama-v3":  {pattern: patternLlama3, bos: true, whole: true},
	"llama-bpe": {pattern: patternLlama3, bos: true, whole: true},
	"dbrx":      {pattern: patternLlama3},
	"smaug-bpe": {pattern: patternLlama3},
	"qwen2":     {pattern: patternQwen2},
	"stablelm2": {pattern: patternQwen2},
	"gpt-4o":    {pattern: patternO200K},
	"tekken":    {pattern: patternTekken, whole: true},
}

// splitter builds the steps.
func (n namedSplit) splitter() (splitter, error) {
	pat, err := newPattern(n.pattern)
	if err != nil {
		return nil, err
	}
	split := patternSplitter(pat, isolated, false)
	if pat.scan != nil {
		split = scanSplitter(pat.scan)
	}
	if !n.digits {
		return split, nil
	}
	return chain([]splitter{runeSplitter(pieces.IsNumber, isolated), split}), nil
}

// controlTexts are control tokens by their look: some converters marked them as
// user-defined, which llama.cpp corrects in the same way.
var controlTexts = map[string]bool{
	"<s>": true, "</s>": true, "<unk>": true, "<pad>": true, "<bos>": true, "<eos>": true, "<|endoftext|>": true,
	"<|end|>": true, "<|eot_id|>": true, "<|im_start|>": true, "<|im_end|>": true, "<end_of_turn>": true,
}

// FromGGUF reads the vocabulary in a GGUF file's metadata: byte-level BPE
// (tokenizer.ggml.model gpt2) or SentencePiece's scored pieces (llama).
func FromGGUF(meta *weights.Meta) (*Tokenizer, error) {
	kind, ok := meta.String("tokenizer.ggml.model")
	if !ok {
		return nil, fmt.Errorf("tokenizer.ggml.model is missing: the file has no vocabulary")
	}
	pieces, ok := meta.Strings("tokenizer.ggml.tokens")
	if !ok {
		return nil, fmt.Errorf("tokenizer.ggml.tokens is missing or not a list of texts")
	}
	types := make([]int64, len(pieces))
	for i := range types {
		types[i] = pieceNormal
	}
	if meta.Has("tokenizer.ggml.token_type") {
		if types, ok = meta.Ints("tokenizer.ggml.token_type"); !ok || len(types) != len(pieces) {
			return nil, fmt.Errorf("tokenizer.ggml.token_type is not a list of %d numbers", len(pieces))
		}
	}
	t := newTokenizer()
	if err := t.setPieces(pieces); err != nil {
		return nil, err
	}
	for key, id := range map[string]*int32{"bos": &t.bos, "eos": &t.eos, "unknown": &t.unk, "padding": &t.pad} {
		key = "tokenizer.ggml." + key + "_token_id"
		if !meta.Has(key) {
			continue
		}
		v, ok := meta.Int(key)
		if ok && (v == 1<<32-1 || v == -1) { // how some writers say "none"
			continue
		}
		if !ok || v < 0 || v >= int64(len(pieces)) {
			return nil, fmt.Errorf("%s is %v, want 0 to %d", key, meta.Value(key), len(pieces)-1)
		}
		*id = int32(v)
	}
	var addBOS bool
	var err error
	switch kind {
	case "gpt2":
		addBOS, err = t.setGGUFBytes(meta)
	case "llama":
		addBOS, err = true, t.setGGUFPieces(meta, types)
	default:
		err = fmt.Errorf("tokenizer.ggml.model %q is not supported, want gpt2 or llama", kind)
	}
	if err != nil {
		return nil, err
	}
	var added []addedToken
	for id, typ := range types {
		if (typ == pieceControl || typ == pieceUserDefined || typ == pieceUnknown) && pieces[id] != "" {
			special := typ != pieceUserDefined || controlTexts[pieces[id]]
			added = append(added, addedToken{ID: int32(id), Content: pieces[id], Special: special})
		}
	}
	if err := t.setAdded(added); err != nil {
		return nil, err
	}
	if v, ok := meta.Bool("tokenizer.ggml.add_bos_token"); ok {
		addBOS = v
	}
	addEOS, _ := meta.Bool("tokenizer.ggml.add_eos_token")
	t.setEnds(addBOS, addEOS)
	return t, nil
}

// setEnds makes the template of a beginning and an end token, where wanted and
// named.
func (t *Tokenizer) setEnds(bos, eos bool) {
	t.template = nil
	if bos && t.bos != none {
		t.template = append(t.template, t.bos)
	}
	t.template = append(t.template, none)
	if eos && t.eos != none {
		t.template = append(t.template, t.eos)
	}
	if len(t.template) == 1 {
		t.template = nil
	}
}

func (t *Tokenizer) setGGUFBytes(meta *weights.Meta) (addBOS bool, err error) {
	name, ok := meta.String("tokenizer.ggml.pre")
	if !ok {
		return false, fmt.Errorf("tokenizer.ggml.pre is missing: how the text is split is not known; convert the model again")
	}
	pre, ok := splitsByName[name]
	if !ok {
		return false, fmt.Errorf("tokenizer.ggml.pre %q is not supported; use the model's tokenizer.json", name)
	}
	lines, ok := meta.Strings("tokenizer.ggml.merges")
	if !ok {
		return false, fmt.Errorf("tokenizer.ggml.merges is missing or not a list of texts")
	}
	merges := make([]merge, len(lines))
	for i, line := range lines {
		if err := merges[i].parse(line); err != nil {
			return false, fmt.Errorf("tokenizer.ggml.merges, entry %d: %w", i, err)
		}
	}
	m := &bpe{byteLevel: true, unk: none, cache: newCache()}
	t.model = m
	if err := t.setMerges(m, merges); err != nil {
		return false, err
	}
	t.setSymbols(m)
	if pre.whole {
		m.whole = t.rawIDs()
	}
	if t.split, err = pre.splitter(); err != nil {
		return false, err
	}
	t.decoder = decodeByteLevel
	return pre.bos, nil
}

func (t *Tokenizer) setGGUFPieces(meta *weights.Meta, types []int64) error {
	scores, ok := meta.Floats("tokenizer.ggml.scores")
	if !ok || len(scores) != len(t.tokens) {
		return fmt.Errorf("tokenizer.ggml.scores is not a list of %d numbers", len(t.tokens))
	}
	m, err := t.scoreBPE(t.tokens, scores, types, true)
	if err != nil {
		return err
	}
	t.model = m
	prefix := true
	if v, ok := meta.Bool("tokenizer.ggml.add_space_prefix"); ok {
		prefix = v
	}
	if v, ok := meta.Bool("tokenizer.ggml.remove_extra_whitespaces"); ok && v {
		return fmt.Errorf("tokenizer.ggml.remove_extra_whitespaces=true is not supported")
	}
	t.normalize = func(text string) (string, bool, error) {
		text = strings.ReplaceAll(text, " ", spaceMark)
		if prefix && text != "" {
			text = spaceMark + text
		}
		return text, false, nil
	}
	t.decoder = func(tokens []string) []string {
		for i := range tokens {
			tokens[i] = strings.ReplaceAll(tokens[i], spaceMark, " ")
		}
		text := strings.Join(decodeByteFallback(tokens), "")
		if prefix {
			text = strings.TrimPrefix(text, " ")
		}
		return []string{text}
	}
	return nil
}

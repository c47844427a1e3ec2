package tokenizer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"strings"
	"unicode/utf8"
)

// file is a tokenizer.json.
type file struct {
	AddedTokens   []addedToken `json:"added_tokens"`
	Normalizer    *step        `json:"normalizer"`
	PreTokenizer  *step        `json:"pre_tokenizer"`
	PostProcessor *step        `json:"post_processor"`
	Decoder       *step        `json:"decoder"`
	Model         *fileModel   `json:"model"`
}

// fileModel is its model; the vocabulary's form depends on the type.
type fileModel struct {
	Type          string          `json:"type"`
	Dropout       *float64        `json:"dropout"`
	UnkToken      *string         `json:"unk_token"`
	Prefix        *string         `json:"continuing_subword_prefix"`
	Suffix        *string         `json:"end_of_word_suffix"`
	FuseUnk       bool            `json:"fuse_unk"`
	ByteFallback  bool            `json:"byte_fallback"`
	IgnoreMerges  bool            `json:"ignore_merges"`
	Vocab         json.RawMessage `json:"vocab"`
	Merges        json.RawMessage `json:"merges"`
	UnigramUnknID *int64          `json:"unk_id"`
}

// merge is one entry of the list of merges: "a b", or ["a", "b"] where the
// parts may hold spaces.
type merge struct{ left, right string }

func (m *merge) parse(s string) error {
	left, right, ok := strings.Cut(s, " ")
	if !ok || left == "" || right == "" || strings.Contains(right, " ") {
		return fmt.Errorf("merge %q is not two parts with a space between", s)
	}
	m.left, m.right = left, right
	return nil
}

// FromJSON reads the text of a tokenizer.json.
func FromJSON(text []byte) (*Tokenizer, error) {
	var f file
	if err := unmarshal(text, &f); err != nil {
		return nil, err
	}
	fm := f.Model
	if fm == nil {
		return nil, errors.New("no model")
	}
	t := newTokenizer()
	var err error
	if t.normalize, err = buildNormalizer(f.Normalizer); err != nil {
		return nil, err
	}
	var byteLevel bool
	if t.split, byteLevel, err = buildSplitter(f.PreTokenizer); err != nil {
		return nil, err
	}
	if t.decoder, err = buildDecoder(f.Decoder); err != nil {
		return nil, err
	}
	// Files of the first versions name no type; BPE is told by its merges.
	switch {
	case fm.Type == "BPE" || fm.Type == "" && len(fm.Merges) > 0:
		err = t.setBPE(fm, byteLevel)
	case fm.Type == "Unigram":
		err = t.setUnigram(fm, byteLevel)
	default:
		err = unknownType("model", fm.Type, "BPE Unigram")
	}
	if err != nil {
		return nil, err
	}
	for i := range f.AddedTokens {
		a := &f.AddedTokens[i]
		if !utf8.ValidString(a.Content) || a.Content == "" {
			return nil, fmt.Errorf("added token %d has no text", a.ID)
		}
		if id, ok := t.ids[a.Content]; ok {
			a.ID = id
			continue
		}
		if err := checkID(int64(a.ID), len(t.ids)); err != nil {
			return nil, fmt.Errorf("added token %q: %w", a.Content, err)
		}
		t.setToken(a.Content, a.ID)
	}
	if err := t.setAdded(f.AddedTokens); err != nil {
		return nil, err
	}
	if t.template, err = t.buildTemplate(f.PostProcessor, template{none}); err != nil {
		return nil, err
	}
	if len(t.template) == 1 {
		t.template = nil
	}
	return t, nil
}

func newTokenizer() *Tokenizer {
	return &Tokenizer{ids: map[string]int32{}, special: map[int32]bool{}, bos: none, eos: none, unk: none, pad: none}
}

// unmarshal reads one JSON value and nothing after it.
func unmarshal(text []byte, v any) error {
	if !utf8.Valid(text) {
		return errors.New("not UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	if err := dec.Decode(v); err != nil {
		return err
	}
	if _, err := dec.Token(); err != io.EOF {
		return errors.New("more text after the object")
	}
	return nil
}

// setVocab fills the tables. Of a token that stands there twice the last id
// counts, as everywhere in JSON.
func (t *Tokenizer) setVocab(vocab []vocabEntry) error {
	if len(vocab) == 0 {
		return errNoTokens
	}
	largest := int64(-1)
	for _, v := range vocab {
		if err := checkID(v.id, len(vocab)); err != nil {
			return fmt.Errorf("vocabulary: token %q: %w", v.token, err)
		}
		largest = max(largest, v.id)
	}
	t.tokens = make([]string, largest+1)
	t.ids = make(map[string]int32, len(vocab))
	taken := make([]bool, largest+1)
	for _, v := range vocab {
		if taken[v.id] && t.tokens[v.id] != v.token {
			return fmt.Errorf("vocabulary: tokens %q and %q have the same id %d", t.tokens[v.id], v.token, v.id)
		}
		taken[v.id] = true
		t.tokens[v.id], t.ids[v.token] = v.token, int32(v.id)
	}
	return nil
}

func (t *Tokenizer) setBPE(fm *fileModel, byteLevel bool) error {
	if fm.Dropout != nil && *fm.Dropout != 0 {
		return fmt.Errorf("model: dropout of %g is for training only and is not supported", *fm.Dropout)
	}
	if fm.Prefix != nil && *fm.Prefix != "" || fm.Suffix != nil && *fm.Suffix != "" {
		return errors.New("model: continuing_subword_prefix and end_of_word_suffix are not supported")
	}
	vocab, err := readVocab(fm.Vocab)
	if err != nil {
		return fmt.Errorf("model: vocab: %w", err)
	}
	if err := t.setVocab(vocab); err != nil {
		return fmt.Errorf("model: %w", err)
	}
	merges, err := readMerges(fm.Merges)
	if err != nil {
		return fmt.Errorf("model: merges: %w", err)
	}
	if fm.UnkToken != nil {
		id, ok := t.ids[*fm.UnkToken]
		if !ok {
			return fmt.Errorf("model: unk_token %q is not in the vocabulary", *fm.UnkToken)
		}
		t.unk = id
	}
	m := &bpe{byteLevel: byteLevel, byteFallback: fm.ByteFallback, unk: t.unk, fuseUnk: fm.FuseUnk, cache: newCache()}
	t.model = m
	if err := t.setMerges(m, merges); err != nil {
		return fmt.Errorf("model: %w", err)
	}
	t.setSymbols(m)
	if fm.IgnoreMerges {
		m.whole = maps.Clone(t.ids) // without the added tokens, which come later
		if byteLevel {
			m.whole = t.rawIDs()
		}
	}
	if !byteLevel {
		m.cutBefore = safeCut(t, m, "▁")
	}
	return nil
}

// rawIDs are the ids by the bytes that the tokens of a byte-level vocabulary
// stand for.
func (t *Tokenizer) rawIDs() map[string]int32 {
	raw := make(map[string]int32, len(t.ids))
	for token, id := range t.ids {
		if b, ok := undisguise(token); ok {
			raw[b] = id
		}
	}
	return raw
}

// setMerges fills the pair table, the rank of a merge being its place in the list.
func (t *Tokenizer) setMerges(m *bpe, merges []merge) error {
	if len(merges) >= math.MaxInt32 {
		return fmt.Errorf("%d merges", len(merges))
	}
	m.pairs = newPairTable(len(merges))
	for rank, p := range merges {
		left, ok1 := t.ids[p.left]
		right, ok2 := t.ids[p.right]
		made, ok3 := t.ids[p.left+p.right]
		if !ok1 || !ok2 || !ok3 {
			return fmt.Errorf("merge %d, %q and %q: a part or the whole is not in the vocabulary", rank, p.left, p.right)
		}
		m.pairs.put(left, right, int32(rank), made)
	}
	return nil
}

// setSymbols fills the tables of what a piece consists of before any merge.
func (t *Tokenizer) setSymbols(m *bpe) {
	for b := range m.bytes {
		m.bytes[b] = none
		name := fmt.Sprintf("<0x%02X>", b)
		if m.byteLevel {
			name = string(byteRune[b])
		}
		if id, ok := t.ids[name]; ok {
			m.bytes[b] = id
		}
	}
	if m.byteLevel {
		return
	}
	m.runes = map[rune]int32{}
	for token, id := range t.ids {
		if r, n := utf8.DecodeRuneInString(token); n > 0 && n == len(token) {
			m.runes[r] = id
		}
	}
}

// safeCut returns mark where no token of several characters has it behind a
// different character, so that no merge can join across that place, and "" else.
func safeCut(t *Tokenizer, m *bpe, mark string) string {
	r, _ := utf8.DecodeRuneInString(mark)
	if _, ok := m.runes[r]; !ok || m.whole != nil {
		return ""
	}
	for _, s := range m.pairs.slots {
		if s.key == noKey {
			continue
		}
		token := t.tokens[s.id]
		if rest := strings.TrimLeft(token, mark); strings.Contains(rest, mark) {
			return ""
		}
	}
	return mark
}

// templateItem is one part of a TemplateProcessing step.
type templateItem struct {
	SpecialToken *struct {
		ID string `json:"id"`
	} `json:"SpecialToken"`
	Sequence *struct {
		ID string `json:"id"`
	} `json:"Sequence"`
}

type templateSpecial struct {
	IDs []int32 `json:"ids"`
}

// clsSep is the [text, id] of BertProcessing and RobertaProcessing.
type clsSep struct{ id int32 }

// UnmarshalJSON reads the pair.
func (c *clsSep) UnmarshalJSON(text []byte) error {
	var token string
	pair := []any{&token, &c.id}
	if err := json.Unmarshal(text, &pair); err != nil {
		return err
	}
	if len(pair) != 2 {
		return errors.New("want [text, id]")
	}
	return nil
}

// maxTemplate bounds what nested post-processors may put around a text.
const maxTemplate = 1024

// buildTemplate wraps the template so far in one more post-processing step.
func (t *Tokenizer) buildTemplate(s *step, so template) (template, error) {
	if s == nil {
		return so, nil
	}
	var made template
	switch s.Type {
	case "ByteLevel": // moves offsets, not ids
		return so, nil
	case "Sequence":
		for i := range s.Processors {
			var err error
			if so, err = t.buildTemplate(&s.Processors[i], so); err != nil {
				return nil, err
			}
		}
		return so, nil
	case "BertProcessing", "RobertaProcessing":
		if s.Cls == nil || s.Sep == nil {
			return nil, fmt.Errorf("post-processor %s: no cls or sep", s.Type)
		}
		if s.Cls.id < 0 || s.Sep.id < 0 {
			return nil, fmt.Errorf("post-processor %s: ids %d and %d", s.Type, s.Cls.id, s.Sep.id)
		}
		made = append(append(template{s.Cls.id}, so...), s.Sep.id)
	case "TemplateProcessing":
		for _, item := range s.Single {
			switch {
			case item.SpecialToken != nil:
				special, ok := s.SpecialTokens[item.SpecialToken.ID]
				if !ok {
					return nil, fmt.Errorf("post-processor TemplateProcessing: special token %q is not defined", item.SpecialToken.ID)
				}
				for _, id := range special.IDs {
					if id < 0 {
						return nil, fmt.Errorf("post-processor TemplateProcessing: special token %q has the id %d", item.SpecialToken.ID, id)
					}
				}
				made = append(made, special.IDs...)
			case item.Sequence != nil && item.Sequence.ID == "A":
				made = append(made, so...)
			default:
				return nil, errors.New("post-processor TemplateProcessing: a part of single is neither a special token nor sequence A")
			}
			if len(made) > maxTemplate {
				return nil, fmt.Errorf("post-processor TemplateProcessing: more than %d tokens", maxTemplate)
			}
		}
	default:
		return nil, unknownType("post-processor", s.Type, "Sequence ByteLevel TemplateProcessing BertProcessing RobertaProcessing")
	}
	sequences := 0
	for _, id := range made {
		if id == none {
			sequences++
		} else if _, ok := t.Token(id); !ok {
			return nil, fmt.Errorf("post-processor %s: id %d is not in the vocabulary", s.Type, id)
		}
	}
	if sequences != 1 {
		return nil, fmt.Errorf("post-processor %s: the text stands in it %d times, want once", s.Type, sequences)
	}
	return made, nil
}

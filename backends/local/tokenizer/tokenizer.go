// Package tokenizer turns text into token ids and back, as the model's own
// tokenizer does, id for id.
//
// It reads the four forms in which tokenizers are published: tokenizer.json
// (byte-pair encoding with its normalizers, pre-tokenizers, post-processors
// and decoders), SentencePiece's tokenizer.model, GPT-2's vocab.json with
// merges.txt, and the vocabulary inside a GGUF file. A file that asks for
// something that is not implemented is refused by name when it is loaded;
// nothing is left out silently.
//
// One step is one file: added.go finds added tokens, normalize.go rewrites,
// pretokenize.go splits (scan.go: the common patterns by hand), bpe.go and
// unigram.go are the models, decode.go goes back, stream.go goes back token by
// token.
//
// First call: Load.
package tokenizer

import (
	"errors"
	"fmt"
	"strings"
	"sync"
)

// Tokenizer encodes and decodes. It never changes after loading and may be
// used by many goroutines at once.
type Tokenizer struct {
	normalize normalizer // nil: text stays as it is
	split     splitter   // nil: one piece
	model     model
	before    *addedSet // found in the text as it comes
	after     *addedSet // found in the normalised text
	template  template
	decoder   decoder // nil: tokens joined by spaces

	// decodeIDs, where set, is SentencePiece's own way, instead of decoder.
	decodeIDs func(ids []int32, keepSpecial bool) string

	tokens  []string // by id; "" where the id is free
	ids     map[string]int32
	special map[int32]bool
	byteIDs map[int32]byte // SentencePiece's byte tokens

	bos, eos, unk, pad int32 // none where there is none
}

// template is what post-processing makes of a sequence: ids to put in, and
// none where the sequence itself goes. An empty template is the sequence alone.
type template []int32

// errNoTokens is what a loader says of an empty vocabulary.
var errNoTokens = errors.New("the vocabulary is empty")

// Encode gives the ids of text. With addSpecial, the tokens that the model
// wants around a text (such as BOS) are added. Where the text contains the
// text of a special token, that token is taken, unless literal is set: then
// it is text like any other.
//
// Bytes that are not UTF-8 are encoded as bytes where the vocabulary has
// bytes. The error is that of a tokenizer's own pattern which ran out of time.
func (t *Tokenizer) Encode(text string, addSpecial, literal bool) ([]int32, error) {
	return t.Append(make([]int32, 0, len(text)/4+4), text, addSpecial, literal)
}

// Append is Encode into dst's memory: it appends the ids and returns the slice.
func (t *Tokenizer) Append(dst []int32, text string, addSpecial, literal bool) ([]int32, error) {
	if !addSpecial || len(t.template) == 0 {
		return t.appendPlain(dst, text, literal)
	}
	var err error
	for _, id := range t.template {
		if id != none {
			dst = append(dst, id)
		} else if dst, err = t.appendPlain(dst, text, literal); err != nil {
			return nil, err
		}
	}
	return dst, nil
}

// work is the memory of one Encode.
type work struct {
	parts, normal []part
	pieces        []piece
}

var works = sync.Pool{New: func() any { return &work{} }}

func (t *Tokenizer) appendPlain(dst []int32, text string, literal bool) ([]int32, error) {
	if text == "" {
		return dst, nil
	}
	w := works.Get().(*work)
	defer func() {
		clear(w.parts) // keep no caller's text alive
		clear(w.normal)
		clear(w.pieces)
		works.Put(w)
	}()
	w.parts = t.before.split(w.parts[:0], piece{text, true}, literal)
	for _, p := range w.parts {
		if p.id != none {
			dst = append(dst, p.id)
			continue
		}
		if t.normalize != nil {
			normal, later, err := t.normalize(p.text)
			if err != nil {
				return nil, fmt.Errorf("encode: %w", err)
			}
			p.text, p.first = normal, p.first && !later
		}
		if p.text == "" {
			continue
		}
		w.normal = t.after.split(w.normal[:0], p.piece, literal)
		for _, q := range w.normal {
			if q.id != none {
				dst = append(dst, q.id)
				continue
			}
			if t.split == nil {
				dst = t.model.encode(dst, q.text)
				continue
			}
			var err error
			if w.pieces, err = t.split(w.pieces[:0], q.piece); err != nil {
				return nil, fmt.Errorf("encode: %w", err)
			}
			for _, r := range w.pieces {
				dst = t.model.encode(dst, r.text)
			}
		}
	}
	return dst, nil
}

// Decode gives the text of ids. Special tokens are left out unless keepSpecial
// is set. Ids outside the vocabulary give nothing. What is not UTF-8 becomes
// U+FFFD.
func (t *Tokenizer) Decode(ids []int32, keepSpecial bool) string {
	if t.decodeIDs != nil {
		return t.decodeIDs(ids, keepSpecial)
	}
	list := make([]string, 0, len(ids))
	for _, id := range ids {
		if !keepSpecial && t.special[id] {
			continue
		}
		if token, ok := t.Token(id); ok {
			list = append(list, token)
		}
	}
	if t.decoder == nil {
		return strings.Join(list, " ")
	}
	return strings.Join(t.decoder(list), "")
}

// VocabSize is one more than the largest id.
func (t *Tokenizer) VocabSize() int { return len(t.tokens) }

// Token is the vocabulary's own writing of an id, such as "Ġthe", "▁the" or
// "<0x0A>"; false where the id is free.
func (t *Tokenizer) Token(id int32) (string, bool) {
	if id < 0 || int(id) >= len(t.tokens) {
		return "", false
	}
	token := t.tokens[id]
	if token == "" {
		back, ok := t.ids[""]
		return "", ok && back == id
	}
	return token, true
}

// ID is the id of a token in the vocabulary's own writing.
func (t *Tokenizer) ID(token string) (int32, bool) {
	id, ok := t.ids[token]
	return id, ok
}

// IsSpecial tells whether Decode leaves the id out.
func (t *Tokenizer) IsSpecial(id int32) bool { return t.special[id] }

// BOS is the id that begins a text; false where the tokenizer names none.
func (t *Tokenizer) BOS() (int32, bool) { return t.bos, t.bos != none }

// EOS is the id that ends a text; false where the tokenizer names none.
func (t *Tokenizer) EOS() (int32, bool) { return t.eos, t.eos != none }

// Pad is the id that fills a batch; false where the tokenizer names none.
func (t *Tokenizer) Pad() (int32, bool) { return t.pad, t.pad != none }

// Unknown is the id of what the vocabulary cannot write; false where there is
// none.
func (t *Tokenizer) Unknown() (int32, bool) { return t.unk, t.unk != none }

// setToken puts a token into the tables.
func (t *Tokenizer) setToken(token string, id int32) {
	for int(id) >= len(t.tokens) {
		t.tokens = append(t.tokens, "")
	}
	t.tokens[id] = token
	t.ids[token] = id
}

// setAdded builds the two sets from the added tokens.
func (t *Tokenizer) setAdded(added []addedToken) error {
	var before, after []addedToken
	var beforeText, afterText []string
	names := map[string]bool{} // of special tokens, by which decoding leaves them out
	for _, a := range added {
		if a.Special {
			names[a.Content] = true
		}
	}
	for _, a := range added {
		if !a.Normalized {
			if names[a.Content] {
				t.special[a.ID] = true
			}
			before, beforeText = append(before, a), append(beforeText, a.Content)
			continue
		}
		text := a.Content
		if t.normalize != nil {
			var err error
			if text, _, err = t.normalize(text); err != nil {
				return fmt.Errorf("added token %q: %w", a.Content, err)
			}
		}
		after, afterText = append(after, a), append(afterText, text)
		t.tokens[a.ID] = text // what was found is what is given back
		if names[text] {
			t.special[a.ID] = true
		}
	}
	t.before = newAddedSet(before, beforeText)
	t.after = newAddedSet(after, afterText)
	return nil
}

// checkID refuses ids so large that a table of all ids would be mostly holes.
func checkID(id int64, tokens int) error {
	if limit := int64(2*tokens + 1<<16); id < 0 || id > limit {
		return fmt.Errorf("id %d is out of range 0 to %d for %d tokens", id, limit, tokens)
	}
	return nil
}

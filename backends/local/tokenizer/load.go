package tokenizer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/evalrun/evalrun/backends/local/weights"
)

// Load reads a tokenizer from a file (tokenizer.json, a SentencePiece model
// such as tokenizer.model or tokenizer.model.v3, a .gguf) or from a Hugging
// Face folder, which may hold any of them or vocab.json with merges.txt; beside
// a folder's tokenizer, tokenizer_config.json says which tokens begin and end.
func Load(path string) (*Tokenizer, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("load tokenizer: %w", err)
	}
	var t *Tokenizer
	if st.IsDir() {
		t, err = loadFolder(path)
	} else {
		t, err = loadFile(path)
	}
	if err != nil {
		return nil, fmt.Errorf("load tokenizer: %w", err)
	}
	return t, nil
}

func loadFile(path string) (*Tokenizer, error) {
	if strings.HasSuffix(path, ".gguf") {
		return loadGGUF(path)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var t *Tokenizer
	switch {
	case bytes.HasPrefix(data, []byte("GGUF")):
		return loadGGUF(path)
	case len(bytes.TrimSpace(data)) > 0 && bytes.TrimSpace(data)[0] == '{':
		t, err = FromJSON(data)
	default:
		t, err = FromSentencePiece(data)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

func loadGGUF(path string) (*Tokenizer, error) {
	f, err := weights.Open(path)
	if err != nil {
		return nil, err
	}
	var t *Tokenizer
	if f.Meta() == nil {
		err = errors.New("not a GGUF file")
	} else {
		t, err = FromGGUF(f.Meta())
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

// loadFolder takes the most exact description there is.
func loadFolder(dir string) (*Tokenizer, error) {
	config, err := readConfig(filepath.Join(dir, "tokenizer_config.json"))
	if err != nil {
		return nil, err
	}
	has := func(name string) bool {
		_, err := os.Stat(filepath.Join(dir, name))
		return err == nil
	}
	var t *Tokenizer
	switch {
	case has("tokenizer.json"):
		t, err = loadFile(filepath.Join(dir, "tokenizer.json"))
	case has("tokenizer.model"):
		if t, err = loadFile(filepath.Join(dir, "tokenizer.model")); err == nil {
			err = t.recogniseControls(config)
		}
	case has("tokenizer.model.v3"):
		if t, err = loadFile(filepath.Join(dir, "tokenizer.model.v3")); err == nil {
			err = t.recogniseControls(config)
		}
	case has("vocab.json") && has("merges.txt"):
		t, err = loadVocabMerges(dir, config)
	default:
		found, _ := filepath.Glob(filepath.Join(escapeGlob(dir), "*.gguf"))
		if len(found) == 0 {
			return nil, fmt.Errorf("%s: no tokenizer.json, tokenizer.model, vocab.json with merges.txt, or .gguf file in the folder", dir)
		}
		t, err = loadGGUF(dir)
	}
	if err != nil {
		return nil, err
	}
	if err := t.applyConfig(config); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, "tokenizer_config.json"), err)
	}
	return t, nil
}

// escapeGlob writes a folder's name so that Glob takes it literally.
func escapeGlob(dir string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(dir)
}

// config is what is read of tokenizer_config.json. A token there is a text or
// an object with its content.
type config struct {
	Class    string                     `json:"tokenizer_class"`
	AddBOS   *bool                      `json:"add_bos_token"`
	AddEOS   *bool                      `json:"add_eos_token"`
	BOS      tokenText                  `json:"bos_token"`
	EOS      tokenText                  `json:"eos_token"`
	Unk      tokenText                  `json:"unk_token"`
	Pad      tokenText                  `json:"pad_token"`
	Added    map[string]json.RawMessage `json:"added_tokens_decoder"`
	AddSpace *bool                      `json:"add_prefix_space"`
}

type tokenText string

// UnmarshalJSON reads a text, an object with content, or null.
func (t *tokenText) UnmarshalJSON(text []byte) error {
	var s *string
	if json.Unmarshal(text, &s) == nil {
		if s != nil {
			*t = tokenText(*s)
		}
		return nil
	}
	var o struct {
		Content string `json:"content"`
	}
	if err := json.Unmarshal(text, &o); err != nil {
		return err
	}
	*t = tokenText(o.Content)
	return nil
}

// readConfig gives an empty config where there is no file.
func readConfig(path string) (*config, error) {
	c := &config{}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return nil, err
	}
	if err := unmarshal(text, c); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

// added are the tokens of added_tokens_decoder, by id.
func (c *config) added() ([]addedToken, error) {
	var list []addedToken
	for key, text := range c.Added {
		id, err := strconv.ParseInt(key, 10, 32)
		if err != nil || id < 0 {
			return nil, fmt.Errorf("added_tokens_decoder: %q is not an id", key)
		}
		a := addedToken{}
		if err := json.Unmarshal(text, &a); err != nil {
			return nil, fmt.Errorf("added_tokens_decoder: %s: %w", key, err)
		}
		a.ID = int32(id)
		if a.Content == "" || !utf8.ValidString(a.Content) {
			return nil, fmt.Errorf("added_tokens_decoder: %s has no content", key)
		}
		list = append(list, a)
	}
	sort.Slice(list, func(a, b int) bool { return list[a].ID < list[b].ID })
	return list, nil
}

// applyConfig names the tokens that begin and end a text. The file's own
// post-processor goes before add_bos_token, except in the families whose
// Python classes rebuild it from these flags.
func (t *Tokenizer) applyConfig(c *config) error {
	for _, x := range []struct {
		id   *int32
		text tokenText
		name string

		optional bool // neither encoding nor decoding needs it
	}{{&t.bos, c.BOS, "bos_token", false}, {&t.eos, c.EOS, "eos_token", false}, {&t.unk, c.Unk, "unk_token", true}, {&t.pad, c.Pad, "pad_token", true}} {
		if x.text == "" {
			continue
		}
		id, ok := t.ids[string(x.text)]
		if !ok && x.optional {
			continue // the Python classes would add a token that no weight knows
		}
		if !ok {
			return fmt.Errorf("%s %q is not in the vocabulary", x.name, x.text)
		}
		*x.id = id
	}
	rebuilt := strings.HasPrefix(c.Class, "Llama") || strings.HasPrefix(c.Class, "CodeLlama") || strings.HasPrefix(c.Class, "Gemma")
	simple := len(t.template) <= 3 // a beginning, the text, an end
	switch {
	case c.AddBOS == nil && c.AddEOS == nil:
	case len(t.template) == 0, rebuilt && simple:
		bos := c.AddBOS != nil && *c.AddBOS
		if c.AddBOS == nil {
			bos = len(t.template) > 0 && t.template[0] == t.bos
		}
		t.setEnds(bos, c.AddEOS != nil && *c.AddEOS)
	}
	return nil
}

// recogniseControls makes the texts of a SentencePiece model's control pieces
// known, as the folder's Python tokenizer does: those of the configuration
// where it lists them, else the beginning, end and unknown pieces.
func (t *Tokenizer) recogniseControls(c *config) error {
	added, err := c.added()
	if err != nil {
		return err
	}
	if len(added) == 0 {
		for _, id := range []int32{t.unk, t.bos, t.eos} {
			if id != none {
				added = append(added, addedToken{ID: id, Content: t.tokens[id], Special: true})
			}
		}
	}
	for _, a := range added {
		if err := checkID(int64(a.ID), len(t.tokens)); err != nil {
			return fmt.Errorf("added_tokens_decoder: %w", err)
		}
		if old, ok := t.Token(a.ID); ok && old != a.Content {
			return fmt.Errorf("added_tokens_decoder: id %d is %q, but %q in the model", a.ID, a.Content, old)
		}
		t.setToken(a.Content, a.ID)
		t.special[a.ID] = a.Special
	}
	texts := make([]string, len(added))
	for i, a := range added {
		texts[i] = a.Content
	}
	t.before = newAddedSet(added, texts)
	plain := t.decodeIDs
	known := map[int32]string{}
	for _, a := range added {
		known[a.ID] = a.Content
	}
	t.decodeIDs = func(ids []int32, keepSpecial bool) string {
		var b strings.Builder
		from := 0
		for i, id := range ids {
			text, ok := known[id]
			if !ok {
				continue
			}
			b.WriteString(plain(ids[from:i], keepSpecial))
			if keepSpecial || !t.special[id] {
				b.WriteString(text)
			}
			from = i + 1
		}
		b.WriteString(plain(ids[from:], keepSpecial))
		return b.String()
	}
	return nil
}

// loadVocabMerges reads GPT-2's pair of files. How the text is split stands in
// neither; the class in the configuration tells.
func loadVocabMerges(dir string, c *config) (*Tokenizer, error) {
	path := filepath.Join(dir, "vocab.json")
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var raw json.RawMessage
	if err := unmarshal(text, &raw); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	vocab, err := readVocab(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	t := newTokenizer()
	if err := t.setVocab(vocab); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	path = filepath.Join(dir, "merges.txt")
	if text, err = os.ReadFile(path); err != nil {
		return nil, err
	}
	var merges []merge
	for i, line := range strings.Split(string(text), "\n") {
		line = strings.TrimSuffix(line, "\r")
		if line == "" || i == 0 && strings.HasPrefix(line, "#version") {
			continue
		}
		var m merge
		if err := m.parse(line); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, i+1, err)
		}
		merges = append(merges, m)
	}
	m := &bpe{byteLevel: true, unk: none, cache: newCache()}
	t.model, t.decoder = m, decodeByteLevel
	if err := t.setMerges(m, merges); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	t.setSymbols(m)
	class := strings.TrimSuffix(c.Class, "Fast")
	pre := &step{Type: "ByteLevel", AddPrefixSpace: c.AddSpace}
	if c.AddSpace == nil {
		pre.AddPrefixSpace = new(bool)
	}
	switch class {
	case "Qwen2Tokenizer":
		if t.normalize, err = buildNormalizer(&step{Type: "NFC"}); err != nil {
			return nil, err
		}
		t.split = scanSplitter(scanQwen2)
	case "GPT2Tokenizer", "CodeGenTokenizer", "RobertaTokenizer", "":
		if t.split, _, err = buildSplitter(pre); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("%s: vocab.json and merges.txt of a %s are not supported; save the tokenizer as tokenizer.json", dir, c.Class)
	}
	added, err := vocabAdded(dir, c)
	if err != nil {
		return nil, err
	}
	for i, a := range added {
		if id, ok := t.ids[a.Content]; ok {
			added[i].ID = id
			continue
		}
		if err := checkID(int64(a.ID), len(t.ids)); err != nil {
			return nil, fmt.Errorf("%s: added token %q: %w", dir, a.Content, err)
		}
		t.setToken(a.Content, a.ID)
	}
	return t, t.setAdded(added)
}

// vocabAdded are the added tokens of such a folder: from the configuration or,
// where it lists none, from added_tokens.json.
func vocabAdded(dir string, c *config) ([]addedToken, error) {
	if added, err := c.added(); err != nil || len(added) > 0 {
		return added, err
	}
	path := filepath.Join(dir, "added_tokens.json")
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var ids map[string]int32
	if err := unmarshal(text, &ids); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	var added []addedToken
	for content, id := range ids {
		if content == "" {
			return nil, fmt.Errorf("%s: a token without text", path)
		}
		added = append(added, addedToken{ID: id, Content: content, Special: true})
	}
	sort.Slice(added, func(a, b int) bool { return added[a].ID < added[b].ID })
	return added, nil
}

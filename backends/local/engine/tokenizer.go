package engine

import (
	"os"
	"path/filepath"

	"github.com/evalrun/evalrun/backends/local/tokenizer"
	"github.com/evalrun/evalrun/backends/local/weights"
)

// wrapped is the house's tokenizer in the engine's words.
type wrapped struct{ *tokenizer.Tokenizer }

func (w wrapped) Stream(prompt []int32) TextStream { return w.NewStream(prompt, false) }

// Wrap makes a loaded tokenizer one for Options.
func Wrap(t *tokenizer.Tokenizer) Tokenizer { return wrapped{t} }

// tokenizerFiles are those that a folder with a tokenizer has one of.
var tokenizerFiles = []string{"tokenizer.json", "tokenizer.model", "tokenizer.model.v3", "vocab.json"}

// OpenTokenizer reads the tokenizer of the model at path; it is nil where the
// model has none, which leaves requests of token ids.
func OpenTokenizer(path string, file *weights.File) (Tokenizer, error) {
	if m := file.Meta(); m != nil {
		if kind, ok := m.String("tokenizer.ggml.model"); !ok || kind == "no_vocab" || kind == "none" {
			return nil, nil // "no_vocab" is llama.cpp's word for a file without one
		}
		t, err := tokenizer.FromGGUF(m)
		if err != nil {
			return nil, err
		}
		return wrapped{t}, nil
	}
	dir := path
	if st, err := os.Stat(path); err == nil && !st.IsDir() {
		dir = filepath.Dir(path)
	}
	for _, name := range tokenizerFiles {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			continue
		}
		t, err := tokenizer.Load(dir)
		if err != nil {
			return nil, err
		}
		return wrapped{t}, nil
	}
	return nil, nil
}

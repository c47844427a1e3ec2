package lora

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dlclark/regexp2/v2"
)

// matcher is target_modules or exclude_modules: a list of names, suffixes and
// full paths, a regular expression over the whole path, or "all-linear".
type matcher struct {
	given bool
	all   bool
	list  []string
	expr  *regexp2.Regexp
}

const (
	allLinear = "all-linear"
	// outputLayer is what "all-linear" leaves out.
	outputLayer = "lm_head"
	// patience bounds the time of one match of somebody's expression.
	patience = time.Second
)

func newMatcher(raw json.RawMessage) (matcher, error) {
	m := matcher{}
	if s := string(bytes.TrimSpace(raw)); s == "" || s == "null" {
		return m, nil
	}
	m.given = true
	var expr string
	if err := json.Unmarshal(raw, &expr); err != nil {
		return m, json.Unmarshal(raw, &m.list)
	}
	if strings.EqualFold(expr, allLinear) {
		m.all = true
		return m, nil
	}
	var err error
	m.expr, err = compile(`\A(?:` + expr + `)\z`)
	return m, err
}

// compile reads a Python expression; what the two dialects write differently
// and module names use is the named group.
func compile(expr string) (*regexp2.Regexp, error) {
	re, err := regexp2.Compile(strings.ReplaceAll(expr, "(?P<", "(?<"), regexp2.None)
	if err != nil {
		return nil, err
	}
	re.MatchTimeout = patience
	return re, nil
}

// match tells whether the path of a linear module is meant.
func (m matcher) match(path string) (bool, error) {
	switch {
	case m.all:
		return path != outputLayer, nil
	case m.expr != nil:
		return m.expr.MatchString(path)
	}
	return slices.ContainsFunc(m.list, func(s string) bool { return path == s || strings.HasSuffix(path, "."+s) }), nil
}

// target tells whether PEFT would give the module at path an adapter.
func (c *Config) target(path string) (bool, error) {
	if c.exclude.given {
		if out, err := c.exclude.match(path); err != nil || out {
			return false, err
		}
	}
	// A module that is saved whole has no pair beside it, and one that the list
	// names by its whole path has one in whichever layer it is.
	if slices.ContainsFunc(c.save, func(s string) bool { return strings.Contains("."+path+".", "."+s+".") }) {
		return false, nil
	}
	ok, err := c.targets.match(path)
	if err != nil || !ok || len(c.layers) == 0 || slices.Contains(c.targets.list, path) {
		return ok, err
	}
	layer, ok := c.layerOf(path)
	return ok && slices.Contains(c.layers, layer), nil
}

// layerOf is the number of a path's layer: what stands behind a name, or
// behind one of layers_pattern.
func (c *Config) layerOf(path string) (int, bool) {
	parts := strings.Split(path, ".")
	for i := len(parts) - 2; i >= 2; i-- {
		n, err := strconv.Atoi(parts[i])
		if err == nil && n >= 0 && (len(c.layersPattern) == 0 || slices.Contains(c.layersPattern, parts[i-1])) {
			return n, true
		}
	}
	return 0, false
}

// pattern is an entry of rank_pattern or alpha_pattern.
type pattern struct {
	key   string
	value float64
	expr  *regexp2.Regexp
}

// patterns reads them in the order of the file, in which the first match
// counts.
func patterns(text []byte, key string, values map[string]json.RawMessage) ([]pattern, error) {
	if len(values) == 0 {
		return nil, nil
	}
	var outer map[string]json.RawMessage
	if err := json.Unmarshal(text, &outer); err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(outer[key]))
	var all []pattern
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, err
		}
		p := pattern{key: fmt.Sprint(t)}
		if err := d.Decode(&p.value); err != nil {
			return nil, fmt.Errorf("%s: %q: %w", key, p.key, err)
		}
		if p.expr, err = compile(`\A(?:.*\.)?(?:` + p.key + `)\z`); err != nil {
			return nil, fmt.Errorf("%s: %q: %w", key, p.key, err)
		}
		all = append(all, p)
	}
	return all, nil
}

func lookup(patterns []pattern, path string) (float64, bool) {
	for _, p := range patterns {
		if ok, err := p.expr.MatchString(path); ok && err == nil {
			return p.value, true
		}
	}
	return 0, false
}

// contentHash is over both files of an adapter: bytes, name and length of each.
type contentHash struct{ hash.Hash }

func newHash() contentHash { return contentHash{sha256.New()} }

func (h contentHash) add(name string, content io.Reader) error {
	size, err := io.Copy(h, content)
	fmt.Fprintf(h, "\x00%s\x00%d\x00", name, size)
	return err
}

func (h contentHash) sum() string { return hex.EncodeToString(h.Sum(nil)) }

// Hash identifies the adapter of a folder by the whole content of both files.
func Hash(dir string) (string, error) {
	h := newHash()
	for _, name := range []string{configFile, modelFile} {
		f, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			return "", err
		}
		err = h.add(name, f)
		f.Close()
		if err != nil {
			return "", err
		}
	}
	return h.sum(), nil
}

// Targets gives the linear modules that the configuration names, by number. It
// is an error if a name of a list names nothing, as in PEFT if all do.
func (c *Config) Targets(modules []Module) ([]int, error) {
	var out []int
	used := map[string]bool{}
	for i, m := range modules {
		if m.Path == "" || m.Kind != Linear {
			continue
		}
		ok, err := c.target(m.Path)
		if err != nil {
			return nil, fmt.Errorf("target_modules: %w", err)
		}
		if !ok {
			continue
		}
		out = append(out, i)
		for _, s := range c.targets.list {
			if m.Path == s || strings.HasSuffix(m.Path, "."+s) {
				used[s] = true
			}
		}
	}
	for _, s := range c.targets.list {
		if !used[s] {
			return nil, fmt.Errorf("target_modules names %s: the model has no such linear module: %w", s, ErrOtherModel)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("target_modules names no linear module of the model: %w", ErrOtherModel)
	}
	return out, nil
}

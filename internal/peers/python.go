package main

import (
	"bufio"
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/evalrun/evalrun/backends/local/demo"
)

//go:embed reference.py
var referenceSource []byte

//go:embed others.py
var othersSource []byte

// need says whether Python has the packages, and which versions.
func (p *peers) need(packages ...string) error {
	text := "import importlib.metadata as m, sys\nprint('Python', sys.version.split()[0])\nfor p in sys.argv[1:]:\n  try: print(p, m.version(p))\n  except Exception: print(p, '-')\n"
	out, err := exec.Command(p.python, append([]string{"-c", text}, packages...)...).Output()
	if err != nil {
		return fmt.Errorf("there is no Python at %q: %w; name one with -python, it needs %s", p.python, errMissing, strings.Join(packages, ", "))
	}
	var have, missing []string
	for _, line := range strings.Split(strings.TrimSpace(string(out)), "\n") {
		if name, ok := strings.CutSuffix(line, " -"); ok {
			missing = append(missing, name)
		}
		have = append(have, line)
	}
	if len(missing) > 0 {
		return fmt.Errorf("%s lacks %s: %w; pip install %s", p.python, strings.Join(missing, ", "), errMissing, strings.Join(missing, " "))
	}
	fmt.Println(strings.Join(have, ", "))
	return nil
}

// needPEFT asks for what reference.py imports.
func (p *peers) needPEFT() error {
	return p.need("torch", "transformers", "peft", "bitsandbytes", "accelerate", "safetensors", "gguf")
}

// reference runs a verb of reference.py, others one of others.py; the answers
// are JSON lines.
func reference[T any](p *peers, verb string, job map[string]any) ([]T, error) {
	return python[T](p, "reference.py", referenceSource, verb, job)
}

func others[T any](p *peers, verb string, job map[string]any) ([]T, error) {
	return python[T](p, "others.py", othersSource, verb, job)
}

func python[T any](p *peers, name string, source []byte, verb string, job map[string]any) ([]T, error) {
	path := p.at(name)
	if err := os.WriteFile(path, source, 0o600); err != nil {
		return nil, err
	}
	if p.threads > 0 {
		job["threads"] = p.threads
	}
	in, err := json.Marshal(job)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(p.python, path, verb)
	cmd.Env = os.Environ()
	if p.threads > 0 {
		cmd.Env = append(cmd.Env, fmt.Sprintf("OMP_NUM_THREADS=%d", p.threads))
	}
	out, err := p.command(cmd, in)
	if err != nil {
		return nil, err
	}
	return lines[T](out)
}

// lines decodes JSON lines.
func lines[T any](text []byte) ([]T, error) {
	var all []T
	s := bufio.NewScanner(bytes.NewReader(text))
	s.Buffer(nil, 1<<28)
	for s.Scan() {
		if len(bytes.TrimSpace(s.Bytes())) == 0 {
			continue
		}
		var v T
		if err := json.Unmarshal(s.Bytes(), &v); err != nil {
			return nil, fmt.Errorf("%w in %.200s", err, s.Text())
		}
		all = append(all, v)
	}
	return all, s.Err()
}

// file is the base as it was named, or the demonstration model.
func (p *peers) file() (string, error) {
	if p.model != "" {
		return p.model, nil
	}
	return demo.File()
}

// base gives the base as a Hugging Face folder that both sides read: of a GGUF
// file transformers makes one, and with -quant nf4 bitsandbytes quantises it.
func (p *peers) base() (folder string, err error) {
	model, err := p.file()
	if err != nil {
		return "", err
	}
	if model, err = filepath.Abs(model); err != nil {
		return "", err
	}
	if strings.HasSuffix(model, ".gguf") {
		if model, err = p.once("base", "folder", map[string]any{"gguf": model}); err != nil {
			return "", err
		}
	}
	if p.quant == "nf4" {
		return p.once("base-nf4", "quantise", map[string]any{"model": model})
	}
	return model, nil
}

// once has reference.py make a folder, unless it was kept from another call.
func (p *peers) once(name, verb string, job map[string]any) (string, error) {
	folder := p.at(name)
	if _, err := os.Stat(filepath.Join(folder, "tokenizer.json")); err == nil {
		return folder, nil
	}
	job["out"] = folder
	_, err := reference[any](p, verb, job)
	return folder, err
}

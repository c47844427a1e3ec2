package main

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/evalrun/evalrun/backends/local/demo"
	"github.com/evalrun/evalrun/backends/local/weights"
	"github.com/evalrun/evalrun/internal/trainlog"
)

// Without Python, or without a package, nothing is called checked.
func TestNeed(t *testing.T) {
	p := &peers{options: options{python: filepath.Join(t.TempDir(), "python3")}}
	for verb, f := range verbs {
		if verb == "all" {
			continue
		}
		if err := f(p); !errors.Is(err, errMissing) || !strings.Contains(err.Error(), "-python") {
			t.Errorf("%s without Python: %v", verb, err)
		}
	}
	p.python = "python3"
	err := p.need("no-such-package-anywhere")
	if err == nil || strings.Contains(err.Error(), "no Python") {
		t.Skip("there is no python3")
	}
	if !errors.Is(err, errMissing) || !strings.Contains(err.Error(), "lacks no-such-package-anywhere") {
		t.Error(err)
	}
}

func TestApart(t *testing.T) {
	dir := t.TempDir()
	file := func(name string, values ...float32) string {
		path := filepath.Join(dir, name)
		if err := weights.WriteSafetensors(path, []weights.Tensor{weights.Float32s("logits.0", values, 2, len(values)/2)}, nil); err != nil {
			t.Fatal(err)
		}
		return path
	}
	worst, largest, n, same, err := apart(file("a", 1, 2, 3, 9, -5, 4), file("b", 1, 2, 3, 4, -5.5, 5))
	if worst != 5 || largest != 5.5 || n != 6 || same != [2]int{1, 2} || err != nil {
		t.Errorf("%v of %v, %d, %v, %v", worst, largest, n, same, err)
	}
	if _, _, _, _, err := apart(file("a", 1, 2), file("b", 1, 2, 3, 4)); err == nil {
		t.Error("other shapes are compared")
	}
}

// A curve that leaves the other one fails, and one of other windows is no curve
// to compare.
func TestSameCurve(t *testing.T) {
	norm := 2.0
	want := []refWindow{{Step: 1, Losses: []float64{1, 3}, LR: []float64{0, 0.1}, GradNorm: &norm, Tokens: 7}}
	for _, c := range []struct {
		got    trainlog.Line
		failed int
		ok     bool
	}{
		{trainlog.Line{Step: 2, Loss: 2, LR: 0.1, GradNorm: 2, Tokens: 7}, 0, true},
		{trainlog.Line{Step: 2, Loss: 2.001, LR: 0.1, GradNorm: 2, Tokens: 7}, 1, true},
		{trainlog.Line{Step: 2, Loss: 2, LR: 0.2, GradNorm: 2, Tokens: 7}, 1, true},
		{trainlog.Line{Step: 2, Loss: 2, LR: 0.1, GradNorm: 2, Tokens: 8}, 0, false},
	} {
		p := &peers{}
		if err := p.sameCurve("a test", []trainlog.Line{c.got}, want); (err == nil) != c.ok || p.failed != c.failed {
			t.Errorf("%+v: %v, %d failed", c.got, err, p.failed)
		}
	}
}

// A widened model has the same values.
func TestWiden(t *testing.T) {
	from, err := demo.File()
	if err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(t.TempDir(), "wide.gguf")
	if err := widen(from, to); err != nil {
		t.Fatal(err)
	}
	values := func(path string) []float32 {
		f, err := weights.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		x, err := f.Tensor("blk.3.attn_k.weight")
		if err != nil {
			t.Fatal(err)
		}
		v, err := x.Floats()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	if a, b := values(from), values(to); !slices.Equal(a, b) || len(a) != 128*256 {
		t.Error("other values")
	}
}

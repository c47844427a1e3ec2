package tasks

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// known stands for the metric names that the command line passes in.
var known = []string{"accuracy", "rouge", "exact_match"}

// TestGoodFiles loads every file of testdata/good.
func TestGoodFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/good/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no files in testdata/good", err)
	}
	for _, path := range files {
		f, err := Load(path, Options{Metrics: known})
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		if len(f.Warnings) > 0 {
			t.Errorf("%v", f.Warnings)
		}
		if want := strings.TrimSuffix(filepath.Base(path), ".yaml"); f.Task.Name != want {
			t.Errorf("%s: task %q", path, f.Task.Name)
		}
	}
}

// TestBadFiles compares the complaints about every file of testdata/bad with
// the .want file beside it. EVALRUN_UPDATE=1 writes those anew.
func TestBadFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no files in testdata/bad", err)
	}
	for _, path := range files {
		src, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Base(path)
		_, err = Parse(name, src, Options{Metrics: known})
		if err == nil {
			t.Errorf("%s loads", path)
			continue
		}
		got := err.Error() + "\n"
		wantPath := strings.TrimSuffix(path, ".yaml") + ".want"
		if os.Getenv("EVALRUN_UPDATE") != "" {
			if err := os.WriteFile(wantPath, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want, err := os.ReadFile(wantPath)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s:\n--- got\n%s--- want\n%s", path, got, want)
		}
	}
}

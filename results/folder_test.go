package results

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/evalrun/evalrun/core/record"
)

func create(t *testing.T, root, hash string, at time.Time) *Folder {
	t.Helper()
	f, err := Create(root, Manifest{Created: at, ConfigHash: hash})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// Runs that began within one second still have an order.
func TestNewestFirst(t *testing.T) {
	root := t.TempDir()
	start := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	var want []string
	for i := range 8 {
		want = append([]string{create(t, root, "h", start.Add(time.Duration(i)*time.Millisecond)).Manifest.ID}, want...)
	}
	runs, err := List(root)
	if err != nil || len(runs) != len(want) {
		t.Fatalf("%d runs, %v", len(runs), err)
	}
	for i, f := range runs {
		if f.Manifest.ID != want[i] {
			t.Errorf("place %d: %s, want %s", i, f.Manifest.ID, want[i])
		}
	}
	for _, name := range []string{"latest", filepath.Join(root, "latest"), want[0], filepath.Join(root, want[0])} {
		if f, err := Open(root, name); err != nil || f.Manifest.ID != want[0] {
			t.Errorf("open %s: %v", name, err)
		}
	}
	if _, err := Open(root, "nothing"); err == nil {
		t.Error("a run that is not there was opened")
	}
}

// Latest outlives its link and the run that it points at: it is the newest run
// that is left.
func TestLatestFallsBack(t *testing.T) {
	root := t.TempDir()
	start := time.Now()
	old, newer := create(t, root, "h", start), create(t, root, "h", start.Add(time.Second))
	link := filepath.Join(root, "latest")
	is := func(what string, want *Folder) {
		t.Helper()
		for _, name := range []string{"latest", link} {
			if f, err := Open(root, name); err != nil || f.Manifest.ID != want.Manifest.ID || f.Path != want.Path {
				t.Errorf("%s: open %s: %+v, %v, want %s", what, name, f, err, want.Path)
			}
		}
	}
	pointLatest(root, old.Manifest.ID)
	is("a link to an older run", old)
	if err := os.Remove(link); err != nil {
		t.Fatal(err)
	}
	is("no link", newer)
	pointLatest(root, newer.Manifest.ID)
	if err := os.RemoveAll(newer.Path); err != nil {
		t.Fatal(err)
	}
	is("no target", old)
	if err := errors.Join(os.Remove(link), os.WriteFile(link, []byte(newer.Manifest.ID+"\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	is("a text file without its target", old)
	if err := os.RemoveAll(old.Path); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(root, "latest"); err == nil || !strings.Contains(err.Error(), "no run of that name") {
		t.Errorf("no run: %v", err)
	}
}

func TestDiscardLeavesTheLatestRun(t *testing.T) {
	root := t.TempDir()
	first, second := create(t, root, "h", time.Now()), create(t, root, "h", time.Now())
	if err := second.Discard(); err != nil {
		t.Fatal(err)
	}
	if f, err := Open(root, "latest"); err != nil || f.Manifest.ID != first.Manifest.ID {
		t.Errorf("latest is %+v, %v", f, err)
	}
	if err := first.Discard(); err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(root); err != nil || len(entries) > 0 {
		t.Errorf("left: %v, %v", entries, err)
	}
}

func TestUnfinished(t *testing.T) {
	root := t.TempDir()
	start := time.Now()
	old, other, done := create(t, root, "h", start), create(t, root, "x", start.Add(1e6)), create(t, root, "h", start.Add(2e6))
	if err := done.Finish(time.Now()); err != nil {
		t.Fatal(err)
	}
	if f, _, err := Unfinished(root, "h"); err != nil || f == nil || f.Manifest.ID != old.Manifest.ID {
		t.Errorf("got %v, %v", f, err)
	}
	w, err := old.Writer()
	if err != nil {
		t.Fatal(err)
	}
	if f, running, err := Unfinished(root, "h"); err != nil || f != nil || running == nil || running.Manifest.ID != old.Manifest.ID {
		t.Errorf("a run that is being written was taken: %v, %v", f, err)
	}
	if _, err := old.Writer(); err == nil {
		t.Error("a second writer got through")
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(other.Path, ManifestFile), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if f, running, err := Unfinished(root, "h"); err != nil || f == nil || running != nil {
		t.Errorf("a damaged neighbour: %v, %v", f, err)
	}
	if f, _, err := Unfinished(filepath.Join(root, "none"), "h"); err != nil || f != nil {
		t.Errorf("no folder: %v, %v", f, err)
	}
}

// A killed writer leaves half a line at most: the next one cuts it off, and its
// sample is asked again.
func TestWriterAfterACrash(t *testing.T) {
	f := create(t, t.TempDir(), "h", time.Now())
	for part := range 3 {
		w, err := f.Writer()
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Append(&record.Record{V: record.Version, Task: "t", Model: "m", Sample: string(rune('a' + part)), Targets: []string{"<&>"}}); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		file, err := os.OpenFile(f.Samples(), os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := file.WriteString(`{"v":1,"task":"t","sam`); err != nil {
			t.Fatal(err)
		}
		file.Close()
	}
	var got string
	if err := f.Stored(func(r *record.Record) bool { got += r.Sample; return true }); err != nil || got != "abc" {
		t.Errorf("stored %q, %v", got, err)
	}
}

// Package shared finds the reference results, models and rows that developers
// keep beside the repository, for tests. Nothing of them is needed to build or
// test: where they are not there, a test that wants them is skipped.
package shared

import (
	"bufio"
	"errors"
	"io"
	"iter"
	"os"
	"path/filepath"
	"testing"
)

// Variable names the folder where it is not called shared, or does not lie
// beside one of the folders that this one is in.
const Variable = "EVALRUN_SHARED"

// Find gives the path of a file or folder of the shared ones, and whether it is
// there.
func Find(path ...string) (string, bool) {
	roots := []string{os.Getenv(Variable)}
	if roots[0] == "" {
		dir, err := os.Getwd()
		if err != nil {
			return "", false
		}
		roots = roots[:0]
		for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
			roots = append(roots, filepath.Join(filepath.Dir(dir), "shared"))
		}
	}
	for _, root := range roots {
		p := filepath.Join(append([]string{root}, path...)...)
		if _, err := os.Stat(p); err == nil {
			return p, true
		}
	}
	return "", false
}

// Path is [Find] that skips the test where there is nothing.
func Path(t testing.TB, path ...string) string {
	t.Helper()
	p, ok := Find(path...)
	if !ok {
		t.Skipf("%s is not on this machine: no folder named shared beside the repository has it (set %s to one that does)", filepath.Join(path...), Variable)
	}
	return p
}

// Lines yields the lines of a shared file, of any length; each is valid until
// the next. It skips the test where the file is not there.
func Lines(t testing.TB, path ...string) iter.Seq[[]byte] {
	t.Helper()
	p := Path(t, path...)
	return func(yield func([]byte) bool) {
		t.Helper()
		f, err := os.Open(p)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		in := bufio.NewReaderSize(f, 1<<20)
		for {
			line, err := in.ReadBytes('\n')
			if len(line) > 0 && !yield(line) {
				return
			}
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}

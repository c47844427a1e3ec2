package humaneval

import (
	"context"
	"slices"
	"syscall"
	"testing"
)

// A mount below the folder that the new root is made in, which that hides, does
// not stand in its way.
func TestMountBelowTheRoot(t *testing.T) {
	python, how := mustFind(t), isolations()[0]
	w, err := startWorkerWith(context.Background(), python, how)
	if err != nil || !how.ownFiles {
		t.Skipf("no files of its own here: %v", err)
	}
	w.close()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=4k"); err != nil {
		t.Skipf("nothing can be mounted: %v", err)
	}
	defer func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	}()
	if w, err = startWorkerWith(context.Background(), python, how); err != nil {
		t.Fatal(err)
	}
	defer w.close()
	if !slices.Contains(w.layers, OwnFiles) {
		t.Errorf("layers %q", w.layers)
	}
}

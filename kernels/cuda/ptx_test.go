package cuda

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// The committed PTX is what the sources give.
func TestPTXDrift(t *testing.T) {
	if testing.Short() {
		t.Skip("translating the kernels takes 10 s of processor time: not with -short")
	}
	if _, err := exec.LookPath("clang-16"); err != nil {
		t.Skip("there is no clang-16 here (Debian: clang-16): whether ptx/ follows from src/ was not checked")
	}
	dir := t.TempDir()
	if out, err := exec.Command("./compile.sh", dir).CombinedOutput(); err != nil {
		t.Fatalf("compile.sh: %v\n%s", err, out)
	}
	fresh, _ := filepath.Glob(filepath.Join(dir, "*.ptx"))
	kept, _ := filepath.Glob("ptx/*.ptx")
	if len(fresh) != len(kept) || len(fresh) == 0 {
		t.Errorf("%d files come of the sources, %d are kept", len(fresh), len(kept))
	}
	for _, f := range fresh {
		want, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join("ptx", filepath.Base(f)))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("ptx/%s is not what src gives: run make ptx", filepath.Base(f))
		}
	}
}

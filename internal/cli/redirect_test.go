package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/evalrun/evalrun/internal/probe"
)

// The program goes on as the CUDA build beside it only where there is a GPU and
// that build starts; where it does not start, its reason is told.
func TestCUDABuild(t *testing.T) {
	write := func(path, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o777); err != nil {
			t.Fatal(err)
		}
	}
	none, gpu, bin := t.TempDir(), t.TempDir(), t.TempDir()
	write(filepath.Join(gpu, "dev/nvidia0"), "")
	write(filepath.Join(gpu, "usr/lib64/libcuda.so.1"), "")
	self, other := filepath.Join(bin, "evalrun"), filepath.Join(bin, "evalrun-cuda")
	write(self, "")
	check := func(what, root, path, why string) {
		t.Helper()
		gotPath, gotWhy := cudaBuild(self, probe.Machine{Root: root})
		if gotPath != path || (gotWhy == "") != (why == "") || !strings.Contains(gotWhy, why) {
			t.Errorf("%s: %q, %q; want %q, %q", what, gotPath, gotWhy, path, why)
		}
	}
	check("no CUDA build", gpu, "", "")
	write(other, "#!/bin/sh\n[ \"$1\" = cuda-probe ]\n")
	check("no GPU", none, "", "")
	check("both", gpu, other, "")
	write(other, "#!/bin/sh\necho no device is ready\nexit 1\n")
	check("does not start", gpu, "", "no device is ready")
}

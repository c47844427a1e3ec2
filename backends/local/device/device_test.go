package device

import (
	"errors"
	"strings"
	"testing"

	"github.com/evalrun/evalrun/kernels/cuda/driver"
)

func TestOpen(t *testing.T) {
	for name, want := range map[string]string{"cpu": "cpu (", "ref": "ref"} {
		d, err := Open(name, 2)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := Describe(d); !strings.HasPrefix(got, want) {
			t.Errorf("%s is described as %q", name, got)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := Open("gpu", 0); err == nil {
		t.Error("a device of an unknown name was opened")
	}
}

func TestWithoutCUDA(t *testing.T) {
	if driver.Built {
		t.Skip("this build has CUDA")
	}
	for _, name := range []string{"cuda", "cuda-bf16"} {
		if err := Check(name); !errors.Is(err, driver.ErrNotBuilt) {
			t.Errorf("%s: %v, want what build is needed", name, err)
		}
	}
	d, err := Open("", 1)
	if err != nil || d.Name() != "cpu" {
		t.Fatalf("the default is %v, %v", d, err)
	}
	d.Close()
}

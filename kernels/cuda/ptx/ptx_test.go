package ptx

import (
	"strings"
	"testing"
)

func TestKernels(t *testing.T) {
	hopper, ampere := Kernels(9), Kernels(8)
	if len(ampere) < 100 || len(hopper) <= len(ampere) {
		t.Fatalf("%d kernels for capability 8, %d for 9", len(ampere), len(hopper))
	}
	if _, ok := ampere["gemmBrain"]; ok {
		t.Error("capability 8 has wgmma")
	}
	// A kernel that declares shared memory in its body, and one whose place stands before it.
	k := hopper["narrowGrad"]
	if k != (Kernel{"narrowGrad", "pair.ptx", 9, 256, 8192}) {
		t.Errorf("%+v", k)
	}
	for name, k := range hopper {
		text, err := Text(k.File)
		if err != nil || !strings.Contains(text, ".entry "+name+"(") || k.Parameters == 0 {
			t.Errorf("%+v: %v", k, err)
		}
		if k.Shared > mostDeclared {
			t.Errorf("%s declares %d bytes of shared memory", name, k.Shared)
		}
	}
}

func TestFits(t *testing.T) {
	bound, free := Kernel{Name: "k", Parameters: 3, Threads: 128, Shared: 1000}, Kernel{Name: "k", Parameters: 3}
	for _, c := range []struct {
		k                                    Kernel
		x, y, threads, dynamic, most, params int
		want                                 string
	}{
		{bound, 1 << 20, 65535, 128, 47000, 48000, 3, ""},
		{bound, 1, 1, 128, 0, 48000, 4, "with 4 parameters, it declares 3"},
		{bound, 1, 65536, 128, 0, 48000, 3, "a grid of 1 by 65536 blocks"},
		{bound, 1 << 31, 1, 128, 0, 48000, 3, "a grid of 2147483648 by 1 blocks"},
		{bound, 1, 1, 129, 0, 48000, 3, "129 threads, it is bound to 128"},
		{bound, 1, 1, 128, 47001, 48000, 3, "47001 bytes of shared memory and 1000 declared, a block may have 48000"},
		{free, 1, 1, 256, 0, 48000, 3, ""},
		{free, 1, 1, 288, 0, 48000, 3, "288 threads without BOUNDS"},
		{free, 1, 1, 1025, 0, 48000, 3, "1025 threads"},
		{Kernel{Name: "k", Parameters: 3, Shared: 50000}, 1, 1, 1, 0, 99999, 3, "50000 bytes of shared memory declared"},
	} {
		err := c.k.Fits(c.x, c.y, c.threads, c.dynamic, c.most, c.params)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c, err, c.want)
		}
	}
}

//go:build emulate && amd64 && check

package cuda

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/evalrun/evalrun/kernels/cuda/emulate"
	"github.com/evalrun/evalrun/kernels/format"
	"github.com/evalrun/evalrun/kernels/kerneltest"
)

// Each barrier and each wait of the kernels is left out once: what is missing then has to
// be found, which proves the checker on them, and that they are wanted. Those that are not
// say so in the source, as spare.
func TestEmulatedWithout(t *testing.T) {
	emulate.Without = spares(t)
	defer func() { emulate.Without = nil }()
	open := func() *Device { return Over(emulate.New(), nil) }
	for _, try := range []func(d *Device){
		func(d *Device) { kerneltest.Run(t, d); kerneltest.RunTrain(t, d) },
		func(d *Device) { longAttention(t, d, []int{600, 600, 600, 600}, attentionShapes()[0]) },
		func(d *Device) { dequantised(t, d) },
		func(d *Device) { brainProducts(t, d) },
		func(d *Device) { flashOn(t, d) },
		func(d *Device) { thirdsOn(t, d) },
		func(d *Device) { narrowOn(t, d) },
		func(d *Device) { blocksOn(t, d, blockTypes) },
	} {
		d := open()
		try(d)
		d.Close()
	}
	found := 0
	for _, place := range slices.Sorted(maps.Keys(emulate.Without)) {
		what := emulate.Without[place]
		if what == "" {
			t.Errorf("without %s nothing was found", place)
			continue
		}
		found++
		t.Log(place, ": ", what)
	}
	if found == 0 {
		t.Error("no barriers")
	}
}

// spares are the barriers that the source calls so, with what it says of them.
func spares(t *testing.T) map[string]string {
	found := map[string]string{}
	files, err := filepath.Glob("src/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(string(text), "\n") {
			if _, why, ok := strings.Cut(line, "// spare: "); ok {
				found[fmt.Sprintf("%s:%d", filepath.Base(file), i+1)] = "spare: " + why
			}
		}
	}
	return found
}

// brainProducts multiplies with the kernels whose tiles threads copy.
func brainProducts(t *testing.T, d *Device) {
	if err := d.Brain(); err != nil {
		t.Fatal(err)
	}
	const m, n, k = 130, 136, 640
	x, _ := d.Alloc(format.BF16, m*k)
	w, _ := d.Alloc(format.BF16, n*k)
	out, _ := d.Alloc(format.F32, m*n)
	d.copies = true
	for _, d.product = range brainKernels {
		d.gemmBrain(onBrain(x, m*k, "x"), m, k, product{onBrain(w, n*k, "w"), target{dst: on(out, m*n, "out"), n: n}})
	}
}

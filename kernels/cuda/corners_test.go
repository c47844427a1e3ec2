//go:build emulate && amd64 && !check

package cuda

import (
	"strings"
	"testing"

	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/cuda/emulate"
)

// The first and the last blocks of every kernel stay within their buffers where these
// are as large as a GPU has them: beyond 2³¹ values or 2³² bytes an index of 32 bits would
// not.
func TestEmulatedCorners(t *testing.T) {
	many := realShape{"many rows", 512, 40960, 8, 2, 64, 262144, kernels.AttentionOptions{Scale: 1, Window: 4096}}
	wide := realShape{"many weights", 12288, 1024, 96, 8, 128, 262144, kernels.AttentionOptions{Scale: 1}}
	heads := realShape{"large heads", 2048, 4096, 8, 1, 256, 1000, kernels.AttentionOptions{Scale: 1, SoftCap: 50}}
	for _, s := range []realShape{many, wide, heads} {
		for _, weights := range []string{"NF4", "BF16", "F32", "Q4_K"} {
			if s.name == heads.name && weights != "NF4" {
				continue
			}
			t.Run(s.name+", "+weights, func(t *testing.T) {
				d := Over(emulate.NewCorners(132), func(f *Fault) { t.Fatal(f) })
				defer d.Close()
				on := trial{t, d, s, weights}
				on.decode(1, 130000)
				on.decode(17, 5000)
				switch s.name {
				case wide.name:
					return
				case heads.name:
					on.decode(700, 700)
					on.train(2, 350)
					return
				}
				on.decode(28000, 28000)
				on.train(16, 1750)
				if weights != "NF4" {
					return
				}
				// So many processors that a block has few of Hopper's tiles.
				on.Device = Over(emulate.NewCorners(1<<15), func(f *Fault) { t.Fatal(f) })
				defer on.Close()
				if err := on.Brain(); err != nil {
					t.Fatal(err)
				}
				on.train(16, 1750)
				on.copies, on.product = true, brainKernels[1]
				on.train(16, 1750)
			})
		}
	}
	// And what does not is found.
	var told *Fault
	d := Over(emulate.NewCorners(132), func(f *Fault) { told = f; panic(f) })
	defer d.Close()
	x := trial{t: t, Device: d}.buf(1 << 27)
	defer func() {
		if recover(); told == nil || !strings.Contains(told.Error(), "no memory of the device") {
			t.Errorf("a kernel beyond its buffer is told as %v", told)
		}
	}()
	d.each("fill", 2<<27, on(x, 1<<27, "x"), num(2<<27), 0)
}

//go:build emulate && amd64

package cuda

import (
	"testing"

	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/cuda/emulate"
	"github.com/evalrun/evalrun/kernels/kerneltest"
)

// The kernels on the processor: their logic, not their speed.
func TestEmulated(t *testing.T) {
	d := Over(emulate.New(), nil)
	defer d.Close()
	kerneltest.Run(t, d)
	kerneltest.RunTrain(t, d)
}

func TestEmulatedSameBits(t *testing.T) {
	open := func(int) *Device { return Over(emulate.New(), nil) }
	kerneltest.SameBits(t, func(threads int) kernels.Device { return open(threads) })
	kerneltest.SameBitsTrain(t, func(threads int) kernels.TrainDevice { return open(threads) })
}

// Dequantising to bfloat16 gives the weight's values rounded.
func TestEmulatedDequantise(t *testing.T) {
	d := Over(emulate.New(), nil)
	defer d.Close()
	dequantised(t, d)
}

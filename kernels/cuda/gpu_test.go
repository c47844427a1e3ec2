//go:build cuda

package cuda

import (
	"testing"

	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/kerneltest"
)

func openGPU(t testing.TB) *Device {
	t.Helper()
	d, err := Open(0, nil)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestContract(t *testing.T) {
	d := openGPU(t)
	defer d.Close()
	t.Log(d.Description())
	kerneltest.Run(t, d)
	kerneltest.RunTrain(t, d)
}

func TestSameBits(t *testing.T) {
	keep := openGPU(t) // the context stays while the test's devices come and go
	defer keep.Close()
	kerneltest.SameBits(t, func(int) kernels.Device { return openGPU(t) })
	kerneltest.SameBitsTrain(t, func(int) kernels.TrainDevice { return openGPU(t) })
}

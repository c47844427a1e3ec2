package local

import (
	"errors"
	"os"

	"github.com/evalrun/evalrun/backends/local/device"
	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/kernels/cuda"
	"github.com/evalrun/evalrun/kernels/cuda/driver"
)

// gpuError puts into the user's words that a device cannot be had, or that its
// memory does not hold the model; nil for any other error.
func (b *backend) gpuError(err error) error {
	var none *device.OpenError
	var small *cuda.MemoryError
	switch {
	case errors.As(err, &none):
		return &core.UserError{Where: "--device " + none.Name, Message: none.Err.Error(), Hint: deviceHint(none.Err)}
	case errors.As(err, &small):
		return &core.UserError{Where: "--device " + b.config.Device, Message: err.Error(), Hint: "hold the weights in 4 bits (--opt quant=nf4), lower kv_mb, context or sequences (--opt), or free the GPU's memory: nvidia-smi says who has it"}
	}
	return nil
}

// deviceHint is what to do where a device cannot be had. The plain program has
// been told why the one with CUDA in it did not take its place.
func deviceHint(err error) string {
	if why := os.Getenv(device.WhyVariable); why != "" && errors.Is(err, driver.ErrNotBuilt) {
		return why + "; --device cpu computes without a GPU"
	}
	return device.OpenHint
}

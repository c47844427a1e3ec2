//go:build !cuda

package cuda

// Built says whether this build can use a GPU.
const Built = false

// Starts says why there is no GPU to use.
func Starts() error { return ErrNotBuilt }

// Open starts the device on a GPU; failed is as for Over.
func Open(ordinal int, failed func(*Fault)) (*Device, error) { return nil, ErrNotBuilt }

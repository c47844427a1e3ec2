//go:build !cuda

package driver

// Built says whether this build can use a GPU.
const Built = false

// Starts says why there is no GPU to use.
func Starts() error { return ErrNotBuilt }

// Open starts a GPU.
func Open(ordinal int) (Driver, error) { return nil, ErrNotBuilt }

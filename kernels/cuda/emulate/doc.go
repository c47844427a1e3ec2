//go:build !emulate || !amd64

// Package emulate runs the CUDA kernels on the processor; it exists with the
// build tag emulate, for tests.
package emulate

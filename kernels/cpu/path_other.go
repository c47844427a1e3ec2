//go:build !amd64 || noasm

package cpu

// archPaths is empty where there is no assembly.
func archPaths() []*path { return nil }

//go:build amd64 && !noasm

package cpu

func archPaths() []*path { return nil }

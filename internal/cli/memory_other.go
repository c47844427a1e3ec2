//go:build !linux

package cli

import "runtime"

// peakMemory gives what the Go heap took from the system, in MB.
func peakMemory() float64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.Sys) / (1 << 20)
}

// watchChildren is known on Linux only.
func watchChildren() (stop func() float64) { return func() float64 { return 0 } }

//go:build !linux

package cli

import "runtime"

// peakMemory gives what the Go heap took from the system; the peak of children
// is known on Linux only.
func peakMemory() (own, children float64) {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.Sys) / (1 << 20), 0
}

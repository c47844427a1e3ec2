package cli

import "syscall"

// peakMemory gives the largest resident sizes, in MB, of this process and of
// the largest of its ended children.
func peakMemory() (own, children float64) {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) == nil {
		own = float64(u.Maxrss) / 1024
	}
	if syscall.Getrusage(syscall.RUSAGE_CHILDREN, &u) == nil {
		children = float64(u.Maxrss) / 1024
	}
	return own, children
}

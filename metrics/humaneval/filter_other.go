//go:build linux && !amd64 && !arm64

package humaneval

// systemCallFilter is not written for this machine: the worker says so by not
// naming it among what holds.
func systemCallFilter() []byte { return nil }

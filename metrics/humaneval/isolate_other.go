//go:build !linux

package humaneval

import (
	"os/exec"
	"runtime"
)

// isolations knows no more than a process of its own here; the worker says so.
// The worker needs fork and resource limits, which Windows lacks.
func isolations() []isolation {
	if runtime.GOOS == "windows" {
		return nil
	}
	return []isolation{{apply: func(*exec.Cmd) {}}}
}

func killTree(c *exec.Cmd) {
	if c.Process != nil {
		_ = c.Process.Kill()
	}
}

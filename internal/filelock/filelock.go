// Package filelock lets one process at a time write a folder.
package filelock

import "fmt"

// HeldError says who holds a lock.
type HeldError struct {
	Path string
	PID  string // empty where the system does not tell
}

// Error names the process.
func (e *HeldError) Error() string {
	if e.PID == "" {
		return fmt.Sprintf("%s is held by another process", e.Path)
	}
	return fmt.Sprintf("%s is held by process %s", e.Path, e.PID)
}

//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd || windows)

package hub

import "os"

// tryLock has nothing to lock with here: two processes may fetch the same file
// twice, and its hash still decides whether it gets its name.
func tryLock(*os.File) (bool, error) { return true, nil }

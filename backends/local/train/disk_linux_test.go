package train

import (
	"fmt"
	"syscall"
)

// mountDisk puts a file system of so many bytes on a folder, which needs root.
func mountDisk(dir string, size int64) error {
	return syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size))
}

// growDisk gives it more.
func growDisk(dir string, size int64) error {
	return syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, fmt.Sprintf("size=%d", size))
}

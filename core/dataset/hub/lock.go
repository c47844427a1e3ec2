package hub

import (
	"context"
	"os"
	"path/filepath"
	"time"
)

// lock waits for the lock file and holds it until the returned function is called.
// The kernel frees it when the process ends. huggingface_hub locks the same files
// in the same way.
func lock(ctx context.Context, name string) (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	for {
		got, err := tryLock(f)
		if err != nil {
			f.Close()
			return nil, err
		}
		if got {
			return func() { f.Close() }, nil
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			f.Close()
			return nil, ctx.Err()
		}
	}
}

package filelock

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	if Held(path) {
		t.Error("held before anybody took it")
	}
	l, err := Acquire(path)
	if err != nil {
		t.Fatal(err)
	}
	var held *HeldError
	if _, err := Acquire(path); !errors.As(err, &held) || held.Path != path {
		t.Errorf("second lock: %v", err)
	}
	if !Held(path) || l.Lost() {
		t.Error("the lock is not held")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if !l.Lost() {
		t.Error("a removed lock is not noticed")
	}
	l.Release()
	again, err := Acquire(path)
	if err != nil {
		t.Fatal(err)
	}
	again.Release()
}

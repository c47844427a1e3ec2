// Package memory tells how much memory there is, and how much processes took at
// most.
package memory

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Peak gives the largest resident size of this process so far, in bytes:
// pages of files that are mapped, its own code among them, are counted as the
// system counts them.
func Peak() int64 { return status("VmHWM") }

// Resident gives the size now.
func Resident() int64 { return status("VmRSS") }

func status(key string) int64 { return machine("/").kilobytes("/proc/self/status", key) }

// WatchChildren looks at this process's children until the function that it
// gives is called, which tells the largest resident size of one of them in MB.
// The system's own figure for ended children counts pages of the parent, from
// between fork and exec.
func WatchChildren() (stop func() float64) {
	var wg sync.WaitGroup
	done := make(chan struct{})
	peak := 0.0
	wg.Go(func() {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				peak = max(peak, largestChild())
			}
		}
	})
	return func() float64 {
		close(done)
		wg.Wait()
		return peak
	}
}

func largestChild() float64 {
	files, _ := filepath.Glob("/proc/[0-9]*/status")
	parent := fmt.Sprintf("PPid:\t%d", os.Getpid())
	largest := 0.0
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			continue
		}
		mine, kb := false, 0.0
		for lines := bufio.NewScanner(f); lines.Scan(); {
			if lines.Text() == parent {
				mine = true
			}
			if rest, ok := strings.CutPrefix(lines.Text(), "VmHWM:"); ok {
				fmt.Sscan(rest, &kb)
			}
		}
		f.Close()
		if mine {
			largest = max(largest, kb/1024)
		}
	}
	return largest
}

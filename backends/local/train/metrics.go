package train

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// metrics is the log of a training, a line a window.
type metrics struct {
	f *os.File
	w *bufio.Writer
}

// openMetrics opens the log and drops what was written behind the checkpoint
// at step: those windows come again.
func openMetrics(path string, step int) (*metrics, error) {
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	keep := 0
	for at := 0; at < len(old); {
		end := bytes.IndexByte(old[at:], '\n')
		if end < 0 {
			break
		}
		var line struct{ Step int }
		if json.Unmarshal(old[at:at+end], &line) != nil || line.Step > step {
			break
		}
		at += end + 1
		keep = at
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := f.Truncate(int64(keep)); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if _, err := f.Seek(0, io.SeekEnd); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &metrics{f: f, w: bufio.NewWriter(f)}, nil
}

// add writes a window's line; its numbers do not depend on the clock.
func (m *metrics) add(n News) error {
	line := struct {
		Step       int      `json:"step"`
		Updates    int      `json:"updates"`
		Loss       float64  `json:"loss"`
		Smoothed   float64  `json:"smoothed"`
		LR         float64  `json:"lr"`
		GradNorm   float64  `json:"grad_norm"`
		Tokens     int      `json:"tokens"`
		Validation *float64 `json:"validation,omitempty"`
		Score      *float64 `json:"score,omitempty"`
	}{n.Step, n.Updates, n.Loss, n.Smoothed, n.LR, n.GradNorm, n.Tokens, n.Validation, n.Score}
	b, err := json.Marshal(line)
	if err != nil {
		return fmt.Errorf("log of step %d: %w", n.Step, err)
	}
	if _, err := m.w.Write(append(b, '\n')); err != nil {
		return err
	}
	return m.w.Flush()
}

// Sync makes the log as old as the checkpoint that follows.
func (m *metrics) Sync() error { return errors.Join(m.w.Flush(), m.f.Sync()) }

// Close ends the log.
func (m *metrics) Close() error { return errors.Join(m.w.Flush(), m.f.Close()) }

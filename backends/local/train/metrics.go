package train

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/evalrun/evalrun/internal/trainlog"
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
	_, keep := trainlog.Read(old, step)
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

// add writes a window's line.
func (m *metrics) add(n News) error {
	b, err := json.Marshal(trainlog.Line{Step: n.Step, Updates: n.Updates, Loss: n.Loss, Smoothed: n.Smoothed, LR: n.LR, GradNorm: n.GradNorm,
		Tokens: n.Tokens, Validation: n.Validation, Score: n.Score})
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

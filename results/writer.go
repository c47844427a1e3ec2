package results

import (
	"bufio"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/record"
	"github.com/evalrun/evalrun/internal/filelock"
)

const (
	// flushEvery bounds what a killed process can lose: an answer whose line
	// was not yet handed to the system.
	flushEvery = 20 * time.Millisecond
	// syncEvery bounds what a power failure can lose.
	syncEvery = time.Second
)

// A Writer appends samples to a run. It holds the run's lock: there is one
// writer a run.
type Writer struct {
	folder *Folder
	file   *os.File
	lock   *filelock.Lock

	mu      sync.Mutex
	buf     *bufio.Writer
	line    []byte // of the record being written
	dirty   bool
	err     error
	done    chan struct{}
	stopped sync.WaitGroup
}

// Writer opens the run for appending. A half-written last line, left by a
// process that was killed, is cut off first.
func (f *Folder) Writer() (*Writer, error) {
	l, err := acquire(filepath.Join(f.Path, lockFile))
	if err != nil {
		return nil, err
	}
	file, err := os.OpenFile(f.Samples(), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		l.Release()
		return nil, err
	}
	whole, err := record.WholeLength(f.Samples())
	if err == nil {
		err = file.Truncate(whole)
	}
	if err == nil {
		_, err = file.Seek(whole, 0)
	}
	if err != nil {
		file.Close()
		l.Release()
		return nil, fmt.Errorf("open %s: %w", f.Samples(), err)
	}
	w := &Writer{folder: f, file: file, lock: l, buf: bufio.NewWriterSize(file, 256<<10), done: make(chan struct{})}
	w.stopped.Go(w.flushLoop)
	return w, nil
}

// Append stores a record. It is in the system's hands within flushEvery, on
// the disk within syncEvery.
func (w *Writer) Append(rec *record.Record) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return w.err
	}
	w.dirty = true
	line, err := record.Append(w.line[:0], rec)
	if err == nil {
		_, err = w.buf.Write(line)
	}
	if w.line = line; cap(line) > 1<<20 {
		w.line = nil // one huge answer need not stay
	}
	if err != nil {
		w.err = diskError(w.folder.Samples(), err)
	}
	return w.err
}

// DiskFull tells whether a file could not be written for want of space.
func DiskFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG)
}

func diskError(path string, err error) error {
	return &core.UserError{Where: path, Message: "writing a sample", Err: err,
		Hint: "free space on the disk and give the same command again: it goes on where it was"}
}

func (w *Writer) flushLoop() {
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	synced := time.Now()
	unsynced := false
	for {
		select {
		case <-w.done:
			return
		case now := <-tick.C:
			w.mu.Lock()
			if w.dirty && w.err == nil {
				if err := w.buf.Flush(); err != nil {
					w.err = diskError(w.folder.Samples(), err)
				}
				w.dirty, unsynced = false, true
			}
			w.mu.Unlock()
			if unsynced && now.Sub(synced) >= syncEvery {
				if err := w.file.Sync(); err != nil {
					w.mu.Lock()
					w.err = diskError(w.folder.Samples(), err)
					w.mu.Unlock()
				}
				synced, unsynced = now, false
			}
		}
	}
}

// Close brings everything to the disk and frees the run.
func (w *Writer) Close() error {
	close(w.done)
	w.stopped.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	defer w.lock.Release()
	err := w.err
	if ferr := w.buf.Flush(); err == nil && ferr != nil {
		err = diskError(w.folder.Samples(), ferr)
	}
	if serr := w.file.Sync(); err == nil && serr != nil {
		err = diskError(w.folder.Samples(), serr)
	}
	if cerr := w.file.Close(); err == nil {
		err = cerr
	}
	return err
}

// Stored yields the run's records for one model, in file order; it fits
// run.Options.
func (f *Folder) Stored(yield func(*record.Record) bool) error {
	if _, err := os.Stat(f.Samples()); os.IsNotExist(err) {
		return nil
	}
	for rec, err := range record.Read(f.Samples()) {
		if err != nil {
			return err
		}
		if !yield(&rec) {
			return nil
		}
	}
	return nil
}

// Verdicts streams places and scores of the run's records, in file order: all
// that a report or a comparison needs. A run without samples has none.
func (f *Folder) Verdicts() iter.Seq2[*record.Verdict, error] {
	return func(yield func(*record.Verdict, error) bool) {
		if _, err := os.Stat(f.Samples()); os.IsNotExist(err) {
			return
		}
		record.Skim(f.Samples())(yield)
	}
}

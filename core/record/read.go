package record

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"

	"github.com/evalrun/evalrun/core"
)

// MaxLine bounds one record, so that a damaged file cannot exhaust memory.
const MaxLine = 64 << 20

// Read streams the records of a samples.jsonl in file order. A half-written
// last line (the writer was killed) is left out silently: its sample is simply
// not done. Any other damage yields an error with file and line, and ends the
// stream. A later record of a [Key] replaces an earlier one: callers that
// want one a key keep the last.
func Read(path string) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		f, err := open(path)
		if err != nil {
			yield(Record{}, err)
			return
		}
		defer f.Close()
		for rec, err := range ReadFrom(f, path) {
			if !yield(rec, err) || err != nil {
				return
			}
		}
	}
}

func open(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err == nil {
		return f, nil
	}
	var at *fs.PathError
	if errors.As(err, &at) {
		err = at.Err
	}
	return nil, &core.UserError{Where: path, Message: "the stored samples cannot be read", Err: err, Hint: "see that the file is there, and who may read it"}
}

// ReadFrom is [Read] over an open stream; name stands in errors.
func ReadFrom(r io.Reader, name string) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		br := bufio.NewReaderSize(r, 1<<16)
		var line []byte
		for n := 1; ; n++ {
			var err error
			line, err = readLine(br, line[:0])
			ended := errors.Is(err, io.EOF)
			if err != nil && !ended {
				yield(Record{}, fmt.Errorf("%s:%d: %w", name, n, err))
				return
			}
			if ended {
				// Without its newline the last line is not known to be whole.
				return
			}
			if len(bytes.TrimSpace(line)) == 0 {
				continue
			}
			rec, err := parse(line, name, n)
			if err != nil {
				yield(Record{}, err)
				return
			}
			if !yield(rec, nil) {
				return
			}
		}
	}
}

// parse decodes line n of the file.
func parse(line []byte, name string, n int) (Record, error) {
	var rec Record
	if err := decode(line, &rec); err != nil {
		return rec, &core.UserError{Where: fmt.Sprintf("%s:%d", name, n), Message: "not a sample record", Err: err,
			Hint: "the file was changed or damaged; remove that line, and resume the run to answer its sample again"}
	}
	if rec.V > Version {
		return rec, &core.UserError{Where: fmt.Sprintf("%s:%d", name, n),
			Message: fmt.Sprintf("sample format %d is newer than this evalrun reads (%d)", rec.V, Version),
			Hint:    "use the evalrun that wrote the run, or a newer one"}
	}
	return rec, nil
}

func readLine(br *bufio.Reader, buf []byte) ([]byte, error) {
	for {
		part, err := br.ReadSlice('\n')
		buf = append(buf, part...)
		if err == nil {
			return buf, nil
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return buf, err
		}
		if len(buf) > MaxLine {
			return buf, fmt.Errorf("line longer than %d MiB", MaxLine>>20)
		}
	}
}

// WholeLength is the length of the file's part that ends with a newline: a
// writer that appends after a crash cuts the file to it first.
func WholeLength(path string) (int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, err
	}
	buf := make([]byte, 64<<10)
	for end := size; end > 0; {
		n := min(int64(len(buf)), end)
		if _, err := f.ReadAt(buf[:n], end-n); err != nil {
			return 0, err
		}
		if i := bytes.LastIndexByte(buf[:n], '\n'); i >= 0 {
			return end - n + int64(i) + 1, nil
		}
		end -= n
	}
	return 0, nil
}

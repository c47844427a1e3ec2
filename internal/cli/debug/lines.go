package debug

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/record"
)

// longestLine is what a line may hold: an answer of a model is never longer.
const longestLine = 1 << 28

// inFlag adds --in to a window and gives the place of its value.
func inFlag(cmd *cobra.Command) *string {
	return cmd.Flags().String("in", "", "file of JSON lines instead of standard input")
}

// eachLine decodes every line of the input (the file in, or standard input
// where it is empty) and writes the answer as a JSON line. Blank lines are
// skipped; unknown keys are, too, so that the lines of a test may carry their
// expectations. The answers are flushed whenever no further line has arrived,
// so that a program may talk to a window line by line.
func eachLine[T any](cmd *cobra.Command, in string, answer func(T) (any, error)) error {
	src, name, err := lineSource(cmd, in)
	if err != nil {
		return err
	}
	defer src.Close()
	r := bufio.NewReaderSize(src, 1<<16)
	w := bufio.NewWriterSize(cmd.OutOrStdout(), 1<<16)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	for n := 1; ; n++ {
		line, err := readLine(r)
		if len(bytes.TrimSpace(line)) > 0 {
			var v T
			if err := json.Unmarshal(line, &v); err != nil {
				return errors.Join(lineError(name, n, err), w.Flush())
			}
			out, err := answer(v)
			if err != nil {
				return errors.Join(lineError(name, n, err), w.Flush())
			}
			if err := enc.Encode(out); err != nil {
				return fmt.Errorf("write the answer to line %d: %w", n, err)
			}
			if r.Buffered() == 0 {
				if err := w.Flush(); err != nil {
					return fmt.Errorf("write the answer to line %d: %w", n, err)
				}
			}
		}
		if err == io.EOF {
			return w.Flush()
		}
		if err != nil {
			return errors.Join(lineError(name, n, err), w.Flush())
		}
	}
}

// lineSource opens the input of a window and gives its name for messages.
func lineSource(cmd *cobra.Command, in string) (io.ReadCloser, string, error) {
	if in == "" {
		return io.NopCloser(cmd.InOrStdin()), "standard input", nil
	}
	f, err := os.Open(in)
	if err != nil {
		return nil, "", &core.UserError{Where: "--in " + in, Message: "cannot be opened", Hint: "name a file of JSON lines, or leave the flag out to read standard input", Err: err}
	}
	if info, err := f.Stat(); err == nil && info.IsDir() {
		f.Close()
		return nil, "", &core.UserError{Where: "--in " + in, Message: "is a folder", Hint: "name a file of JSON lines, or leave the flag out to read standard input"}
	}
	return f, in, nil
}

// eachLineAhead is eachLine with several answers in the making at once; they
// are written in the order of the lines.
func eachLineAhead[T any](cmd *cobra.Command, in string, ahead int, answer func(T) (any, error)) error {
	src, name, err := lineSource(cmd, in)
	if err != nil {
		return err
	}
	defer src.Close()
	type outcome struct {
		value any
		err   error
	}
	waiting := make(chan chan outcome, ahead-1) // with the one that the writer waits for: ahead
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		defer close(waiting)
		r := bufio.NewReaderSize(src, 1<<16)
		for n := 1; ; n++ {
			line, err := readLine(r)
			if len(bytes.TrimSpace(line)) > 0 {
				out := make(chan outcome, 1)
				select {
				case waiting <- out:
				case <-stop:
					return
				}
				go func() {
					var v T
					var o outcome
					if o.err = json.Unmarshal(line, &v); o.err == nil {
						o.value, o.err = answer(v)
					}
					if o.err != nil {
						o.err = lineError(name, n, o.err)
					}
					out <- o
				}()
			}
			if err != nil {
				if err != io.EOF {
					out := make(chan outcome, 1)
					out <- outcome{nil, lineError(name, n, err)}
					select {
					case waiting <- out:
					case <-stop:
					}
				}
				return
			}
		}
	}()
	enc := json.NewEncoder(cmd.OutOrStdout())
	enc.SetEscapeHTML(false)
	for out := range waiting {
		o := <-out
		if o.err != nil {
			return o.err
		}
		if err := enc.Encode(o.value); err != nil {
			return fmt.Errorf("write an answer: %w", err)
		}
	}
	return nil
}

// readLine reads up to and with a line end; at the end of the input the rest,
// with io.EOF.
func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		if line = append(line, part...); len(line) > longestLine {
			return nil, fmt.Errorf("longer than %d MiB", longestLine>>20)
		}
		if err != bufio.ErrBufferFull {
			return line, err
		}
	}
}

// lineError says which line was wrong, unless the error speaks for itself.
func lineError(name string, n int, err error) error {
	var user *core.UserError
	if errors.As(err, &user) && user.Where != "" {
		return err
	}
	e := &core.UserError{Where: fmt.Sprintf("%s:%d", name, n), Message: err.Error(), Hint: "docs/debug.md shows the keys that this window takes"}
	if user != nil {
		e.Message = user.Message
		if user.Hint != "" {
			e.Hint = user.Hint
		}
	}
	return e
}

// Number is a float64 that crosses JSON whole: what JSON lacks is "NaN",
// "Infinity" or "-Infinity".
type Number = record.Float

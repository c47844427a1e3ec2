package debug

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/evalrun/evalrun/core"
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
	src, name := cmd.InOrStdin(), "standard input"
	if in != "" {
		f, err := os.Open(in)
		if err != nil {
			return &core.UserError{Where: "--in " + in, Message: "cannot be opened", Hint: "name a file of JSON lines, or leave the flag out to read standard input", Err: err}
		}
		defer f.Close()
		src, name = f, in
	}
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
type Number float64

// MarshalJSON writes the shortest decimal that reads back the same.
func (n Number) MarshalJSON() ([]byte, error) {
	f := float64(n)
	switch {
	case math.IsNaN(f):
		return []byte(`"NaN"`), nil
	case math.IsInf(f, 1):
		return []byte(`"Infinity"`), nil
	case math.IsInf(f, -1):
		return []byte(`"-Infinity"`), nil
	}
	return json.Marshal(f)
}

// UnmarshalJSON takes a number or one of the three words.
func (n *Number) UnmarshalJSON(b []byte) error {
	switch string(b) {
	case `"NaN"`:
		*n = Number(math.NaN())
	case `"Infinity"`:
		*n = Number(math.Inf(1))
	case `"-Infinity"`:
		*n = Number(math.Inf(-1))
	default:
		f, err := strconv.ParseFloat(string(b), 64)
		if err != nil {
			return fmt.Errorf("%s is no number", b)
		}
		*n = Number(f)
	}
	return nil
}

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
)

// env is what the parts share: the program, the folder and the tallies.
type env struct {
	bin, dir string
	part     string
	verbose  int
	tallies  []*tally
	failed   []string
	device   string // of the windows that run a model; "" is cpu
	dtype    string // that they round the weights to; "" leaves them
}

// path is a file below the folder of goldens.
func (e *env) path(name string) string { return filepath.Join(e.dir, filepath.FromSlash(name)) }

// window runs `evalrun debug ARGS` with in as standard input and gives the
// lines of its output.
func (e *env) window(in []byte, args ...string) ([]json.RawMessage, error) {
	cmd := exec.Command(e.bin, append([]string{"debug"}, args...)...)
	cmd.Stdin = bytes.NewReader(in)
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("evalrun debug %v: %w: %s", args, err, complaint.String())
	}
	return split(out.Bytes()), nil
}

// ask feeds a window one JSON line for each of rows, and wants as many back.
func ask[T any](e *env, rows []T, args ...string) ([]json.RawMessage, error) {
	var in bytes.Buffer
	for _, r := range rows {
		b, err := json.Marshal(r)
		if err != nil {
			return nil, err
		}
		in.Write(b)
		in.WriteByte('\n')
	}
	out, err := e.window(in.Bytes(), args...)
	if err == nil && len(out) != len(rows) {
		err = fmt.Errorf("evalrun debug %v: %d answers to %d lines", args, len(out), len(rows))
	}
	return out, err
}

// decoded reads a window's answers.
func decoded[T any](lines []json.RawMessage) ([]T, error) {
	out := make([]T, len(lines))
	for i, line := range lines {
		if err := json.Unmarshal(line, &out[i]); err != nil {
			return nil, fmt.Errorf("%w in %.200s", err, line)
		}
	}
	return out, nil
}

// readLines decodes a file of JSON lines.
func readLines[T any](path string) ([]T, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var rows []T
	for i, line := range split(b) {
		var r T
		if err := json.Unmarshal(line, &r); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, i+1, err)
		}
		rows = append(rows, r)
	}
	return rows, nil
}

func split(b []byte) []json.RawMessage {
	var lines []json.RawMessage
	s := bufio.NewScanner(bytes.NewReader(b))
	s.Buffer(nil, 1<<28)
	for s.Scan() {
		if len(bytes.TrimSpace(s.Bytes())) > 0 {
			lines = append(lines, bytes.Clone(s.Bytes()))
		}
	}
	return lines
}

// A tally counts one check.
type tally struct {
	e                *env
	part, name       string
	tolerance        string
	rows, mismatches int
	worst            float64
	examples         []string
	reported         bool // mismatches are told and fail nothing
}

// tally begins a check; tolerance is printed beside its largest difference.
func (e *env) tally(name, tolerance string) *tally {
	t := &tally{e: e, part: e.part, name: name, tolerance: tolerance}
	e.tallies = append(e.tallies, t)
	return t
}

// row counts one comparison; where it is not ok, detail says what differs.
func (t *tally) row(ok bool, format string, detail ...any) {
	t.rows++
	if ok {
		return
	}
	t.mismatches++
	if t.reported {
		return
	}
	if len(t.examples) < t.e.verbose {
		t.examples = append(t.examples, fmt.Sprintf(format, detail...))
	}
}

// near counts a comparison of numbers: |got - want| <= limit, NaN equal to NaN.
func (t *tally) near(want, got, limit float64, format string, detail ...any) {
	d := math.Abs(got - want)
	if want == got || math.IsNaN(want) && math.IsNaN(got) {
		d = 0
	}
	if math.IsNaN(d) {
		d = math.Inf(1)
	}
	t.worst = math.Max(t.worst, d)
	t.row(d <= limit, "%s: got %v, want %v", fmt.Sprintf(format, detail...), got, want)
}

// finish prints the table and gives the exit code.
func (e *env) finish() int {
	bad, reported := len(e.failed), 0
	fmt.Printf("%-12s %-34s %9s %10s %12s  %s\n", "part", "check", "rows", "mismatches", "largest", "tolerance")
	for _, t := range e.tallies {
		if t.reported {
			t.tolerance = "not judged in bfloat16"
			reported++
		}
		fmt.Printf("%-12s %-34s %9d %10d %12.3g  %s\n", t.part, t.name, t.rows, t.mismatches, t.worst, t.tolerance)
		for _, x := range t.examples {
			fmt.Printf("    %s\n", x)
		}
		if t.mismatches > 0 && !t.reported {
			bad++
		}
	}
	if bad > 0 {
		fmt.Printf("%d checks failed\n", bad)
		return 1
	}
	fmt.Printf("%d checks, no mismatch\n", len(e.tallies)-reported)
	return 0
}

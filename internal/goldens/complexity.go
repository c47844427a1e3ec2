package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// complexityRow is a line of complexity.jsonl: a task's file, which columns were
// measured, and what Python measured of its first rows.
type complexityRow struct {
	Task, File   string
	Rows         int
	InputColumns []string `json:"input_columns"`
	OutputColumn string   `json:"output_column"`
	SHA256       string   `json:"sha256_of_examples"`
}

// checkComplexity measures the rows that complexity.jsonl names. The rows lie in
// a folder of data beside the goldens (../data, or the folder that
// EVALRUN_GOLDEN_DATA names); a task whose rows are not there, or are others, is
// said and not checked.
func checkComplexity(e *env) error {
	raw, err := readLines[map[string]json.RawMessage](e.path("scoring/complexity.jsonl"))
	if err != nil {
		return err
	}
	rows, err := readLines[complexityRow](e.path("scoring/complexity.jsonl"))
	if err != nil {
		return err
	}
	folder := os.Getenv("EVALRUN_GOLDEN_DATA")
	if folder == "" {
		folder = filepath.Join(e.dir, "..", "data")
	}
	t := e.tally("complexity", "1e-6, counts equal")
	ratio := e.tally("complexity, zlib at level 6", "2e-9 (9 decimals stored)")
	for i, row := range rows {
		in, sum, err := complexityInput(folder, row)
		if errors.Is(err, fs.ErrNotExist) {
			fmt.Printf("%-12s %s is not there: %s not checked\n", e.part, row.File, row.Task)
			continue
		}
		if err != nil {
			return err
		}
		if sum != row.SHA256 {
			fmt.Printf("%-12s the rows of %s are not those that were measured: not checked\n", e.part, row.Task)
			continue
		}
		out, err := e.window(in, "complexity")
		if err != nil {
			return err
		}
		if len(out) != 1 {
			return fmt.Errorf("evalrun debug complexity: %d lines for one set", len(out))
		}
		var got map[string]json.RawMessage
		if err := json.Unmarshal(out[0], &got); err != nil {
			return err
		}
		t.row(string(got["rows"]) == strconv.Itoa(row.Rows), "%s: rows %s, want %d", row.Task, got["rows"], row.Rows)
		for key, w := range raw[i] {
			var want, have map[string]float64
			if json.Unmarshal(w, &want) != nil || want["mean"] == 0 && len(want) != 6 {
				continue // no summary
			}
			if slices.Contains([]string{"example_gzip9_ratio", "example_zlib9_ratio", "concatenated"}, key) {
				continue // what the report does not measure
			}
			if err := json.Unmarshal(got[key], &have); err != nil {
				t.row(false, "%s: no %s in the answer", row.Task, key)
				continue
			}
			for k, v := range want {
				if key == "example_zlib6_ratio" {
					ratio.near(v, have[k], 2e-9, "%s %s %s", row.Task, key, k)
					continue
				}
				t.near(v, have[k], 1e-6*math.Max(1, math.Abs(v)), "%s %s %s", row.Task, key, k)
			}
		}
	}
	return nil
}

// complexityInput makes the lines for the window from a task's rows, and the hash
// of all examples.
func complexityInput(folder string, row complexityRow) (in []byte, sum string, err error) {
	path := filepath.Join(folder, filepath.FromSlash(row.File))
	if _, err := os.Stat(path); err != nil { // a folder of held-out rows is flat
		path = filepath.Join(folder, row.Task+".jsonl")
	}
	lines, err := readLines[map[string]json.RawMessage](path)
	if err != nil {
		return nil, "", err
	}
	hash := sha256.New()
	for _, fields := range lines[:min(row.Rows, len(lines))] {
		var inputs []string
		for _, c := range row.InputColumns {
			inputs = append(inputs, pythonText(fields[c]))
		}
		input, output := strings.Join(inputs, "\n"), pythonText(fields[row.OutputColumn])
		hash.Write([]byte(input + output))
		line, err := json.Marshal(map[string]string{"input": input, "output": output})
		if err != nil {
			return nil, "", err
		}
		in = append(append(in, line...), '\n')
	}
	return in, hex.EncodeToString(hash.Sum(nil)), nil
}

// pythonText is str of a value from JSON, a list joined by one space. Numbers
// stand in the rows as Python prints them.
func pythonText(raw json.RawMessage) string {
	var list []json.RawMessage
	var s string
	switch {
	case json.Unmarshal(raw, &s) == nil && len(raw) > 0 && raw[0] == '"':
		return s
	case len(raw) > 0 && raw[0] == '[' && json.Unmarshal(raw, &list) == nil:
		var parts []string
		for _, x := range list {
			parts = append(parts, pythonText(x))
		}
		return strings.Join(parts, " ")
	case string(raw) == "true":
		return "True"
	case string(raw) == "false":
		return "False"
	case string(raw) == "null", len(raw) == 0:
		return "None"
	}
	return string(raw)
}

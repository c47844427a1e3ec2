package metrics

import (
	"bytes"
	"encoding/json"
	"math"
	"strconv"
	"testing"

	"github.com/evalrun/evalrun/internal/shared"
)

// The rows are what the published functions answered when they were run.
func TestAgainstPublished(t *testing.T) {
	rows := 0
	for line := range shared.Lines(t, "golden", "scoring", "metrics.jsonl") {
		var row struct {
			Function  string
			Args      []any
			Value     any
			Type      string
			Exception string
		}
		d := json.NewDecoder(bytes.NewReader(line))
		d.UseNumber()
		if err := d.Decode(&row); err != nil {
			t.Fatal(err)
		}
		rows++
		value, exception, known := Published(row.Function, row.Args)
		if !known {
			t.Errorf("%s is not known", row.Function)
			continue
		}
		if exception != row.Exception {
			t.Errorf("%s%q raises %q, Python %q", row.Function, row.Args, exception, row.Exception)
			continue
		}
		if exception == "" && !samePython(value, row.Value, row.Type) {
			t.Errorf("%s%q = %v, Python %v", row.Function, row.Args, value, row.Value)
		}
	}
	if rows < 1000 {
		t.Errorf("%d rows", rows)
	}
}

func samePython(got, want any, kind string) bool {
	switch w := want.(type) {
	case json.Number:
		f, _ := strconv.ParseFloat(w.String(), 64)
		g, ok := got.(float64)
		if kind == "Tensor" {
			return ok && math.Abs(g-f) <= 1e-6
		}
		return ok && g == f
	case string:
		if g, ok := got.(float64); ok { // a number that JSON lacks
			f, err := strconv.ParseFloat(w, 64)
			return err == nil && (g == f || math.IsNaN(g) && math.IsNaN(f))
		}
	}
	return got == want
}

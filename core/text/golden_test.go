package text

import (
	"bufio"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"
)

// sharedFile finds a file of the shared reference folder: below EVALRUN_SHARED,
// or beside the repository. It skips the test where there is none.
func sharedFile(t *testing.T, parts ...string) string {
	t.Helper()
	roots := []string{os.Getenv("EVALRUN_SHARED")}
	if roots[0] == "" {
		roots = []string{"../../../shared"}
	}
	for _, root := range roots {
		path := filepath.Join(append([]string{root}, parts...)...)
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	t.Skip("the shared reference answers are not on this machine (set EVALRUN_SHARED to their folder)")
	return ""
}

func eachLine(t *testing.T, path string, f func(line []byte)) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	scanner := bufio.NewScanner(file)
	scanner.Buffer(nil, 16<<20)
	for scanner.Scan() {
		f(scanner.Bytes())
	}
	if err := scanner.Err(); err != nil {
		t.Fatal(err)
	}
}

func TestRougeAgainstPython(t *testing.T) {
	path := sharedFile(t, "golden", "scoring", "rouge.jsonl")
	var r Rouge
	rows := 0
	eachLine(t, path, func(line []byte) {
		var row struct {
			Kind, Prediction, Reference string
			Torchmetrics                map[string][3]float64
			Google                      map[string][3]float64
			GoogleStem                  map[string][3]float64 `json:"google_stem"`
			Sentences                   struct{ Prediction, Reference []string }
		}
		if err := json.Unmarshal(line, &row); err != nil {
			t.Fatal(err)
		}
		rows++
		check := func(v Variant, want map[string][3]float64, tolerance float64) {
			r.Variant = v
			sum := r.Lsum(Lines(row.Prediction), Lines(row.Reference))
			if v == Torchmetrics {
				sum = r.Lsum(row.Sentences.Prediction, row.Sentences.Reference)
			}
			for key, got := range map[string]PRF{
				"rouge1":    r.N(1, row.Prediction, row.Reference),
				"rouge2":    r.N(2, row.Prediction, row.Reference),
				"rougeL":    r.L(row.Prediction, row.Reference),
				"rougeLsum": sum,
			} {
				w, ok := want[key]
				if !ok {
					t.Errorf("%s: no %s for %s", row.Kind, key, v)
				}
				for i, g := range [3]float64{got.Precision, got.Recall, got.F} {
					if !(math.Abs(g-w[i]) <= tolerance) {
						t.Errorf("%s %s %s[%d]: got %v, Python %v\nprediction %q\nreference %q",
							v, row.Kind, key, i, g, w[i], row.Prediction, row.Reference)
					}
				}
			}
		}
		check(Torchmetrics, row.Torchmetrics, 1e-6)
		check(Google, row.Google, 1e-9)
		check(GoogleStem, row.GoogleStem, 1e-9)
	})
	if rows == 0 {
		t.Error("no rows")
	}
}

package report

import (
	"encoding/csv"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/results/reference"
)

// A full disk is no wrong folder: nothing but the report has to be made again.
func TestWriteError(t *testing.T) {
	for cause, hint := range map[syscall.Errno]string{syscall.ENOSPC: "free space", syscall.EDQUOT: "free space", syscall.EACCES: "name a folder"} {
		err := writeError("r/report.md", fmt.Errorf("write r/report.md: %w", &fs.PathError{Op: "write", Path: "r/.report.md.1", Err: cause}))
		var user *core.UserError
		if !errors.As(err, &user) || user.Where != "r/report.md" || !strings.HasPrefix(user.Hint, hint) || !errors.Is(err, cause) || strings.Contains(err.Error(), ".report.md.1") {
			t.Errorf("%v: %v, want the hint %q", cause, err, hint)
		}
	}
}

// What --reference --json holds is relied on by other programs: the thirteen
// cells of Table 6 stand under these names, unrounded.
func TestReferenceJSON(t *testing.T) {
	b, err := Reference("json")
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Table3, Table4, Table5, Table11, Table12, Table13 []map[string]any
		Table6                                            []struct {
			Quality   string   `json:"quality_metric"`
			Only      *float64 `json:"rmse_heuristics_only"`
			With      *float64 `json:"rmse_with_avg_base_score"`
			Unseen    *float64 `json:"rmse_leave_one_out_heuristics_only"`
			Mean      *float64 `json:"rmse_mean_leave_one_out"`
			Published map[string]float64
		}
		Figure8 struct {
			Rows, Columns []string
			Spearman      [][]float64
		}
		Claims []struct {
			Claim, Section string
			Recomputed     any
			Agrees         bool
		}
	}
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	cells := 0
	for i, want := range reference.Table6() {
		r := got.Table6[i]
		if r.Quality != want.Quality || r.Unseen == nil || r.Mean == nil {
			t.Fatalf("row %d: %+v", i, r)
		}
		for _, c := range []struct {
			got  *float64
			want float64
		}{{r.Only, want.Heuristics}, {r.With, want.WithBase}} {
			if math.IsNaN(c.want) {
				if c.got != nil {
					t.Errorf("%s: %v where the report has nothing", want.Quality, *c.got)
				}
				continue
			}
			cells++
			if c.got == nil || math.Abs(*c.got-c.want) > 0.001 || *c.got == math.Round(*c.got*1e4)/1e4 {
				t.Errorf("%s: %v, want %v unrounded", want.Quality, c.got, c.want)
			}
		}
	}
	if cells != 13 || len(got.Table3) != 32 || len(got.Table4) != 13 || len(got.Table5) != 20 || len(got.Table11) != 31 || len(got.Table12) != 31 || len(got.Table13) != 31 {
		t.Errorf("%d cells; tables of %d, %d, %d, %d, %d, %d rows", cells, len(got.Table3), len(got.Table4), len(got.Table5), len(got.Table11), len(got.Table12), len(got.Table13))
	}
	if len(got.Figure8.Rows) != 7 || len(got.Figure8.Columns) != 21 || len(got.Figure8.Spearman[6]) != 21 {
		t.Errorf("figure 8: %v, %v", got.Figure8.Rows, got.Figure8.Columns)
	}
	no := 0
	for _, c := range got.Claims {
		if !c.Agrees {
			no++
		}
	}
	if len(got.Claims) != 165 || no != 50 {
		t.Errorf("%d claims, %d do not agree", len(got.Claims), no)
	}
}

func TestReferencePage(t *testing.T) {
	b, err := Reference("html")
	if err != nil {
		t.Fatal(err)
	}
	alone(t, string(b))
	for _, want := range []string{"194 above GPT-4", "7 of 7 regressions are worse than the mean", "Figure 11", "0.629", "0.656, -0.0269"} {
		if !strings.Contains(string(b), want) {
			t.Errorf("%q is not on the page", want)
		}
	}
	b, err = Reference("md")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"194/310 (224, -30) ≠", "All 13 figures agree", "| no ≠"} {
		if !strings.Contains(string(b), want) {
			t.Errorf("%q is not in the text", want)
		}
	}
	if _, err := Reference("pdf"); err == nil {
		t.Error("a form that is not there")
	}
}

func TestWriteReference(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "folder")
	files, err := WriteReference(dir)
	if err != nil {
		t.Fatal(err)
	}
	drawings, sheets := 0, 0
	for _, path := range files {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		switch filepath.Ext(path) {
		case ".svg":
			drawings++
			wellFormed(t, path, b)
		case ".csv":
			sheets++
			if rows, err := csv.NewReader(strings.NewReader(string(b))).ReadAll(); err != nil || len(rows) < 4 {
				t.Errorf("%s: %d rows, %v", path, len(rows), err)
			}
		}
	}
	if drawings != 6 || sheets != 11 {
		t.Errorf("%d drawings, %d tables", drawings, sheets)
	}
	if _, err := WriteReference(filepath.Join(files[0], "below a file")); err == nil {
		t.Error("wrote below a file")
	}
}

func wellFormed(t *testing.T, name string, b []byte) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(string(b)))
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
}

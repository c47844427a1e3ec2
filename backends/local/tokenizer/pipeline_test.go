package tokenizer

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
)

// pipelines calls each with every small tokenizer of testdata/pipelines.jsonl.gz
// and the rows that follow it. The answers are those of Hugging Face's
// tokenizers 0.23.3; testdata/make_fixtures.py made the file.
func pipelines(t testing.TB, each func(name string, file []byte, rows []pipelineRow)) {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", "pipelines.jsonl.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	in := bufio.NewScanner(z)
	in.Buffer(nil, 1<<22)
	var head pipelineRow
	var rows []pipelineRow
	for in.Scan() {
		var row pipelineRow
		if err := json.Unmarshal(in.Bytes(), &row); err != nil {
			t.Fatal(err)
		}
		if row.File == nil {
			rows = append(rows, row)
			continue
		}
		if head.File != nil {
			each(head.Name, head.File, rows)
		}
		head, rows = row, nil
	}
	if err := in.Err(); err != nil {
		t.Fatal(err)
	}
	each(head.Name, head.File, rows)
}

type pipelineRow struct {
	Name    string
	File    json.RawMessage
	Text    string
	IDs     []int32
	Special []int32
	Literal []int32
	Decoded *string
	Skipped *string
}

func TestPipelines(t *testing.T) {
	pipelines(t, func(name string, file []byte, rows []pipelineRow) {
		t.Run(name, func(t *testing.T) {
			tk, err := FromJSON(file)
			if err != nil {
				t.Fatal(err)
			}
			if len(rows) < 80 {
				t.Fatalf("%d rows", len(rows))
			}
			check := func(text, what string, special, literal bool, want []int32) {
				t.Helper()
				got, err := tk.Encode(text, special, literal)
				if err != nil || !slices.Equal(got, want) {
					t.Errorf("%q: %s: got %v, want %v (%v)", text, what, got, want, err)
				}
			}
			for _, row := range rows {
				check(row.Text, "ids", false, false, row.IDs)
				special, literal := row.IDs, row.IDs
				if row.Special != nil {
					special = row.Special
				}
				if row.Literal != nil {
					literal = row.Literal
				}
				check(row.Text, "with special tokens", true, false, special)
				check(row.Text, "literally", false, true, literal)
				want := row.Text
				if row.Decoded != nil {
					want = *row.Decoded
				}
				if got := tk.Decode(row.IDs, true); got != want {
					t.Errorf("%v: decoded %s, want %s", row.IDs, strconv.Quote(got), strconv.Quote(want))
				}
				if row.Skipped != nil {
					want = *row.Skipped
				}
				if got := tk.Decode(row.IDs, false); got != want {
					t.Errorf("%v: decoded without special tokens %s, want %s", row.IDs, strconv.Quote(got), strconv.Quote(want))
				}
			}
		})
	})
}

package dataset

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/internal/shared"
)

// collect reads a source to its end.
func collect(t testing.TB, s Source) ([]Row, error) {
	t.Helper()
	var rows []Row
	for row, err := range s.Rows(context.Background()) {
		if err != nil {
			if row != nil {
				t.Errorf("an error came with the row %v", row)
			}
			return rows, err
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func write(t testing.TB, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestTextFormats(t *testing.T) {
	tests := []struct {
		name, file, content string
		want                []Row
	}{
		{"types", "a.jsonl", `{"i": 7, "f": 7.0, "e": 1e2, "big": 123456789012345678901, "b": true, "n": null, "l": [1, "x"], "o": {"k": -1}}` + "\n",
			[]Row{{"i": int64(7), "f": 7.0, "e": 100.0, "big": json.Number("123456789012345678901"), "b": true, "n": nil,
				"l": []any{int64(1), "x"}, "o": map[string]any{"k": int64(-1)}}}},
		{"blank lines, CRLF, no last newline", "a.jsonl", "\r\n{\"a\":1}\r\n   \n{\"a\":2}", []Row{{"a": int64(1)}, {"a": int64(2)}}},
		{"byte order mark", "a.jsonl", "\ufeff{\"a\":1}", []Row{{"a": int64(1)}}},
		{"escapes", "a.jsonl", `{"a": "\u00e9\ud83d\ude00\n\/\\\"\ud800x"}`, []Row{{"a": "é😀\n/\\\"\ufffdx"}}},
		{"empty lines file", "a.jsonl", "", nil},
		{"array", "a.json", "\n [ {\"a\": \"]}\\\"\"} ,\n{\"a\": [{}]}\n]\n", []Row{{"a": `]}"`}, {"a": []any{map[string]any{}}}}},
		{"empty array", "a.json", "[]", nil},
		{"lines in .json", "a.json", "{\"a\":1}\n{\"a\":2}\n", []Row{{"a": int64(1)}, {"a": int64(2)}}},
		{"csv", "a.csv", "x,y\n1,\"a, \"\"b\"\"\r\nc\"\n\n,z\n", []Row{{"x": "1", "y": "a, \"b\"\r\nc"}, {"x": "", "y": "z"}}},
		{"csv quote inside", "a.csv", "x,y\n5\" disk,ok\n", []Row{{"x": `5" disk`, "y": "ok"}}},
		{"csv of pandas", "a.csv", ",y\n0,a\n", []Row{{"Unnamed: 0": "0", "y": "a"}}},
		{"tsv has no quotes", "a.tsv", "x\ty\n\"a\tb\n", []Row{{"x": `"a`, "y": "b"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var gz bytes.Buffer
			w := gzip.NewWriter(&gz)
			w.Write([]byte(tt.content))
			w.Close()
			enc, _ := zstd.NewWriter(nil)
			for ending, content := range map[string]string{"": tt.content, ".gz": gz.String(), ".zst": string(enc.EncodeAll([]byte(tt.content), nil))} {
				s, err := Files([]string{write(t, tt.file+ending, content)}, FileOptions{})
				if err != nil {
					t.Fatal(err)
				}
				got, err := collect(t, s)
				if err != nil {
					t.Fatalf("%s: %v", ending, err)
				}
				if !reflect.DeepEqual(got, tt.want) {
					t.Errorf("%s: got %#v\nwant %#v", ending, got, tt.want)
				}
			}
			s, err := Text(tt.file, tt.content)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := collect(t, s); err != nil || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("from memory: %#v, %v", got, err)
			}
		})
	}
}

func TestTextMistakes(t *testing.T) {
	tests := []struct {
		name, file, content string
		line                int // where it must be placed
		message             string
	}{
		{"bad json", "a.jsonl", "{\"a\":1}\n{\"a\":}\n", 2, "byte 6"},
		{"not an object", "a.jsonl", "{}\n[1]\n", 2, "a list, not a JSON object"},
		{"cut line", "a.jsonl", "{\"a\":1}\n\n{\"a\": \"x", 3, "not closed"},
		{"twice", "a.jsonl", `{"a":1,"a":2}`, 1, `"a" stands twice`},
		{"nan", "a.jsonl", `{"a":NaN}`, 1, "NaN"},
		{"huge number", "a.jsonl", `{"a":1e999}`, 1, "too large"},
		{"leading zero", "a.jsonl", `{"a":01}`, 1, "leading zero"},
		{"control character", "a.jsonl", "{\"a\":\"x\ty\"}", 1, "control character"},
		{"deep", "a.jsonl", `{"a":` + strings.Repeat("[", 100000), 1, "nested deeper"},
		{"utf-8", "a.jsonl", "{}\n{\"a\":\"\xff\"}\n", 2, "byte 7 of the line (0xff)"},
		{"array not closed", "a.json", "[\n{\"a\":1},\n", 3, "ends without ']' after 1 rows"},
		{"array cut", "a.json", "[\n{\"a\":1},\n{\"a\"", 3, "within row 1"},
		{"array junk", "a.json", "[\n{\"a\":1}\n{}]", 3, "a comma or ']'"},
		{"array of numbers", "a.json", "[1]", 1, "not with an object"},
		{"array mistake on its own line", "a.json", "[{\"a\":1},\n{\n\"b\":\n?}]", 4, "byte 1"},
		{"array utf-8", "a.json", "[{\"a\":1},\n{\n\"b\":\"\xc3\"}]", 3, "byte 6 of the line"},
		{"after array", "a.json", "[]\n\n]", 3, "follows the end"},
		{"empty json", "a.json", " \n", 2, "empty"},
		{"csv cells", "a.csv", "x,y\n1,2\n3\n", 3, "1 cells, the header has 2"},
		{"csv open quote", "a.csv", "x,y\n1,\"2\n3\n", 2, "never closed"},
		{"csv after quote", "a.csv", "x,y\n\"1\"2,3\n", 2, "follows the closing quote"},
		{"csv header", "a.csv", "x,x\n", 1, `"x" stands twice`},
		{"csv empty", "a.csv", "", 1, "empty"},
		{"csv utf-8", "a.csv", "x,y\n\"a\nb\",\xe9\n", 3, "byte 4 of the line"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := write(t, tt.file, tt.content)
			s, err := Files([]string{path}, FileOptions{})
			if err != nil {
				t.Fatal(err)
			}
			_, err = collect(t, s)
			var user *core.UserError
			if !errors.As(err, &user) {
				t.Fatalf("got %v, want a core.UserError", err)
			}
			if want := fmt.Sprintf("%s:%d", path, tt.line); user.Where != want {
				t.Errorf("at %s, want %s", user.Where, want)
			}
			if !strings.Contains(user.Error(), tt.message) || user.Hint == "" {
				t.Errorf("message %q, hint %q; want %q in it", user.Error(), user.Hint, tt.message)
			}
		})
	}
}

func TestLongLine(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 65 MiB")
	}
	path := filepath.Join(t.TempDir(), "a.jsonl.gz")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w, _ := gzip.NewWriterLevel(f, gzip.BestSpeed)
	w.Write([]byte("{}\n"))
	block := bytes.Repeat([]byte{' '}, 1<<20)
	for range 65 {
		w.Write(block)
	}
	w.Close()
	f.Close()
	s, _ := Files([]string{path}, FileOptions{})
	rows, err := collect(t, s)
	if len(rows) != 1 || err == nil || !strings.Contains(err.Error(), ":2: the line is longer than 64 MiB") {
		t.Errorf("%d rows, %v", len(rows), err)
	}
}

func TestDamagedPacking(t *testing.T) {
	var plain strings.Builder
	for i := range 20000 {
		fmt.Fprintf(&plain, "{\"a\": %d, \"b\": \"%x\"}\n", i, i*7919)
	}
	var gz bytes.Buffer
	w := gzip.NewWriter(&gz)
	w.Write([]byte(plain.String()))
	w.Close()
	enc, _ := zstd.NewWriter(nil)
	zst := enc.EncodeAll([]byte(plain.String()), nil)
	for name, content := range map[string][]byte{
		"cut.jsonl.gz":   gz.Bytes()[:gz.Len()/2],
		"tail.jsonl.gz":  gz.Bytes()[:gz.Len()-4],
		"cut.jsonl.zst":  zst[:len(zst)/2],
		"head.jsonl.gz":  []byte("{}\n"),
		"head.jsonl.zst": []byte("{}\n"),
	} {
		path := write(t, name, string(content))
		s, err := Files([]string{path}, FileOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := collect(t, s); err == nil || !strings.HasPrefix(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPatterns(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"b.jsonl", "a.jsonl", "c[1].jsonl"} {
		os.WriteFile(filepath.Join(dir, name), []byte(`{"f":"`+name+`"}`), 0o600)
	}
	s, err := Files([]string{filepath.Join(dir, "[ab].jsonl"), filepath.Join(dir, "c[1].jsonl"), filepath.Join(dir, "a.jsonl")}, FileOptions{})
	if err != nil {
		t.Fatal(err)
	}
	rows, err := collect(t, s)
	if err != nil || fmt.Sprint(rows) != "[map[f:a.jsonl] map[f:b.jsonl] map[f:c[1].jsonl]]" {
		t.Errorf("%v, %v", rows, err)
	}
	for _, bad := range []string{filepath.Join(dir, "*.csv"), filepath.Join(dir, "none.jsonl"), dir, filepath.Join(dir, "[")} {
		if _, err := Files([]string{bad}, FileOptions{}); err == nil {
			t.Errorf("%s: no error", bad)
		}
	}
	ctx, stop := context.WithCancel(context.Background())
	stop()
	for _, err := range s.Rows(ctx) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("after cancelling: %v", err)
		}
	}
}

func TestFolder(t *testing.T) {
	dir := t.TempDir()
	os.Mkdir(filepath.Join(dir, "boolq"), 0o700)
	for _, name := range []string{"validation.csv", "validation.jsonl.gz", "train.jsonl", "README.md"} {
		os.WriteFile(filepath.Join(dir, "boolq", name), nil, 0o600)
	}
	if got, err := FolderFile(dir, "boolq", "validation"); err != nil || filepath.Base(got) != "validation.jsonl.gz" {
		t.Errorf("%s, %v", got, err)
	}
	for _, tt := range []struct{ dir, folder, split, message, hint string }{
		{dir, "boolq", "test", `no split "test"`, "train, validation"},
		{dir, "boolk", "test", `no folder "boolk"`, "boolq"},
		{dir + "x", "boolq", "test", "not there", "--data embedded"},
		{dir, "../boolq", "test", "names within", ""},
		{dir, "boolq", "../../etc/passwd", "names within", ""},
	} {
		_, err := FolderFile(tt.dir, tt.folder, tt.split)
		var user *core.UserError
		if !errors.As(err, &user) || !strings.Contains(user.Message, tt.message) || !strings.Contains(user.Hint, tt.hint) {
			t.Errorf("%s/%s: %v", tt.folder, tt.split, err)
		}
	}
}

// TestStreams reads 100,000 rows and bounds what stays in memory meanwhile.
func TestStreams(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 40 MB")
	}
	path := filepath.Join(t.TempDir(), "a.jsonl")
	f, _ := os.Create(path)
	pad := strings.Repeat("word ", 80)
	for i := range 100000 {
		fmt.Fprintf(f, "{\"i\": %d, \"text\": \"%s\"}\n", i, pad)
	}
	f.Close()
	s, _ := Files([]string{path}, FileOptions{})
	n := int64(0)
	var high uint64
	for row, err := range s.Rows(context.Background()) {
		if err != nil || row["i"] != n {
			t.Fatalf("row %d: %v, %v", n, row["i"], err)
		}
		if n++; n%20000 == 0 {
			runtime.GC()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			high = max(high, m.HeapAlloc)
		}
	}
	if n != 100000 || high > 16<<20 {
		t.Errorf("%d rows, %d bytes held", n, high)
	}
}

func TestSharedData(t *testing.T) {
	dir := shared.Path(t, "data")
	for folder, split := range map[string]string{"wikisql": "test", "webnlg": "validation", "mmlu": "dev", "reuters": "test"} {
		s, err := Folder(dir, folder, split)
		if err != nil {
			t.Fatal(err)
		}
		rows, err := collect(t, s)
		if err != nil || len(rows) < 285 {
			t.Errorf("%s: %d rows, %v", folder, len(rows), err)
		}
	}
	if _, err := Folder(dir, "customer_support", "test"); err == nil || !strings.Contains(err.(*core.UserError).Hint, "sample") {
		t.Errorf("the split that is there is not named: %v", err)
	}
}

func BenchmarkJSONLines(b *testing.B) {
	line := `{"question": "does ethanol take more energy make that produces", "answer": false, "passage": "` +
		strings.Repeat("All biomass goes through at least some of these steps. ", 12) + `", "idx": 17}` + "\n"
	s, _ := Text("a.jsonl", strings.Repeat(line, 1000))
	b.SetBytes(int64(len(line)) * 1000)
	for b.Loop() {
		for _, err := range s.Rows(context.Background()) {
			if err != nil {
				b.Fatal(err)
			}
		}
	}
}

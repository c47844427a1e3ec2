package dataset

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"
)

func TestParquetTypes(t *testing.T) {
	s, err := Files([]string{"testdata/types.parquet"}, FileOptions{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := collect(t, s)
	if err != nil {
		t.Fatal(err)
	}
	none := []any{}
	want := []Row{
		{"id": "a", "n": int64(1), "f": 1.5, "d": 0.1, "b": true, "u8": int64(1), "u64": json.Number("18446744073709551615"), "i8": int64(-1),
			"toks": []any{"x", "y"}, "nest": []any{[]any{"x"}, none}, "choices": map[string]any{"text": []any{"p", "q"}, "label": []any{"A", "B"}},
			"los": []any{map[string]any{"a": int64(1), "b": "u"}, map[string]any{"a": nil, "b": "v"}},
			"m":   map[string]any{"k": int64(1), "l": int64(2)}, "ts": "2020-01-02 03:04:05.600000", "day": "2020-01-02", "dec": "12.30",
			"bin": "abc", "cat": "u", "h": 1.5, "t": "01:02:03.000400", "ls": "big"},
		{"id": "b", "n": nil, "f": 2.25, "d": 2.0, "b": false, "u8": int64(255), "u64": int64(1 << 40), "i8": int64(2),
			"toks": none, "nest": []any{nil}, "choices": nil, "los": none, "m": map[string]any{}, "ts": nil, "day": nil, "dec": "-0.05",
			"bin": []byte{0xff, 0}, "cat": "v", "h": -2.0, "t": nil, "ls": nil},
		{"id": "c", "n": int64(3), "f": nil, "d": nil, "b": nil, "u8": int64(0), "u64": int64(0), "i8": int64(3),
			"toks": nil, "nest": []any{[]any{"y", nil}}, "choices": map[string]any{"text": none, "label": nil}, "los": nil, "m": nil,
			"ts": nil, "day": nil, "dec": nil, "bin": nil, "cat": "u", "h": nil, "t": nil, "ls": "z"},
	}
	for i := range want {
		for name, w := range want[i] {
			if g, ok := got[i][name]; !ok || !reflect.DeepEqual(g, w) {
				t.Errorf("row %d, %s: got %#v, want %#v", i, name, g, w)
			}
		}
		if len(got[i]) != len(want[i]) {
			t.Errorf("row %d has %d columns, want %d", i, len(got[i]), len(want[i]))
		}
	}
}

type question struct {
	ID      int64     `parquet:"id"`
	Text    string    `parquet:"text"`
	Label   float32   `parquet:"label"`
	Choices []string  `parquet:"choices,list"`
	Plain   []float64 `parquet:"plain"` // a bare repeated column
}

// TestParquetGroups reads many rows over several groups, packed and not.
func TestParquetGroups(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "q.parquet")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w := parquet.NewGenericWriter[question](f, parquet.MaxRowsPerRowGroup(700))
	const n = 3000
	for i := range n {
		q := question{ID: int64(i), Text: strings.Repeat("é", i%50), Label: float32(i%50) / 10}
		for j := range i % 4 {
			q.Choices = append(q.Choices, string(rune('A'+j)))
			q.Plain = append(q.Plain, float64(j))
		}
		if _, err := w.Write([]question{q}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	f.Close()
	plain, _ := os.ReadFile(path)
	packed := write(t, "q.parquet.gz", gzipped(plain))
	for _, p := range []string{path, packed} {
		s, _ := Files([]string{p}, FileOptions{})
		rows, err := collect(t, s)
		if err != nil || len(rows) != n {
			t.Fatalf("%s: %d rows, %v", p, len(rows), err)
		}
		for i, row := range rows {
			if row["id"] != int64(i) || row["text"] != strings.Repeat("é", i%50) || row["label"] != float64(i%50)/10 ||
				len(row["choices"].([]any)) != i%4 || len(row["plain"].([]any)) != i%4 {
				t.Fatalf("row %d: %v", i, row)
			}
		}
	}
}

// A file without rows, as pyarrow writes one: a row group that has none, and no page.
func TestParquetWithoutRows(t *testing.T) {
	s, err := Files([]string{"testdata/empty.parquet"}, FileOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if rows, err := collect(t, s); err != nil || len(rows) != 0 {
		t.Errorf("%d rows, %v", len(rows), err)
	}
}

// TestParquetDamage cuts the file and flips bits: an error that names the file,
// or rows, but never a panic. Most flips within values cannot be seen, since
// writers store no checksums.
func TestParquetDamage(t *testing.T) {
	for _, file := range []string{"types", "lz4"} {
		t.Run(file, func(t *testing.T) { damage(t, "testdata/"+file+".parquet") })
	}
}

func damage(t *testing.T, file string) {
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	try := func(content []byte) error {
		path := filepath.Join(t.TempDir(), "x.parquet")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Files([]string{path}, FileOptions{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = collect(t, s)
		if err != nil && !strings.HasPrefix(err.Error(), path) {
			t.Fatalf("the error does not name the file: %v", err)
		}
		return err
	}
	for _, n := range []int{0, 3, 4, 11, len(whole) / 3, len(whole) / 2, len(whole) - 8, len(whole) - 1} {
		if err := try(whole[:n]); err == nil {
			t.Errorf("cut to %d bytes: no error", n)
		}
	}
	flips := 1000
	if testing.Short() {
		flips = 200
	}
	rng := rand.New(rand.NewPCG(1, 2))
	seen := 0
	for range flips {
		damaged := bytes.Clone(whole)
		for range 1 + rng.IntN(3) {
			damaged[rng.IntN(len(damaged))] ^= 1 << rng.IntN(8)
		}
		if try(damaged) != nil {
			seen++
		}
	}
	if seen < flips/10 {
		t.Errorf("only %d of %d damaged files were refused", seen, flips)
	}
}

// LZ4 files are read as others are: pyarrow's, and those of many pages and groups.
func TestParquetLZ4(t *testing.T) {
	rows := func(path string) []Row {
		t.Helper()
		s, err := Files([]string{path}, FileOptions{})
		if err != nil {
			t.Fatal(err)
		}
		rows, err := collect(t, s)
		if err != nil {
			t.Fatal(err)
		}
		return rows
	}
	if got, want := rows("testdata/lz4.parquet"), rows("testdata/types.parquet"); len(got) != 3 || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	type line struct {
		ID   int64    `parquet:"id"`
		Text string   `parquet:"text"`
		Kind string   `parquet:"kind,dict"`
		Tags []string `parquet:"tags,list"`
	}
	var all []line
	for i := range 3000 {
		all = append(all, line{int64(i), strings.Repeat("word ", i%50) + strconv.Itoa(i), strconv.Itoa(i % 7), []string{"a", strconv.Itoa(i)}[:i%3%2+i%2]})
	}
	for version := 1; version <= 2; version++ {
		path := filepath.Join(t.TempDir(), "x.parquet")
		if err := parquet.WriteFile(path, all, parquet.Compression(&parquet.Lz4Raw), parquet.DataPageVersion(version), parquet.PageBufferSize(4000), parquet.MaxRowsPerRowGroup(700)); err != nil {
			t.Fatal(err)
		}
		got := rows(path)
		if len(got) != len(all) {
			t.Fatalf("version %d: %d rows", version, len(got))
		}
		for i, l := range all {
			tags := []any{}
			for _, tag := range l.Tags {
				tags = append(tags, tag)
			}
			if want := (Row{"id": l.ID, "text": l.Text, "kind": l.Kind, "tags": tags}); !reflect.DeepEqual(got[i], want) {
				t.Fatalf("version %d: row %d is %v, want %v", version, i, got[i], want)
			}
		}
	}
}

// A damaged block of LZ4 is told; Hadoop's LZ4 is refused by name.
func TestParquetLZ4Damage(t *testing.T) {
	type line struct {
		Text string `parquet:"text"`
	}
	path := filepath.Join(t.TempDir(), "x.parquet")
	if err := parquet.WriteFile(path, []line{{strings.Repeat("a", 1000)}}, parquet.Compression(&parquet.Lz4Raw)); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	refused := func(content []byte, want string) {
		t.Helper()
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Files([]string{path}, FileOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := collect(t, s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	footer := len(whole) - 8 - int(binary.LittleEndian.Uint32(whole[len(whole)-8:]))
	at := bytes.LastIndex(whole[:footer], []byte("a\x01\x00")) // a letter, and how far back the next ones lie
	if at < 0 {
		t.Fatalf("the block is packed in another way: %x", whole)
	}
	damaged := bytes.Clone(whole)
	damaged[at+2] = 0xff
	refused(damaged, "column text: page 0: unpacking LZ4")
	const codec, hadoop = "\x15\x0e", "\x15\x0a" // field 4 of a column's metadata, 7 and 5
	if n := strings.Count(string(whole[footer:]), codec); n != 1 {
		t.Fatalf("%d places look like the codec", n)
	}
	refused(append(bytes.Clone(whole[:footer]), strings.Replace(string(whole[footer:]), codec, hadoop, 1)...), "compression with LZ4 is not supported; store the file with zstd or snappy")
}

package dataset

import (
	"context"
	"crypto/sha1"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/dataset/hub"
)

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{
		"data/boolq/validation.jsonl": `{"from": "data folder"}`, "data/boolq/train.jsonl": `{"from": "training"}`,
		"hub/data/train-00000-of-00002.jsonl": `{"from": "shards"}`, "hub/data/train-00001-of-00002.jsonl": "",
		"hub/data/test-00000-of-00001.jsonl": `{"from": "shard"}`, "hub/README.md": "", "hub/.cache/data/x-00000-of-00001.jsonl": "{",
		"configs/a/test.jsonl": `{"from": "a"}`, "configs/b/test.jsonl": `{"from": "b"}`, "cut/data/test-00000-of-00002.jsonl": `{}`, "saved/test/data-00000-of-00001.arrow": "", "none/README.md": "",
		"rows.jsonl": `{"from": "file"}`, "test-rows.csv": "from\npattern\n", "boolq.yaml": "",
	} {
		os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700)
		os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600)
	}
	task := func(source, split string) *core.Task {
		return &core.Task{Name: "boolq", Path: filepath.Join(dir, "boolq.yaml"), Dataset: core.Dataset{Source: source, Split: split, TrainSplit: "train"}}
	}
	configured := task("configs", "test")
	configured.Dataset.Config = "b"
	mapped := task("hf://google/boolq", "dev")
	mapped.Name = "boolq_open"
	mapped.Dataset.Local = core.LocalLayout{Folder: "boolq", Split: "validation"}
	tests := []struct {
		task  *core.Task
		part  Part
		where Where
		want  string // from, or part of the error
	}{
		{task("hf://google/boolq", "validation"), Evaluation, Where{Dir: filepath.Join(dir, "data")}, "data folder"},
		{task("hf://google/boolq", "validation"), Training, Where{Dir: filepath.Join(dir, "data")}, "training"},
		{mapped, Evaluation, Where{Dir: filepath.Join(dir, "data")}, "data folder"},
		{mapped, Training, Where{Dir: filepath.Join(dir, "data")}, "training"},
		{task("rows.jsonl", ""), Evaluation, Where{}, "file"},
		{task("{split}-rows.csv", "test"), Evaluation, Where{}, "pattern"},
		{task("*-rows.csv", ""), Evaluation, Where{}, "pattern"},
		{task("data/boolq", "validation"), Evaluation, Where{}, "data folder"},
		{task("data/boolq", "test"), Evaluation, Where{}, `no split "test"`},
		{task("data/boolq", ""), Evaluation, Where{}, "names no split"},
		{task("hub", "test"), Evaluation, Where{}, "shard"},
		{task("hub", "test"), Training, Where{}, "shards"},
		{task("hub", "dev"), Evaluation, Where{}, `no split "dev"`},
		{configured, Evaluation, Where{}, "b"},
		{task("configs", "test"), Evaluation, Where{}, "several configurations"},
		{task("cut", "test"), Evaluation, Where{}, "shards of the split \"test\" are not complete"},
		{task("saved", "test"), Evaluation, Where{}, "the folder holds Arrow files"},
		{task("none", "test"), Evaluation, Where{}, "the folder has no data files"},
		{task("kaggle://a/b", "test"), Evaluation, Where{}, "cannot be fetched from kaggle://"},
		{task("", "test"), Evaluation, Where{}, "names no source"},
		{task("none.jsonl", "test"), Evaluation, Where{}, "no such file"},
	}
	for _, tt := range tests {
		s, err := Open(context.Background(), tt.task, tt.part, tt.where)
		if err != nil {
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: %v", tt.task.Dataset.Source, err)
			}
			continue
		}
		rows, err := collect(t, s)
		if err != nil || len(rows) != 1 || rows[0]["from"] != tt.want {
			t.Errorf("%s: %v, %v", tt.task.Dataset.Source, rows, err)
		}
	}
}

func TestHub(t *testing.T) {
	parquetFile, err := os.ReadFile("testdata/types.parquet")
	if err != nil {
		t.Fatal(err)
	}
	id := fmt.Sprintf("%x", sha1.Sum(fmt.Appendf(nil, "blob %d\x00%s", len(parquetFile), parquetFile)))
	commit := strings.Repeat("c", 40)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.Contains(r.URL.Path, "/revision/"):
			json.NewEncoder(w).Encode(map[string]string{"sha": commit})
		case strings.Contains(r.URL.Path, "/tree/"):
			fmt.Fprintf(w, `[{"type":"file","path":"main/test-00000-of-00001.parquet","oid":%q,"size":%d}]`, id, len(parquetFile))
		default:
			w.Write(parquetFile)
		}
	}))
	defer server.Close()
	client, err := hub.New(server.URL, t.TempDir(), "", false)
	if err != nil {
		t.Fatal(err)
	}
	task := &core.Task{Name: "x", Path: "embedded:x.yaml", Dataset: core.Dataset{Source: "hf://owner/name", Config: "main", Split: "test"}}
	s, err := Open(context.Background(), task, Evaluation, Where{Hub: client})
	if err != nil {
		t.Fatal(err)
	}
	rows, err := collect(t, s)
	if err != nil || len(rows) != 3 || rows[2]["id"] != "c" || Commit(s) != commit || s.Name() != "hf://owner/name/main/test@cccccccccccc" || len(Paths(s)) != 1 {
		t.Errorf("%d rows of %s from %v, %v", len(rows), s.Name(), Paths(s), err)
	}
}

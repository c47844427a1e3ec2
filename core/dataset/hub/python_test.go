package hub

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// python finds an interpreter that has huggingface_hub: the one that
// EVALRUN_PYTHON names, or python3.
func python(t *testing.T) string {
	t.Helper()
	for _, name := range []string{os.Getenv("EVALRUN_PYTHON"), "python3"} {
		if name != "" && exec.Command(name, "-c", "import huggingface_hub").Run() == nil {
			return name
		}
	}
	t.Skip("no Python with huggingface_hub: set EVALRUN_PYTHON to one to compare the caches")
	return ""
}

// TestPython lets huggingface_hub find, without network, what was fetched here,
// and the other way round.
func TestPython(t *testing.T) {
	interpreter := python(t)
	h := newFakeHub(t)
	h.add("datasets/o/d", "main", map[string]string{"README.md": "# d"})
	h.add("datasets/o/d", ConvertRevision, map[string]string{"default/test/0000.parquet": "rows"})
	h.add("models/o/m", "main", map[string]string{"config.json": "{}", "model.safetensors": "weights", "sub/x.json": "[]"})
	c := h.client(t)
	if _, err := c.DataFiles(context.Background(), Split{ID: "o/d", Name: "test"}); err != nil {
		t.Fatal(err)
	}
	dir, err := c.Snapshot(context.Background(), Model, "o/m", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	run := func(offline, script string) string {
		t.Helper()
		cmd := exec.Command(interpreter, "-c", script)
		cmd.Env = append(os.Environ(), "HF_HOME="+t.TempDir(), "HF_HUB_CACHE="+c.Cache, "HF_HUB_OFFLINE="+offline, "HF_ENDPOINT="+h.hub.URL,
			"HF_TOKEN="+secret, "HF_HUB_DISABLE_TELEMETRY=1", "HF_HUB_DISABLE_XET=1", "HF_HUB_DISABLE_PROGRESS_BARS=1")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return strings.TrimSpace(string(out))
	}
	got := run("1", `
from huggingface_hub import hf_hub_download, snapshot_download, scan_cache_dir
p = hf_hub_download("o/d", "default/test/0000.parquet", repo_type="dataset", revision="refs/convert/parquet")
assert open(p).read() == "rows", p
print(snapshot_download("o/m"))
info = scan_cache_dir()
assert not info.warnings, info.warnings
assert sorted(r.repo_id for r in info.repos) == ["o/d", "o/m"]
assert sum(r.nb_files for r in info.repos) == 4, info.repos
`)
	if filepath.Clean(got) != filepath.Clean(dir) {
		t.Errorf("huggingface_hub finds %s, not %s", got, dir)
	}

	// And what Python leaves of an older kind, without a list of files, is used too.
	os.RemoveAll(filepath.Join(c.Cache, "models--o--m", "trees"))
	off, _ := New(h.hub.URL, c.Cache, "", true)
	if again, err := off.Snapshot(context.Background(), Model, "o/m", "", ModelFiles); err != nil || again != dir {
		t.Errorf("%s, %v", again, err)
	}
}

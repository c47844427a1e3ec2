package hub

import (
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/evalrun/evalrun/core"
)

const secret = "hf_veryPrivateToken"

// fakeHub serves repositories as the real hub does: an API, and addresses that
// redirect to a storage server on another host.
type fakeHub struct {
	t       testing.TB
	hub     *httptest.Server
	storage *httptest.Server
	mu      sync.Mutex
	repos   map[string]map[string]map[string]string // "datasets/o/n" -> revision -> path -> content
	trouble func(w http.ResponseWriter, r *http.Request, n int) bool
	hits    map[string]int // by path, over both servers
}

func newFakeHub(t testing.TB) *fakeHub {
	h := &fakeHub{t: t, repos: make(map[string]map[string]map[string]string), hits: make(map[string]int)}
	h.hub = httptest.NewServer(http.HandlerFunc(h.serveHub))
	h.storage = httptest.NewServer(http.HandlerFunc(h.serveStorage))
	t.Cleanup(h.hub.Close)
	t.Cleanup(h.storage.Close)
	return h
}

func commitOf(revision string) string {
	if commitForm.MatchString(revision) {
		return revision
	}
	sum := sha1.Sum([]byte(revision))
	return hex.EncodeToString(sum[:])
}

func (h *fakeHub) add(repo, revision string, files map[string]string) {
	if h.repos[repo] == nil {
		h.repos[repo] = make(map[string]map[string]string)
	}
	h.repos[repo][revision] = files
}

func (h *fakeHub) client(t testing.TB) *Client {
	c, err := New(h.hub.URL, t.TempDir(), secret, false)
	if err != nil {
		t.Fatal(err)
	}
	c.Wait, c.Stall = time.Millisecond, 5*time.Second
	return c
}

func (h *fakeHub) files(repo, revision string) map[string]string {
	for rev, files := range h.repos[repo] {
		if rev == revision || commitOf(rev) == revision {
			return files
		}
	}
	return nil
}

func (h *fakeHub) note(r *http.Request) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	key := r.Host + r.URL.Path
	h.hits[key]++
	return h.hits[key]
}

func gitHash(content string) string {
	sum := sha1.Sum([]byte(fmt.Sprintf("blob %d\x00%s", len(content), content)))
	return hex.EncodeToString(sum[:])
}

// large files are kept by LFS, as on the hub.
func large(name string) bool {
	return strings.HasSuffix(name, ".parquet") || strings.HasSuffix(name, ".safetensors")
}

func (h *fakeHub) serveHub(w http.ResponseWriter, r *http.Request) {
	if got := r.Header.Get("Authorization"); got != "Bearer "+secret {
		h.t.Errorf("the hub got the authorization %q", got)
	}
	n := h.note(r)
	if h.trouble != nil && h.trouble(w, r, n) {
		return
	}
	path := r.URL.EscapedPath()
	if rest, ok := strings.CutPrefix(path, "/api/"); ok {
		for repo := range h.repos {
			tail, ok := strings.CutPrefix(rest, repo+"/")
			if !ok {
				continue
			}
			verb, revision, _ := strings.Cut(tail, "/")
			revision, _ = url.PathUnescape(revision)
			files := h.files(repo, revision)
			if files == nil {
				w.Header().Set("X-Error-Code", "RevisionNotFound")
				w.WriteHeader(404)
				return
			}
			if verb == "revision" {
				json.NewEncoder(w).Encode(map[string]any{"sha": commitOf(revision), "siblings": []any{}})
				return
			}
			h.serveTree(w, r, files)
			return
		}
		w.Header().Set("X-Error-Code", "RepoNotFound")
		w.WriteHeader(404)
		return
	}
	if _, content, ok := h.find(r.URL.Path); ok {
		if large(r.URL.Path) {
			http.Redirect(w, r, h.storage.URL+r.URL.Path+"?X-Amz-Signature=alsoSecret", http.StatusFound)
			return
		}
		w.Header().Set("ETag", `"`+gitHash(content)+`"`)
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(content))
		return
	}
	w.WriteHeader(404)
}

// find reads /datasets/o/n/resolve/COMMIT/path and /o/n/resolve/COMMIT/path.
func (h *fakeHub) find(path string) (name, content string, ok bool) {
	repo, rest, ok := strings.Cut(strings.TrimPrefix(path, "/"), "/resolve/")
	if !strings.HasPrefix(repo, "datasets/") {
		repo = "models/" + repo
	}
	revision, name, _ := strings.Cut(rest, "/")
	content, found := h.files(repo, revision)[name]
	return name, content, ok && found
}

// serveTree gives two entries a page.
func (h *fakeHub) serveTree(w http.ResponseWriter, r *http.Request, files map[string]string) {
	var names []string
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	from, _ := strconv.Atoi(r.URL.Query().Get("cursor"))
	to := min(from+2, len(names))
	entries := []any{map[string]any{"type": "directory", "oid": "0", "size": 0, "path": "data"}}
	for _, name := range names[from:to] {
		e := map[string]any{"type": "file", "oid": gitHash(files[name]), "size": len(files[name]), "path": name}
		if large(name) {
			sum := sha256.Sum256([]byte(files[name]))
			e["oid"] = gitHash("pointer to " + name)
			e["lfs"] = map[string]any{"oid": hex.EncodeToString(sum[:]), "size": len(files[name]), "pointerSize": 130}
		}
		entries = append(entries, e)
	}
	if to < len(names) {
		w.Header().Set("Link", fmt.Sprintf(`<%s%s?recursive=true&cursor=%d>; rel="next"`, h.hub.URL, r.URL.EscapedPath(), to))
	}
	json.NewEncoder(w).Encode(entries)
}

func (h *fakeHub) serveStorage(w http.ResponseWriter, r *http.Request) {
	if got := r.Header.Get("Authorization"); got != "" {
		h.t.Errorf("the storage server got the authorization %q", got)
	}
	n := h.note(r)
	if h.trouble != nil && h.trouble(w, r, n) {
		return
	}
	_, content, ok := h.find(r.URL.Path)
	if !ok {
		w.WriteHeader(404)
		return
	}
	http.ServeContent(w, r, "", time.Time{}, strings.NewReader(content))
}

func text(t testing.TB, paths ...string) string {
	t.Helper()
	var all []string
	for _, p := range paths {
		b, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(b))
	}
	return strings.Join(all, "+")
}

func TestDataFiles(t *testing.T) {
	h := newFakeHub(t)
	h.add("datasets/o/own", "main", map[string]string{
		"README.md": "# own", "data/validation-00000-of-00002.parquet": "v0", "data/validation-00001-of-00002.parquet": "v1",
		"data/train-00000-of-00001.parquet": "t0"})
	h.add("datasets/o/many", "main", map[string]string{
		"a/test-00000-of-00001.parquet": "a0", "b/test-00000-of-00001.parquet": "b0", "b/test.jsonl": "worse"})
	h.add("datasets/o/script", "main", map[string]string{"script.py": "import x", "dataset/dev.json": "raw"})
	h.add("datasets/o/script", ConvertRevision, map[string]string{
		"plain/validation/0000.parquet": "c0", "plain/validation/0001.parquet": "c1", "plain/partial-train/0000.parquet": "begin"})
	h.add("datasets/o/lines", "main", map[string]string{"dev.jsonl": "d", "test.csv": "t"})
	h.add("datasets/o/lines", "v1.0", map[string]string{"dev.jsonl": "old"})
	h.add("datasets/o/broken", "main", map[string]string{"data/test-00000-of-00002.parquet": "x"})
	h.add("datasets/solo", "main", map[string]string{"main/test-00000-of-00001.parquet": "s"})
	tests := []struct {
		split Split
		want  string // contents, or part of the error
		hint  string // part of the hint of an error
	}{
		{Split{ID: "o/own", Name: "validation"}, "v0+v1", ""},
		{Split{ID: "hf://o/own", Config: "default", Name: "train"}, "t0", ""},
		{Split{ID: "o/own", Config: "whatever", Name: "train"}, "t0", ""},
		{Split{ID: "o/own", Name: "test"}, `no split "test"`, "train, validation"},
		{Split{ID: "o/many", Config: "b", Name: "test"}, "b0", ""},
		{Split{ID: "o/many", Config: "b+a", Name: "test"}, "b0+a0", ""},
		{Split{ID: "o/many", Name: "test"}, "several configurations", "a, b"},
		{Split{ID: "o/many", Config: "c", Name: "test"}, `no configuration "c"`, "a, b"},
		{Split{ID: "o/script", Name: "validation"}, "c0+c1", ""},
		{Split{ID: "o/script", Config: "plain", Name: "train"}, "only the beginning", "--data embedded"},
		{Split{ID: "o/script", Name: "validation", Revision: ConvertRevision}, "c0+c1", ""},
		{Split{ID: "o/lines", Name: "validation"}, "d", ""},
		{Split{ID: "o/lines", Name: "validation", Revision: "v1.0"}, "old", ""},
		{Split{ID: "o/lines", Name: "validation", Revision: commitOf("v1.0")}, "old", ""},
		{Split{ID: "o/lines", Name: "test", Revision: "v1.0"}, `no split "test"`, "dev"},
		{Split{ID: "o/lines", Name: "test", Revision: "v9"}, "404 Not Found (RevisionNotFound)", "--data DIR"},
		{Split{ID: "o/broken", Name: "test"}, "shards of the split \"test\" are not complete", ""},
		{Split{ID: "solo", Name: "test"}, "s", ""},
		{Split{ID: "o/none", Name: "test"}, "404 Not Found (RepoNotFound)", "--data embedded, or --data DIR"},
		{Split{ID: "../o", Name: "test"}, "not the name", "owner/name"},
		{Split{ID: "o/own", Name: "train", Revision: "../../x"}, "not a revision", ""},
	}
	c := h.client(t)
	for _, tt := range tests {
		f, err := c.DataFiles(context.Background(), tt.split)
		var user *core.UserError
		switch {
		case err == nil:
			if got := text(t, f.Paths...); got != tt.want || tt.hint != "" {
				t.Errorf("%+v gives %q", tt.split, got)
			}
		case !errors.As(err, &user) || !strings.Contains(user.Error(), tt.want) || !strings.Contains(user.Hint, tt.hint) || user.Hint == "":
			t.Errorf("%+v: %v", tt.split, err)
		}
	}

	// The same again from the cache alone; what is not there is named.
	off, _ := New(h.hub.URL, c.Cache, "", true)
	h.hub.Close()
	for _, tt := range tests {
		f, err := off.DataFiles(context.Background(), tt.split)
		var user *core.UserError
		switch {
		case err == nil:
			if got := text(t, f.Paths...); got != tt.want {
				t.Errorf("offline, %+v gives %q", tt.split, got)
			}
		case !errors.As(err, &user) || user.Hint == "":
			t.Errorf("offline, %+v: %v", tt.split, err)
		}
	}
	empty, _ := New("", t.TempDir(), "", true)
	_, err := empty.DataFiles(context.Background(), Split{ID: "o/own", Name: "train"})
	var user *core.UserError
	if !errors.As(err, &user) || !strings.Contains(user.Hint, "HF_HUB_OFFLINE") || !strings.Contains(user.Hint, "--data embedded, or --data DIR") {
		t.Errorf("empty cache, offline: %v", err)
	}

	// Not switched off, but gone: the cached state stands in, with a note.
	c.Tries = 1
	var notes []string
	c.OnProgress = func(p Progress) { notes = append(notes, p.Note) }
	f, err := c.DataFiles(context.Background(), Split{ID: "o/own", Name: "validation"})
	if err != nil || text(t, f.Paths...) != "v0+v1" || !strings.Contains(strings.Join(notes, ""), "cannot be reached") {
		t.Errorf("hub gone: %v, notes %q", err, notes)
	}
	_, err = c.DataFiles(context.Background(), Split{ID: "o/other", Name: "validation"})
	if !errors.As(err, &user) || !strings.Contains(user.Hint, "check the network") || !strings.Contains(user.Hint, "--data embedded") {
		t.Errorf("hub gone, nothing cached: %v", err)
	}
}

func TestSnapshot(t *testing.T) {
	h := newFakeHub(t)
	h.add("models/o/m", "main", map[string]string{"config.json": "{}", "model.safetensors": strings.Repeat("w", 5000),
		"pytorch_model.bin": "unwanted", "consolidated.safetensors": "unwanted", "onnx/model.onnx": "unwanted", "original/tokenizer.model": "unwanted"})
	c := h.client(t)
	dir, err := c.Snapshot(context.Background(), Model, "o/m", "", ModelFiles)
	if err != nil {
		t.Fatal(err)
	}
	entries, _ := os.ReadDir(dir)
	if len(entries) != 2 || text(t, filepath.Join(dir, "config.json"), filepath.Join(dir, "model.safetensors")) != "{}+"+strings.Repeat("w", 5000) {
		t.Errorf("the folder holds %v", entries)
	}
	if dir, err = c.Snapshot(context.Background(), Model, "o/m", "", []string{"onnx/**"}); err != nil || text(t, filepath.Join(dir, "onnx/model.onnx")) != "unwanted" {
		t.Errorf("%v", err)
	}
	before := len(h.hits)
	off, _ := New(h.hub.URL, c.Cache, "", true)
	if _, err := off.Snapshot(context.Background(), Model, "o/m", "main", ModelFiles); err != nil {
		t.Error(err)
	}
	os.Remove(filepath.Join(dir, "config.json"))
	if _, err := off.Snapshot(context.Background(), Model, "o/m", "", ModelFiles); err == nil || !strings.Contains(err.Error(), "not in the cache") {
		t.Errorf("an incomplete folder was given: %v", err)
	}
	if len(h.hits) != before {
		t.Error("the network was used offline")
	}
	if _, err := c.Snapshot(context.Background(), Model, "o/m", "", []string{"*.gguf"}); err == nil || !strings.Contains(err.Error(), "no file matches") {
		t.Errorf("%v", err)
	}
}

// TestTrouble lets the servers misbehave; the file must come out right, or the
// error must say what happened, without secrets.
func TestTrouble(t *testing.T) {
	content := strings.Repeat("0123456789abcdef", 20000)
	part := func(w http.ResponseWriter, r *http.Request, n int) { // sends half and breaks off
		w.Header().Set("Content-Length", strconv.Itoa(len(content)))
		w.Write([]byte(content[:len(content)/2]))
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	isFile := func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, ".parquet") && r.URL.RawQuery != "" }
	tests := []struct {
		name    string
		trouble func(w http.ResponseWriter, r *http.Request, n int) bool
		wrong   string // part of the error; empty means that it succeeds
	}{
		{"cut, then resumed", func(w http.ResponseWriter, r *http.Request, n int) bool {
			if isFile(r) && n == 1 {
				part(w, r, n)
			}
			if isFile(r) && n == 2 && r.Header.Get("Range") != fmt.Sprintf("bytes=%d-", len(content)/2) {
				t.Errorf("the second try asks for the range %q", r.Header.Get("Range"))
			}
			return false
		}, ""},
		{"cut, ranges ignored", func(w http.ResponseWriter, r *http.Request, n int) bool {
			if isFile(r) && n == 1 {
				part(w, r, n)
			}
			r.Header.Del("Range")
			return false
		}, ""},
		{"wrong content once", func(w http.ResponseWriter, r *http.Request, n int) bool {
			if isFile(r) && n == 1 {
				w.Write([]byte(strings.Repeat("x", len(content))))
				return true
			}
			return false
		}, ""},
		{"too long once", func(w http.ResponseWriter, r *http.Request, n int) bool {
			if isFile(r) && n == 1 {
				w.Write([]byte(content + "more"))
				return true
			}
			return false
		}, ""},
		{"busy, then fine", func(w http.ResponseWriter, r *http.Request, n int) bool {
			if n <= 2 {
				w.Header().Set("Retry-After", "0")
				w.WriteHeader([]int{503, 429}[n-1])
				return true
			}
			return false
		}, ""},
		{"hangs once", func(w http.ResponseWriter, r *http.Request, n int) bool {
			if isFile(r) && n == 1 {
				w.Write([]byte(content[:100]))
				w.(http.Flusher).Flush()
				select {
				case <-r.Context().Done():
				case <-time.After(5 * time.Second):
				}
				return true
			}
			return false
		}, ""},
		{"always wrong content", func(w http.ResponseWriter, r *http.Request, n int) bool {
			if isFile(r) {
				w.Write([]byte(strings.Repeat("x", len(content))))
				return true
			}
			return false
		}, "differs from the hash"},
		{"always cut", func(w http.ResponseWriter, r *http.Request, n int) bool {
			if isFile(r) {
				w.Header().Set("Content-Length", "10")
				w.Write([]byte(""))
				panic(http.ErrAbortHandler)
			}
			return false
		}, "EOF"},
		{"gated", func(w http.ResponseWriter, r *http.Request, n int) bool {
			w.Header().Set("X-Error-Code", "GatedRepo")
			w.WriteHeader(403)
			return true
		}, "403 Forbidden (GatedRepo)"},
		{"html", func(w http.ResponseWriter, r *http.Request, n int) bool {
			fmt.Fprint(w, "<html>login</html>")
			return true
		}, "not the JSON of a hub"},
		{"next page elsewhere", func(w http.ResponseWriter, r *http.Request, n int) bool {
			if strings.Contains(r.URL.Path, "/tree/") {
				w.Header().Set("Link", `<http://127.0.0.1:1/steal>; rel="next"`)
				fmt.Fprint(w, "[]")
				return true
			}
			return false
		}, "another server"},
		{"path out of the folder", func(w http.ResponseWriter, r *http.Request, n int) bool {
			if strings.Contains(r.URL.Path, "/tree/") {
				fmt.Fprintf(w, `[{"type":"file","oid":%q,"size":1,"path":"../../../x.parquet"}]`, gitHash("x"))
				return true
			}
			return false
		}, "no path within a folder"},
		{"commit that is none", func(w http.ResponseWriter, r *http.Request, n int) bool {
			if strings.Contains(r.URL.Path, "/revision/") {
				fmt.Fprint(w, `{"sha": "../../x"}`)
				return true
			}
			return false
		}, "named no commit"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := newFakeHub(t)
			h.add("datasets/o/d", "main", map[string]string{"data/test-00000-of-00001.parquet": content})
			h.trouble = tt.trouble
			c := h.client(t)
			c.Stall = 150 * time.Millisecond
			var last Progress
			c.OnProgress = func(p Progress) { last = p }
			f, err := c.DataFiles(context.Background(), Split{ID: "o/d", Name: "test"})
			if tt.wrong == "" {
				if err != nil {
					t.Fatal(err)
				}
				if text(t, f.Paths...) != content || last.Done != int64(len(content)) || last.Total != last.Done {
					t.Errorf("the file or the progress is wrong: %+v", last)
				}
				left, _ := filepath.Glob(filepath.Join(c.Cache, "*", "blobs", "*.incomplete"))
				if len(left) > 0 {
					t.Errorf("left behind: %v", left)
				}
				return
			}
			var user *core.UserError
			if !errors.As(err, &user) || !strings.Contains(user.Error(), tt.wrong) || !strings.Contains(user.Hint, "--data embedded") {
				t.Fatalf("got %v", err)
			}
			for _, word := range []string{secret, "alsoSecret", "Bearer", "http://"} {
				if strings.Contains(user.Error()+user.Hint, word) {
					t.Errorf("the error holds %q: %v", word, err)
				}
			}
			if found, _ := filepath.Glob(filepath.Join(c.Cache, "*", "snapshots", "*", "*", "*")); len(found) > 0 {
				t.Errorf("a file got its name all the same: %v", found)
			}
		})
	}
}

// TestConcurrent fetches the same files from several clients at once, as several
// processes would: locks are held by open files, not by processes.
func TestConcurrent(t *testing.T) {
	h := newFakeHub(t)
	files := make(map[string]string)
	for i := range 6 {
		files[fmt.Sprintf("data/test-%05d-of-00006.parquet", i)] = strings.Repeat(strconv.Itoa(i), 300000)
	}
	h.add("datasets/o/d", "main", files)
	first := h.client(t)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			c := h.client(t)
			c.Cache = first.Cache
			f, err := c.DataFiles(context.Background(), Split{ID: "o/d", Name: "test"})
			if err != nil || len(f.Paths) != 6 {
				t.Errorf("%d files, %v", len(f.Paths), err)
			}
		})
	}
	all.Wait()
	for path, n := range h.hits {
		if strings.HasSuffix(path, ".parquet") && n != 1 {
			t.Errorf("%s was asked for %d times", path, n)
		}
	}
}

// TestNoNetwork bounds the time until a user without network hears so.
func TestNoNetwork(t *testing.T) {
	c, err := New("http://127.0.0.1:1", t.TempDir(), secret, false)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	_, err = c.DataFiles(context.Background(), Split{ID: "o/d", Name: "test"})
	var user *core.UserError
	if !errors.As(err, &user) || !strings.Contains(user.Hint, "--data embedded, or --data DIR") || time.Since(start) > 3*time.Second {
		t.Errorf("%v after %v", err, time.Since(start))
	}
}

func TestCancel(t *testing.T) {
	h := newFakeHub(t)
	h.add("datasets/o/d", "main", map[string]string{"test.jsonl": "{}"})
	stop := make(chan struct{})
	h.trouble = func(w http.ResponseWriter, r *http.Request, n int) bool {
		<-stop
		return false
	}
	defer close(stop)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err := h.client(t).DataFiles(ctx, Split{ID: "o/d", Name: "test"})
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > 2*time.Second {
		t.Errorf("%v after %v", err, time.Since(start))
	}
}

func TestEnvironment(t *testing.T) {
	home := t.TempDir()
	os.WriteFile(filepath.Join(home, "token"), []byte("hf_fromFile\n"), 0o600)
	for _, name := range []string{"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH", "HF_HUB_OFFLINE",
		"TRANSFORMERS_OFFLINE", "HF_ENDPOINT", "HF_HUB_DISABLE_IMPLICIT_TOKEN"} {
		t.Setenv(name, "")
	}
	t.Setenv("HF_HOME", home)
	c, err := FromEnvironment()
	if err != nil || c.Cache != filepath.Join(home, "hub") || c.token != "hf_fromFile" || c.Offline || c.Endpoint != "https://huggingface.co" {
		t.Errorf("%+v, %v", c, err)
	}
	t.Setenv("HF_TOKEN", "hf_direct")
	t.Setenv("HF_HUB_CACHE", "/elsewhere")
	t.Setenv("HF_HUB_OFFLINE", "1")
	t.Setenv("HF_ENDPOINT", "https://mirror.example/")
	c, err = FromEnvironment()
	if err != nil || c.Cache != "/elsewhere" || c.token != "hf_direct" || !c.Offline || c.Endpoint != "https://mirror.example" {
		t.Errorf("%+v, %v", c, err)
	}
	for _, bad := range []string{"mirror", "ftp://x", "https://user:password@x"} {
		if _, err := New(bad, "", "", false); err == nil || strings.Contains(err.Error(), "password") {
			t.Errorf("endpoint %s: %v", bad, err)
		}
	}
	if _, err := New("", "", "hf_a\nX-Header: b", false); err == nil || strings.Contains(err.Error(), "hf_a") {
		t.Errorf("token with a line end: %v", err)
	}
}

func TestNatural(t *testing.T) {
	names := []string{"a/10", "a/9", "a/0100", "b", "a/9b", "a"}
	slices.SortFunc(names, natural)
	if got := strings.Join(names, " "); got != "a a/9 a/9b a/10 a/0100 b" {
		t.Error(got)
	}
}

// FuzzAPI feeds the answers of a hub to everything that reads them.
func FuzzAPI(f *testing.F) {
	f.Add(`[{"type":"file","oid":"`+strings.Repeat("a", 40)+`","size":3,"path":"data/test-00000-of-00001.parquet","lfs":{"oid":"`+strings.Repeat("b", 64)+`","size":3}}]`, `<https://x/y?c=1>; rel="next"`, "test")
	f.Add(`[{"type":"file","oid":"","path":"../x"}]`, `<x>; rel=prev, <y>; rel=next`, "")
	f.Add(`{"format_version": 1, "files": {"a/b.parquet": {"size": 1, "blob_id": "`+strings.Repeat("0", 40)+`"}}}`, ``, "b")
	f.Fuzz(func(t *testing.T, answer, link, split string) {
		nextPage(link)
		var entries []treeEntry
		tree := make(Tree)
		if json.Unmarshal([]byte(answer), &entries) == nil && tree.add(entries) != nil {
			tree = nil
		}
		for _, tr := range []Tree{tree, parseTree([]byte(answer))} {
			for name, f := range tr {
				if !filepath.IsLocal(filepath.FromSlash(name)) || !hashForm.MatchString(f.Hash()) || f.size() < 0 {
					t.Fatalf("%q: %+v was accepted", name, f)
				}
			}
			names, err := pick(tr.Paths(), "", split, false)
			if err == nil && len(names) == 0 {
				t.Fatal("no files and no error")
			}
		}
	})
}

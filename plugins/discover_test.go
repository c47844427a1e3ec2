package plugins

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

func TestFolders(t *testing.T) {
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("EVALRUN_PLUGINS", "/a:mine::/a/")
	t.Setenv("XDG_CONFIG_HOME", "/cfg")
	t.Setenv("HOME", "/home/x")
	t.Setenv("PATH", "/bin:.:bin::/a:/usr/bin")
	want := []string{"/a", filepath.Join(here, "mine"), "/cfg/evalrun/plugins", "/bin", "/usr/bin"}
	if got := Folders(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestList(t *testing.T) {
	first, second := t.TempDir(), t.TempDir()
	for path, mode := range map[string]os.FileMode{
		first + "/evalrun-backend-b":       0o755,
		first + "/evalrun-metric-m":        0o755,
		first + "/evalrun-backend-plain":   0o644,
		first + "/evalrun-backend-":        0o755,
		first + "/evalrun-backend-Upper":   0o755,
		first + "/evalrun-thing-x":         0o755,
		first + "/evalrun":                 0o755,
		second + "/evalrun-backend-b":      0o755,
		second + "/evalrun-backend-a-b.c1": 0o755,
		second + "/evalrun-backend-local":  0o755,
	} {
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"), mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(first+"/evalrun-backend-folder", 0o755); err != nil {
		t.Fatal(err)
	}
	h := NewHost(HostOptions{Backends: []string{"local", "echo"}, Dirs: []string{first, "/nowhere", second}})
	want := []Found{
		{Kind: KindBackend, Name: "echo", Builtin: true},
		{Kind: KindBackend, Name: "local", Builtin: true},
		{Kind: KindBackend, Name: "a-b.c1", Path: second + "/evalrun-backend-a-b.c1"},
		{Kind: KindBackend, Name: "b", Path: first + "/evalrun-backend-b"},
		{Kind: KindMetric, Name: "m", Path: first + "/evalrun-metric-m"},
	}
	if got := h.List(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}

func TestPasses(t *testing.T) {
	for name, want := range map[string]bool{
		"PATH": true, "HF_HOME": true, "HF_TOKEN": false, "HF_TOKEN_PATH": true, "HF_HUB_DISABLE_IMPLICIT_TOKEN": true,
		"OPENAI_API_KEY": false, "OPENAI_BASE_URL": false, "AWS_SECRET_ACCESS_KEY": false, "EVALRUN_PLUGINS": true,
		"EVALRUN_API_KEY": false, "EVALRUN_PLUGIN": false, "https_proxy": true, "SSL_CERT_FILE": true, "PGPASSWORD": false,
		"EVALRUN_PLUGIN_LIFELINE": false, "XDG_CACHE_HOME": true, "LC_ALL": true, "RANDOM_VARIABLE": false,
	} {
		if got := passes(name); got != want {
			t.Errorf("%s passes: %v, want %v", name, got, want)
		}
	}
}

func FuzzParseName(f *testing.F) {
	for _, s := range []string{"evalrun-backend-hello", "evalrun-metric-x.exe", "evalrun-backend--", "evalrun-", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, file string) {
		kind, name, ok := parseName(file)
		if ok && "evalrun-"+kind+"-"+name != file {
			t.Errorf("%q was read as %q %q", file, kind, name)
		}
	})
}

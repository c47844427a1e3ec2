package plugins

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// Found is a plugin that can be named.
type Found struct {
	Kind, Name string
	// Path is the file; empty for a built-in.
	Path    string
	Builtin bool
}

// Folders lists the folders in which external plugins are looked for, in
// order: those of $EVALRUN_PLUGINS, evalrun/plugins in the user's configuration
// folder, then PATH. Relative entries of PATH are left out: a plugin must not
// appear because of the folder one happens to stand in.
func Folders() []string {
	var out []string
	add := func(dir string) {
		if filepath.IsAbs(dir) && !slices.Contains(out, filepath.Clean(dir)) {
			out = append(out, filepath.Clean(dir))
		}
	}
	for _, dir := range filepath.SplitList(os.Getenv("EVALRUN_PLUGINS")) {
		if dir == "" {
			continue
		}
		if abs, err := filepath.Abs(dir); err == nil {
			add(abs)
		}
	}
	if dir, err := os.UserConfigDir(); err == nil {
		add(filepath.Join(dir, "evalrun", "plugins"))
	}
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		add(dir)
	}
	return out
}

// parseName reads evalrun-KIND-NAME (with .exe on Windows).
func parseName(file string) (kind, name string, ok bool) {
	if runtime.GOOS == "windows" {
		cut, found := strings.CutSuffix(strings.ToLower(file), ".exe")
		if !found {
			return "", "", false
		}
		file = cut
	}
	rest, ok := strings.CutPrefix(file, "evalrun-")
	if !ok {
		return "", "", false
	}
	kind, name, ok = strings.Cut(rest, "-")
	if !ok || (kind != KindBackend && kind != KindMetric) || !validName(name) {
		return "", "", false
	}
	return kind, name, true
}

// validName: what can be typed after --backend and stand in a file name.
func validName(name string) bool {
	for i, c := range name {
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
		case i > 0 && (c == '-' || c == '_' || c == '.'):
		default:
			return false
		}
	}
	return name != ""
}

// scan lists the plugins in the folders; the first of a name wins.
func scan(dirs []string) []Found {
	var out []Found
	seen := map[[2]string]bool{}
	for _, dir := range dirs {
		// A folder of PATH that cannot be read is as good as empty.
		entries, _ := os.ReadDir(dir)
		for _, entry := range entries {
			kind, name, ok := parseName(entry.Name())
			if !ok || seen[[2]string{kind, name}] {
				continue
			}
			path := filepath.Join(dir, entry.Name())
			if !executable(path) {
				continue
			}
			seen[[2]string{kind, name}] = true
			out = append(out, Found{Kind: kind, Name: name, Path: path})
		}
	}
	return out
}

func executable(path string) bool {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() {
		return false
	}
	return runtime.GOOS == "windows" || info.Mode()&0o111 != 0
}

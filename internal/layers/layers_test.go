// Package layers holds the house to its import table: the table in
// ARCHITECTURE.md is parsed, and every import between our packages must be in
// it.
package layers

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/evalrun/evalrun"

// root of the repository, from this package's folder.
const root = "../.."

type rule struct {
	pattern string
	allowed []string
}

// table reads the rows between the import-table marks of ARCHITECTURE.md.
func table(t *testing.T) []rule {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, "ARCHITECTURE.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(b), "<!-- import table -->")
	body, _, ok2 := strings.Cut(rest, "<!-- end of import table -->")
	if !ok || !ok2 {
		t.Fatal("ARCHITECTURE.md has no import table between its marks")
	}
	var rules []rule
	for _, line := range strings.Split(body, "\n") {
		cells := strings.Split(line, "|")
		if len(cells) < 4 || !strings.Contains(cells[1], "`") {
			continue
		}
		r := rule{pattern: strings.Trim(strings.TrimSpace(cells[1]), "`")}
		for _, a := range strings.Split(cells[2], ",") {
			if a = strings.Trim(strings.TrimSpace(a), "`"); a != "" && a != "–" {
				r.allowed = append(r.allowed, a)
			}
		}
		rules = append(rules, r)
	}
	if len(rules) < 10 {
		t.Fatalf("the import table has %d rows; was its form changed?", len(rules))
	}
	return rules
}

// matches tells whether a package (path below the module, "." for main) is
// meant by a pattern: a path, or a path with /... for it and all below.
func matches(pattern, pkg string) bool {
	if prefix, ok := strings.CutSuffix(pattern, "/..."); ok {
		return pkg == prefix || strings.HasPrefix(pkg, prefix+"/")
	}
	return pattern == pkg
}

// ruleFor finds the most particular row: an exact one, else the longest prefix.
func ruleFor(rules []rule, pkg string) *rule {
	var best *rule
	for i, r := range rules {
		if !matches(r.pattern, pkg) {
			continue
		}
		if best == nil || r.pattern == pkg || (best.pattern != pkg && len(r.pattern) > len(best.pattern)) {
			best = &rules[i]
		}
	}
	return best
}

func TestImportsFollowTheTable(t *testing.T) {
	rules := table(t)
	used := map[string]bool{}
	packages := 0
	seen := map[string]bool{}
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, p)
		rel = filepath.ToSlash(rel)
		if d.IsDir() {
			if rel != "." {
				if _, err := os.Stat(filepath.Join(p, "go.mod")); err == nil {
					return filepath.SkipDir // a module of its own
				}
			}
			if name := d.Name(); rel != "." && (strings.HasPrefix(name, ".") || name == "testdata" || name == "runs") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(p, ".go") || strings.HasSuffix(p, "_test.go") {
			return nil
		}
		pkg := path.Dir(rel)
		file, err := parser.ParseFile(token.NewFileSet(), p, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		r := ruleFor(rules, pkg)
		if r == nil {
			t.Errorf("%s: no row of the import table speaks of package %s", rel, pkg)
			return nil
		}
		if !seen[pkg] {
			seen[pkg] = true
			packages++
		}
		used[r.pattern] = true
		for _, imp := range file.Imports {
			name, _ := strconv.Unquote(imp.Path.Value)
			if pkg == "core" && strings.Contains(strings.Split(name, "/")[0], ".") {
				t.Errorf("%s imports %s; package core keeps to the standard library", rel, name)
			}
			ours, ok := strings.CutPrefix(name, module+"/")
			if !ok {
				continue
			}
			if !allowed(r, ours) {
				t.Errorf("%s imports %s; the table allows %s only: %s", rel, ours, r.pattern, strings.Join(r.allowed, ", "))
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if packages < 10 {
		t.Fatalf("only %d packages were seen", packages)
	}
	for _, r := range rules {
		if !used[r.pattern] {
			t.Errorf("the table's row %s matches no package", r.pattern)
		}
	}
}

func allowed(r *rule, imported string) bool {
	for _, a := range r.allowed {
		if matches(a, imported) {
			return true
		}
	}
	return false
}

func TestRuleFor(t *testing.T) {
	rules := []rule{{pattern: "core"}, {pattern: "core/..."}, {pattern: "backends/..."}, {pattern: "backends/local"}, {pattern: "backends/local/..."}}
	for _, tt := range []struct{ pkg, want string }{
		{"core", "core"}, {"core/text", "core/..."}, {"backends/echo", "backends/..."},
		{"backends/local", "backends/local"}, {"backends/local/nn", "backends/local/..."},
	} {
		if r := ruleFor(rules, tt.pkg); r == nil || r.pattern != tt.want {
			t.Errorf("%s: %v, want %s", tt.pkg, r, tt.want)
		}
	}
}

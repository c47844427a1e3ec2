package layers

import (
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// link matches a Markdown link or image; what is in code is taken out before.
var (
	link = regexp.MustCompile(`\]\(<?([^()\s>]+)>?(?:\s+"[^"]*")?\)`)
	code = regexp.MustCompile("(?s)```.*?```|`[^`\n]*`")
	head = regexp.MustCompile(`(?m)^#{1,6} +(.+?) *$`)
	sign = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// anchors are the names by which a page's headings are linked to.
func anchors(page string) map[string]bool {
	names := map[string]bool{}
	for _, m := range head.FindAllStringSubmatch(page, -1) {
		names[strings.ReplaceAll(sign.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-")] = true
	}
	return names
}

// TestLinks follows every relative link of every page: the file is there, and
// the heading, where one is named.
func TestLinks(t *testing.T) {
	followed := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != root && strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "runs" {
			return fs.SkipDir
		}
		if d.IsDir() || filepath.Ext(path) != ".md" {
			return nil
		}
		page, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, m := range link.FindAllStringSubmatch(code.ReplaceAllString(string(page), ""), -1) {
			u, err := url.Parse(m[1])
			if err != nil {
				t.Errorf("%s: link %s: %v", path, m[1], err)
				continue
			}
			if u.Scheme != "" || u.Host != "" {
				continue
			}
			followed++
			target := path
			if u.Path != "" {
				target = filepath.Join(filepath.Dir(path), filepath.FromSlash(u.Path))
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: link %s leads to nothing", path, m[1])
				continue
			}
			if u.Fragment == "" || filepath.Ext(target) != ".md" {
				continue
			}
			there, err := os.ReadFile(target)
			if err != nil {
				return err
			}
			if !anchors(string(there))[u.Fragment] {
				t.Errorf("%s: link %s: %s has no such heading", path, m[1], target)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if followed < 10 {
		t.Errorf("%d links followed; does the search still work?", followed)
	}
}

// TestIndex holds docs/README.md to name every page.
func TestIndex(t *testing.T) {
	index, err := os.ReadFile(filepath.Join(root, "docs", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(filepath.Join(root, "docs"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == "README.md" {
			return err
		}
		name, err := filepath.Rel(filepath.Join(root, "docs"), path)
		if err != nil {
			return err
		}
		if !strings.Contains(string(index), "("+filepath.ToSlash(name)+")") {
			t.Errorf("docs/README.md does not lead to %s", name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

package cli

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// repository is its root, from this package's folder.
const repository = "../.."

// TestEveryFlagIsDocumented looks for each flag in docs/cli.md, and for those of
// windows in docs/debug.md.
func TestEveryFlagIsDocumented(t *testing.T) {
	read := func(name string) string {
		b, err := os.ReadFile(filepath.Join(repository, "docs", name))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	files := map[bool]string{false: "cli.md", true: "debug.md"}
	texts := map[bool]string{false: read("cli.md"), true: read("debug.md")}
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		c.InitDefaultHelpFlag()
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if f.Hidden || f.Name == "help" {
				return
			}
			if !regexp.MustCompile(`--` + f.Name + `\b`).MatchString(texts[window(c)]) {
				t.Errorf("%s --%s is not in docs/%s", c.CommandPath(), f.Name, files[window(c)])
			}
		})
		for _, sub := range c.Commands() {
			if !sub.Hidden && sub.Name() != "completion" {
				walk(sub)
			}
		}
	}
	walk(newRoot())
}

var (
	mdLink  = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	mdTitle = regexp.MustCompile(`(?m)^#+ +(.*)$`)
	notSlug = regexp.MustCompile("[^\\p{L}\\p{N}_ -]")
)

// TestDocumentsLinkToWhatIsThere follows the relative links between documents,
// to files and to headings.
func TestDocumentsLinkToWhatIsThere(t *testing.T) {
	var documents []string
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/*/*.md", "internal/demogen/*.md"} {
		found, err := filepath.Glob(filepath.Join(repository, pattern))
		if err != nil {
			t.Fatal(err)
		}
		documents = append(documents, found...)
	}
	if len(documents) < 15 {
		t.Fatalf("only %d documents", len(documents))
	}
	for _, document := range documents {
		b, err := os.ReadFile(document)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range mdLink.FindAllStringSubmatch(string(b), -1) {
			target, heading, _ := strings.Cut(m[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			file := document
			if target != "" {
				file = filepath.Join(filepath.Dir(document), filepath.FromSlash(target))
			}
			text, err := os.ReadFile(file)
			if info, serr := os.Stat(file); serr != nil || err != nil && !info.IsDir() {
				t.Errorf("%s links to %s, which is not there", document, m[1])
				continue
			}
			if heading != "" && !hasHeading(string(text), heading) {
				t.Errorf("%s links to %s, and there is no such heading", document, m[1])
			}
		}
	}
}

// hasHeading tells whether a document has a heading under this anchor, made of
// it as GitHub does.
func hasHeading(text, anchor string) bool {
	for _, m := range mdTitle.FindAllStringSubmatch(text, -1) {
		slug := strings.ReplaceAll(notSlug.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-")
		if slug == anchor {
			return true
		}
	}
	return false
}

package tasks

import (
	"encoding/json"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"github.com/evalrun/evalrun/core"
)

// tables decodes a file that has every key, and gives the names (true where
// required) of each table of keys by its path, with NAME for a family and no
// number for a step.
func tables(t *testing.T) map[string]map[string]bool {
	t.Helper()
	src, err := os.ReadFile("testdata/good/everything.yaml")
	if err != nil {
		t.Fatal(err)
	}
	root, problem := document("everything.yaml", src)
	if problem != nil {
		t.Fatal(problem)
	}
	step := regexp.MustCompile(`^extract\.\d+$`)
	family := regexp.MustCompile(`^chat\.families\.\w+$`)
	out := map[string]map[string]bool{}
	d := &decoder{file: "everything.yaml", places: map[string]*yaml.Node{}, table: func(path string, fields []field) {
		path = family.ReplaceAllString(step.ReplaceAllString(path, "extract"), "chat.families.NAME")
		names := map[string]bool{}
		for _, f := range fields {
			names[f.name] = f.required
		}
		if before, ok := out[path]; ok && !maps.Equal(before, names) {
			t.Errorf("%s has two tables", path)
		}
		out[path] = names
	}}
	d.task(root, &core.Task{})
	if len(d.problems) > 0 {
		t.Fatal(d.problems)
	}
	return out
}

// schema is the part of JSON Schema that docs/task.schema.json uses.
type schema struct {
	Ref         string             `json:"$ref"`
	Description string             `json:"description"`
	Defs        map[string]*schema `json:"$defs"`
	Properties  map[string]*schema `json:"properties"`
	Additional  json.RawMessage    `json:"additionalProperties"`
	Required    []string           `json:"required"`
	OneOf       []*schema          `json:"oneOf"`
	Items       *schema            `json:"items"`
}

// at follows a path of keys from s to the schema of a mapping.
func (s *schema) at(t *testing.T, top *schema, path string) *schema {
	t.Helper()
	if path != "" {
		for _, key := range strings.Split(path, ".") {
			s = s.mapping(t, top)
			if key == "NAME" {
				var more schema
				if err := json.Unmarshal(s.Additional, &more); err != nil {
					t.Fatal(err)
				}
				s = &more
				continue
			}
			next := s.Properties[key]
			if next == nil {
				t.Fatalf("the schema has no %s (of %s)", key, path)
			}
			s = next
		}
	}
	return s.mapping(t, top)
}

// mapping resolves references and takes the mapping among alternatives.
func (s *schema) mapping(t *testing.T, top *schema) *schema {
	t.Helper()
	for {
		switch {
		case s.Ref != "":
			s = top.Defs[strings.TrimPrefix(s.Ref, "#/$defs/")]
		case s.Items != nil:
			s = s.Items
		case s.OneOf != nil:
			s = s.OneOf[slices.IndexFunc(s.OneOf, func(o *schema) bool {
				return o.Properties != nil || strings.HasSuffix(o.Ref, "/dataset") || strings.HasSuffix(o.Ref, "/steps")
			})]
		default:
			return s
		}
	}
}

// TestSchemaHasTheSameKeys holds docs/task.schema.json, which editors use,
// against the tables that decode files.
func TestSchemaHasTheSameKeys(t *testing.T) {
	b, err := os.ReadFile("../docs/task.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	top := &schema{}
	if err := json.Unmarshal(b, top); err != nil {
		t.Fatal(err)
	}
	all := tables(t)
	if len(all) != 9 {
		t.Errorf("%d tables of keys: %q", len(all), slices.Sorted(maps.Keys(all)))
	}
	for path, names := range all {
		s := top.at(t, top, path)
		if got, want := slices.Sorted(maps.Keys(s.Properties)), slices.Sorted(maps.Keys(names)); !slices.Equal(got, want) {
			t.Errorf("%s: the schema has the keys %q, the decoder %q", pathName(path), got, want)
		}
		for name, required := range names {
			if slices.Contains(s.Required, name) != required {
				t.Errorf("%s: decoder and schema disagree whether %s is required", pathName(path), name)
			}
		}
		if string(s.Additional) != "false" {
			t.Errorf("%s: the schema allows further keys", pathName(path))
		}
		for name, p := range s.Properties {
			if p.Ref == "" && p.Description == "" {
				t.Errorf("%s: the schema does not describe %s", pathName(path), name)
			}
		}
	}
}

// TestDocumentationNamesEveryKey holds docs/tasks.md against the same tables.
func TestDocumentationNamesEveryKey(t *testing.T) {
	b, err := os.ReadFile("../docs/tasks.md")
	if err != nil {
		t.Fatal(err)
	}
	for path, names := range tables(t) {
		for name := range names {
			if key := join(path, name); !strings.Contains(string(b), "`"+key+"`") && !strings.Contains(string(b), "### "+key+"\n") &&
				!(path == "dataset" && name == "local") {
				t.Errorf("docs/tasks.md does not explain %s", key)
			}
		}
	}
}

// TestDocumentationExamples decodes the pieces of YAML in docs/tasks.md, each
// put into a task that has all else.
func TestDocumentationExamples(t *testing.T) {
	b, err := os.ReadFile("../docs/tasks.md")
	if err != nil {
		t.Fatal(err)
	}
	pieces := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(b), -1)
	if len(pieces) < 6 {
		t.Fatalf("%d examples", len(pieces))
	}
	for i, p := range pieces {
		src := p[1]
		var keys map[string]any
		if err := yaml.Unmarshal([]byte(src), &keys); err != nil {
			t.Errorf("example %d: %v", i+1, err)
			continue
		}
		whole := keys["task"] != nil
		for _, line := range strings.Split(strings.TrimSpace(head), "\n") {
			if key, _, _ := strings.Cut(line, ":"); keys[key] == nil && !whole {
				src += line + "\n"
			}
		}
		if _, err := Parse("example "+strconv.Itoa(i+1), []byte(src), Options{}); err != nil {
			t.Errorf("%v\n%s", err, src)
		}
		if n := strings.Count(strings.TrimSpace(p[1]), "\n") + 1; i == 0 && n > 15 {
			t.Errorf("the first example has %d lines", n)
		}
	}
}

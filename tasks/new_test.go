package tasks

import (
	"strings"
	"testing"
)

func TestNewLoads(t *testing.T) {
	for _, name := range []string{"sentiment", "12", "1e3", "true", "a.b-c", "null", "0x1F", "yes"} {
		s, err := New(name)
		if err != nil {
			t.Fatal(err)
		}
		f, err := Parse(name+".yaml", s.YAML, Options{Metrics: known})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if len(f.Warnings) > 0 {
			t.Errorf("%s: %v", name, f.Warnings)
		}
		if f.Task.Name != name || f.Task.Dataset.Source != s.RowsName {
			t.Errorf("%s: task %q, source %q", name, f.Task.Name, f.Task.Dataset.Source)
		}
		if strings.Count(string(s.YAML), "#") < 20 {
			t.Errorf("%s: hardly a comment", name)
		}
	}
	for _, name := range []string{"", "a/b", "../x", "a b", ".hidden", "-x"} {
		if _, err := New(name); err == nil {
			t.Errorf("New(%q) gives a file", name)
		}
	}
}

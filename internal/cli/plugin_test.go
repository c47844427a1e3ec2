package cli

import (
	"slices"
	"testing"

	"github.com/evalrun/evalrun/plugins"
)

// A plugin gets what begins with its name; what belongs to a backend of the
// house or to another plugin it does not.
func TestOwnVariables(t *testing.T) {
	for _, v := range []string{"OPENAI_API_KEY", "OPENAI_ORG", "ACME_API_KEY", "ACMES_API_KEY", "ACME_EU_TOKEN"} {
		t.Setenv(v, "x")
	}
	for _, c := range []struct {
		kind, name string
		want       []string
	}{
		{plugins.KindBackend, "acme", []string{"ACME_API_KEY=x", "ACME_EU_TOKEN=x"}},
		{plugins.KindBackend, "acme-eu", []string{"ACME_EU_TOKEN=x"}},
		{plugins.KindMetric, "acme", []string{"ACME_API_KEY=x", "ACME_EU_TOKEN=x"}},
		{plugins.KindBackend, "openai", []string{"OPENAI_API_KEY=x"}},
		{plugins.KindMetric, "openai", nil},
		{plugins.KindBackend, "local", nil},
		{plugins.KindBackend, "other", nil},
	} {
		got := ownVariables(c.kind, c.name)
		got = slices.DeleteFunc(got, func(v string) bool { return v == "OPENAI_BASE_URL=" })
		slices.Sort(got)
		if !slices.Equal(got, c.want) {
			t.Errorf("%s %s: %q, want %q", c.kind, c.name, got, c.want)
		}
	}
}

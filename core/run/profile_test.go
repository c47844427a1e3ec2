package run

import (
	"strings"
	"testing"

	"github.com/evalrun/evalrun/core"
)

// The published evaluator's prompts lose their end, the strict ones nothing.
func TestProfilesSend(t *testing.T) {
	task := &core.Task{Name: "t", Prompt: "{text}\n### Label:", Target: "y",
		Generation: core.Generation{MaxTokens: 9, Temperature: 0.5, Stop: []string{"\n"}},
		Extract:    []core.Step{{Op: "regex", Pattern: "a"}}}
	for _, c := range []struct {
		profile core.Profile
		row     string
		prompt  string
		cut     int
	}{
		{core.Strict, strings.Repeat("é", 2000), strings.Repeat("é", 2000) + "\n### Label:", 0},
		{core.Bakeoff, strings.Repeat("é", 2000), strings.Repeat("é", 1500), 511},
		{core.Bakeoff, strings.Repeat("é", 1489), strings.Repeat("é", 1489) + "\n### Label:", 0},
		{core.Bakeoff, strings.Repeat("é", 1490), strings.Repeat("é", 1490) + "\n### Label", 1},
		{core.Bakeoff, "short", "short\n### Label:", 0},
	} {
		j := &Job{Task: task, Profile: c.profile}
		s, err := j.Sample(0, Row{ID: "1", Fields: map[string]any{"text": c.row, "y": "1"}})
		if err != nil {
			t.Fatal(err)
		}
		if s.Prompt != c.prompt || s.Cut != c.cut {
			t.Errorf("%s: a row of %d gives a prompt of %d, cut %d", c.profile, len(c.row), len(s.Prompt), s.Cut)
		}
		req, err := j.Request(s, 0)
		if err != nil {
			t.Fatal(err)
		}
		g := req.Generation
		if c.profile == core.Bakeoff && (g.MaxTokens != 256 || g.Temperature != 0 || g.Stop != nil || req.Until != nil) {
			t.Errorf("bakeoff sends %+v, until %v", g, req.Until)
		}
		if c.profile == core.Strict && (g.MaxTokens != 9 || len(g.Stop) != 1 || req.Until == nil) {
			t.Errorf("strict sends %+v, until %v", g, req.Until)
		}
	}
	if p := Profiles(core.Bakeoff); p[0] != core.Bakeoff || p[1] != core.Strict {
		t.Error(p)
	}
}

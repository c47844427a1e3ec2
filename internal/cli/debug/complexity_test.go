package debug

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestComplexity(t *testing.T) {
	run := func(in string) (map[string]any, error) {
		cmd := newComplexity()
		var out strings.Builder
		cmd.SetIn(strings.NewReader(in))
		cmd.SetOut(&out)
		cmd.SilenceUsage, cmd.SilenceErrors = true, true
		cmd.SetArgs(nil)
		if err := cmd.Execute(); err != nil {
			return nil, err
		}
		var got map[string]any
		return got, json.Unmarshal([]byte(out.String()), &got)
	}
	got, err := run("{\"input\":\"What is the capital of France?\",\"output\":\"Paris\"}\n\n{\"input\":\"b b\",\"output\":\"b\"}\n")
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 14 || got["rows"] != 2.0 {
		t.Errorf("%v", got)
	}
	for key, want := range map[string]float64{"input_characters": 30, "output_words": 1, "input_cl100k": 7, "example_characters": 35, "io_rougeL_fmeasure": 2.0 / 3, "example_zlib6_ratio": 12.0 / 4} {
		s, ok := got[key].(map[string]any)
		if !ok || len(s) != 6 || !alike(s["max"], want) {
			t.Errorf("%s: %v, want max %v", key, got[key], want)
		}
	}
	if got, err := run(""); err != nil || got["rows"] != 0.0 || got["input_words"].(map[string]any)["mean"] != "NaN" {
		t.Errorf("no rows: %v, %v", got, err)
	}
	for _, in := range []string{`{"input":"a"}`, `{"input":1,"output":"a"}`, "{"} {
		if _, err := run("{\"input\":\"a\",\"output\":\"a\"}\n" + in); err == nil || !strings.Contains(err.Error(), "standard input:2") {
			t.Errorf("%s: error %v", in, err)
		}
	}
}

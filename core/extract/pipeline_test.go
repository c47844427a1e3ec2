package extract

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/evalrun/evalrun/core"
)

func TestPipeline(t *testing.T) {
	yesNo := map[string]string{"yes": "1", "no": "0"}
	for _, c := range []struct {
		name  string
		steps []core.Step
		in    string
		out   string
		ok    bool
	}{
		{"nothing to do", nil, " a ", " a ", true},
		{"strip, lower", []core.Step{{Op: "strip"}, {Op: "lower"}}, "\x1c YES\u00a0", "yes", true},
		{"first line", []core.Step{{Op: "strip"}, {Op: "first_line"}}, "\n\na\r\nb", "a", true},
		{"before", []core.Step{{Op: "before", Text: "###"}}, "a### b###", "a", true},
		{"before, not there", []core.Step{{Op: "before", Text: "###"}}, "a", "a", true},
		{"after", []core.Step{{Op: "after", Text: "Answer:"}, {Op: "strip"}}, "Answer: 4", "4", true},
		{"after, not there", []core.Step{{Op: "after", Text: "Answer:"}}, "4", "", false},
		{"map", []core.Step{{Op: "map", Map: yesNo}}, "no", "0", true},
		{"map, unknown", []core.Step{{Op: "map", Map: yesNo}}, "perhaps", "", false},
		{"default mends", []core.Step{{Op: "map", Map: yesNo}, {Op: "lower"}, {Op: "default", Text: "NO"}}, "x", "NO", true},
		{"default idle", []core.Step{{Op: "lower"}, {Op: "default", Text: "no"}}, "YES", "yes", true},
		{"gsm8k strict", []core.Step{{Op: "regex", Pattern: `#### (-?[0-9.,]+)`, Group: -1}}, "so\n#### 1,110", "1,110", true},
		{"gsm8k flexible", []core.Step{{Op: "regex", Pattern: `(-?[$0-9.,]{2,})|(-?[0-9]+)`, Group: -1, Select: -1}}, "$10 or 8", "8", true},
		{"whole match", []core.Step{{Op: "regex", Pattern: `a(b)`}}, "xab", "ab", true},
		{"group not taken", []core.Step{{Op: "regex", Pattern: `(a)|b`, Group: 1}}, "b", "", false},
		{"group empty", []core.Step{{Op: "regex", Pattern: `a(x*)`, Group: -1}}, "a", "", true},
		{"no third match", []core.Step{{Op: "regex", Pattern: `\d`, Select: 2}}, "1 2", "", false},
	} {
		p, err := New(c.steps)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if out, ok := p.Apply(c.in); out != c.out || ok != c.ok {
			t.Errorf("%s: %q %v, want %q %v", c.name, out, ok, c.out, c.ok)
		}
	}
}

func TestPipelineErrors(t *testing.T) {
	for _, c := range []struct {
		step core.Step
		want string
	}{
		{core.Step{Op: "regex", Pattern: `a(b`, Line: 7, Column: 5}, "extract step 1 (regex): missing ), unterminated subpattern at position 1"},
		{core.Step{Op: "regex", Pattern: `a`, Group: 1}, "group 1 is asked for"},
		{core.Step{Op: "regex", Pattern: `a`, Flags: "z"}, "unknown flag"},
		{core.Step{Op: "after"}, "empty"},
		{core.Step{Op: "map"}, "empty"},
		{core.Step{Op: "reverse"}, "unknown step"},
	} {
		_, err := New([]core.Step{c.step})
		var e *StepError
		if !errors.As(err, &e) || !strings.Contains(err.Error(), c.want) || e.Line != c.step.Line {
			t.Errorf("%+v: %v", c.step, err)
		}
	}
}

func TestPipelineTimeLimit(t *testing.T) {
	p, err := NewTimeout([]core.Step{{Op: "regex", Pattern: `^(\w+\s?)*$`}, {Op: "default", Text: "none"}}, 100*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	o := p.Run(strings.Repeat("word ", 30) + "!")
	if !errors.Is(o.Err, ErrTimeout) || o.Failed != 0 || !o.OK || o.Text != "none" {
		t.Errorf("%+v", o)
	}
}

func FuzzPipeline(f *testing.F) {
	f.Add("Answer: 12 ", "Answer:")
	f.Add("", "\xff")
	f.Fuzz(func(t *testing.T, answer, cut string) {
		steps := []core.Step{{Op: "after", Text: cut}, {Op: "before", Text: cut}, {Op: "strip"}, {Op: "lower"}, {Op: "first_line"},
			{Op: "regex", Pattern: `(\d+)|\w+`, Group: -1, Select: -1}, {Op: "default", Text: "?"}}
		p, err := New(steps)
		if err != nil {
			if cut == "" {
				return
			}
			t.Fatal(err)
		}
		if out, ok := p.Apply(answer); !ok || out == "" {
			t.Fatalf("%q gives %q %v", answer, out, ok)
		}
	})
}

func ExamplePipeline() {
	p, err := New([]core.Step{
		{Op: "regex", Pattern: `answer is (\w+)`, Flags: "i", Group: 1, Select: -1},
		{Op: "lower"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(p.Apply("The answer is Yes. No: the ANSWER IS No."))
	// Output: no true
}

package record

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/evalrun/evalrun/core"
)

func skimAll(text string) (out []Verdict, err error) {
	for v, err := range SkimFrom(strings.NewReader(text), "f") {
		if err != nil {
			return out, err
		}
		c := *v
		c.Scores = append([]Score(nil), v.Scores...)
		for _, text := range []*string{&c.Prompt, &c.Messages, &c.Continuations, &c.Targets} {
			*text = strings.Clone(*text)
		}
		out = append(out, c)
	}
	return out, nil
}

func readAll(text string) (out []Verdict, err error) {
	for rec, err := range ReadFrom(strings.NewReader(text), "f") {
		if err != nil {
			return out, err
		}
		v := verdictOf(&rec)
		out = append(out, v)
	}
	return out, nil
}

// same compares what both roads must agree on; texts are compared decoded.
func same(a, b []Verdict) bool {
	text := func(v []Verdict) string {
		var s strings.Builder
		for _, v := range v {
			fmt.Fprintf(&s, "%q %q %q %d %d %q %v\n", v.Task, v.Model, v.Sample, v.Index, v.Repeat, v.Cluster, v.Failed)
			for _, c := range v.Scores {
				fmt.Fprintf(&s, " %q %q %x %v %v %q\n", c.Metric, c.Profile, math.Float64bits(float64(c.Value)), c.Failed, c.Dropped, c.Skipped)
			}
			for _, raw := range []string{v.Prompt, v.Messages, v.Continuations, v.Targets} {
				var x any
				if len(raw) > 0 {
					if err := json.Unmarshal([]byte(raw), &x); err != nil {
						fmt.Fprintf(&s, " not JSON: %s\n", raw)
					}
				}
				if str, ok := x.(string); ok && str == "" {
					x = nil
				}
				fmt.Fprintf(&s, " %#v\n", x)
			}
		}
		return s.String()
	}
	return text(a) == text(b)
}

func randomRecord(r *rand.Rand) Record {
	words := []string{"", "a", "\"quoted\\\"", `\`, `\\`, "ключ", "line\nbreak\t\x00", "}{][,:", `{"v":9,"task":"no"}`, "\xff", "  ", "\u2028<&>", strings.Repeat(`"\`, 50), "null"}
	word := func() string { return words[r.IntN(len(words))] + words[r.IntN(len(words))] }
	list := func() []string {
		var out []string
		for range r.IntN(3) {
			out = append(out, word())
		}
		return out
	}
	rec := Record{V: r.IntN(2), Task: word(), Model: word(), Sample: word(), Index: r.IntN(1e6) - 10, Repeat: r.IntN(3), Cluster: word(), Prompt: word(), Continuations: list(),
		Targets: list(), Response: word() + word(), Seconds: r.Float64()}
	if r.IntN(3) == 0 {
		rec.Messages = []core.Message{{Role: word(), Content: word()}}
	}
	if r.IntN(3) == 0 {
		rec.Fields = json.RawMessage(`{"scores":[{"value":7}],"v":[null,{"x":"}"}]}`)
	}
	if r.IntN(5) == 0 {
		rec.Error = &Error{Code: core.CodeTimeout, Message: word()}
	}
	for range r.IntN(4) {
		values := []float64{0, 1, math.NaN(), math.Inf(1), math.Inf(-1), r.Float64(), -r.ExpFloat64() * 1e300, 5e-324, -0.0}
		rec.Scores = append(rec.Scores, Score{Metric: word(), Profile: core.Profile(word()), Value: Float(values[r.IntN(len(values))]),
			Failed: r.IntN(2) == 0, Dropped: r.IntN(2) == 0, Skipped: word(), Extracted: word(), Note: word(), Warning: word()})
	}
	return rec
}

// The fast road gives what the slow one gives, on whatever the writer writes,
// indented too.
func TestSkimAgainstRead(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		var b bytes.Buffer
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(r.IntN(2) == 0)
		for range 1 + r.IntN(4) {
			rec := randomRecord(r)
			if err := enc.Encode(rec); err != nil {
				t.Fatal(err)
			}
			if r.IntN(4) == 0 {
				line, _ := json.MarshalIndent(rec, " ", "\t")
				b.Write(bytes.ReplaceAll(line, []byte("\n"), []byte(" ")))
				b.WriteString("\n\n")
			}
		}
		text := b.String()
		if r.IntN(2) == 0 {
			text += text[:r.IntN(len(text))] // a half-written last line
		}
		want, wantErr := readAll(text)
		got, gotErr := skimAll(text)
		if !same(got, want) || !reflect.DeepEqual(gotErr, wantErr) {
			t.Fatalf("skimmed %+v, %v\nread %+v, %v\nof %s", got, gotErr, want, wantErr, text)
		}
	}
}

func TestSkimErrors(t *testing.T) {
	good := `{"v":1,"task":"t","model":"m","sample":"s","index":0,"targets":null,"response":"","usage":{},"seconds":0}` + "\n"
	for _, c := range []struct{ text, want string }{
		{good + `{"v":2}` + "\n", "f:2: sample format 2 is newer than this evalrun reads (1)"},
		{good + `{"v":1,"task":` + "\n" + good, "f:2: not a sample record"},
		{good + "[]\n", "f:2: not a sample record"},
		{good + `{"v":1,"index":1.5}` + "\n", "f:2: not a sample record"},
		{good + `{"v":1,"scores":[{"value":"x"}]}` + "\n", "f:2: not a sample record"},
		{good + `{"v":1} x` + "\n", "f:2: not a sample record"},
	} {
		got, err := skimAll(c.text)
		if err == nil || !strings.HasPrefix(err.Error(), c.want) || len(got) != 1 {
			t.Errorf("%q: %d verdicts, %v", c.text, len(got), err)
		}
	}
	if got, err := skimAll(good + good[:40]); err != nil || len(got) != 1 {
		t.Errorf("a half-written line: %d, %v", len(got), err)
	}
	for v, err := range Skim(t.TempDir() + "/none") {
		if v != nil || err == nil {
			t.Error("a file that is not there")
		}
	}
}

func FuzzSkim(f *testing.F) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 5 {
		b, _ := json.Marshal(randomRecord(r))
		f.Add(string(b))
	}
	f.Fuzz(func(t *testing.T, line string) {
		want, err := readAll(line + "\n")
		if err != nil {
			return // the fast road may be more lenient about what it skips
		}
		got, err := skimAll(line + "\n")
		if err != nil || len(got) != len(want) {
			t.Fatalf("skim says %v of %q", err, line)
		}
	})
}

func samples(n int) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	for i := range n {
		_ = enc.Encode(Record{V: 1, Task: "boolq", Model: "local:m", Sample: fmt.Sprint(i), Index: i, Prompt: strings.Repeat("some \"words\" of a prompt. ", 40), Targets: []string{"1"},
			Response: "The answer is yes.", Scores: []Score{{Metric: "accuracy", Profile: core.Strict, Value: 1}, {Metric: "accuracy", Profile: core.Bakeoff, Value: 0.5}}})
	}
	return b.Bytes()
}

func BenchmarkSkim(b *testing.B) {
	text := samples(1000)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		for _, err := range SkimFrom(bytes.NewReader(text), "f") {
			if err != nil {
				b.Fatal(err)
			}
		}
	}
}

func BenchmarkRead(b *testing.B) {
	text := samples(1000)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		for _, err := range ReadFrom(bytes.NewReader(text), "f") {
			if err != nil {
				b.Fatal(err)
			}
		}
	}
}

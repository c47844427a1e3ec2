package record

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/evalrun/evalrun/core"
)

func write(t *testing.T, text string) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), "samples.jsonl")
	if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestRoundTrip(t *testing.T) {
	in := Record{V: Version, Task: "t", Model: "m", Sample: "7", Targets: []string{"a"}, Response: "b\n\x00",
		Scores:     []Score{{Metric: "x", Profile: core.Strict, Value: Float(math.NaN())}, {Metric: "x", Profile: core.Bakeoff, Value: Float(math.Inf(-1))}},
		Generation: FromGeneration(core.Generation{MaxTokens: 3, Stop: []string{"\n"}}), Usage: core.Usage{Prompt: 4}}
	b, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	var got []Record
	for r, err := range Read(write(t, string(b)+"\n")) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, r)
	}
	if len(got) != 1 {
		t.Fatalf("%d records, want 1", len(got))
	}
	r := got[0]
	if r.Response != in.Response || !math.IsNaN(float64(r.Scores[0].Value)) || !math.IsInf(float64(r.Scores[1].Value), -1) {
		t.Errorf("got %+v", r)
	}
	if g := r.Generation.Core(); g.MaxTokens != 3 || g.Stop[0] != "\n" {
		t.Errorf("generation %+v", g)
	}
}

func TestHalfWrittenLastLine(t *testing.T) {
	const whole = `{"v":1,"task":"t","model":"m","sample":"1","targets":[]}` + "\n"
	for _, tail := range []string{`{"v":1,"ta`, `{"v":1,"task":"t","model":"m","sample":"2","targets":[]}`} {
		p := write(t, whole+tail)
		n := 0
		for _, err := range Read(p) {
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
		if n != 1 {
			t.Errorf("tail %q: %d records, want 1", tail, n)
		}
		if l, err := WholeLength(p); err != nil || l != int64(len(whole)) {
			t.Errorf("whole length %d %v, want %d", l, err, len(whole))
		}
	}
}

func TestDamage(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"garbage within", "{\"v\":1}\nxx\n{\"v\":1}\n", "samples.jsonl:2: not a sample record"},
		{"newer", "{\"v\":99}\n", "sample format 99 is newer"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var last error
			for _, err := range Read(write(t, tt.text)) {
				last = err
			}
			if last == nil || !strings.Contains(last.Error(), tt.want) {
				t.Errorf("error %v, want %q", last, tt.want)
			}
		})
	}
}

func FuzzReadFrom(f *testing.F) {
	f.Add([]byte("{\"v\":1}\n{}\nx"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, err := range ReadFrom(strings.NewReader(string(b)), "f") {
			if err != nil {
				return
			}
		}
	})
}

// A field that core.Score gets must be stored, or be named here as one that is
// of no use once the verdict stands.
func TestScoresAreStoredWhole(t *testing.T) {
	var s core.Score
	v := reflect.ValueOf(&s).Elem()
	for i := range v.NumField() {
		switch f := v.Field(i); v.Type().Field(i).Name {
		case "Requests":
		case "Parts":
			s.Parts = map[string]float64{"a": 1}
		default:
			switch f.Kind() {
			case reflect.Float64:
				f.SetFloat(0.5)
			case reflect.String:
				f.SetString("text")
			case reflect.Bool:
				f.SetBool(true)
			default:
				t.Fatalf("a new kind of field: %s", v.Type().Field(i).Name)
			}
		}
	}
	stored := FromScore("m", core.Bakeoff, s)
	if back := stored.Core(); !reflect.DeepEqual(back, s) || stored.Metric != "m" || stored.Profile != core.Bakeoff {
		t.Errorf("%+v became %+v", s, back)
	}
}

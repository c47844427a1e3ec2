package record

import (
	"bytes"
	"encoding/json"
	"math"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/evalrun/evalrun/core"
)

// slow writes a record with encoding/json.
func slow(t testing.TB, r *Record) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(r); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func anyText(r *rand.Rand) string {
	pieces := []string{"word ", "a", "\n", "\"", "\\", "\t", "\x00", "\x1f", "\x7f", "<b>&", "é", "今天", "😀", "\u2028", "\xff", "\xed\xa0\x80", "plain ascii text of some length", "\b\f\r", "\ufffd"}
	var b []byte
	for range r.IntN(8) {
		b = append(b, pieces[r.IntN(len(pieces))]...)
	}
	return string(b)
}

func anyRecord(r *rand.Rand) *Record {
	some := func() bool { return r.IntN(2) == 0 }
	number := func() float64 {
		return []float64{0, 1, 0.1, -2.5, 1e-7, 3e21, 1e-300, r.Float64(), math.Exp(r.NormFloat64() * 30)}[r.IntN(9)]
	}
	rec := &Record{V: 1, Task: anyText(r), Model: "m", Sample: anyText(r), Index: r.IntN(1e6), Repeat: r.IntN(2), Cluster: []string{"", "0a1b"}[r.IntN(2)], Prompt: anyText(r), Targets: []string{anyText(r)},
		Response: anyText(r), Usage: core.Usage{Prompt: r.IntN(9), Shared: r.IntN(2)}, Seconds: number(), CostUSD: number(), Cached: some(), Attempts: r.IntN(3), Truncated: r.IntN(2), PromptCut: r.IntN(2)}
	if some() {
		rec.Messages = []core.Message{{Role: "system", Content: anyText(r)}, {Role: "user", Content: anyText(r)}}
		rec.Continuations = []string{"a", anyText(r)}
		rec.Gold = []int{-1, r.IntN(30)}
		rec.Likelihoods = []core.Likelihood{{LogProb: -number(), Tokens: 2, Greedy: some()}}
	}
	if some() {
		rec.Generation = &Generation{MaxTokens: 5, Temperature: number(), TopP: number(), TopK: r.IntN(2), MinP: number(), RepetitionPenalty: number(), Seed: r.Uint64(), Stop: []string{"\n"}}
		rec.Fields = json.RawMessage(`{"a":[1,{"b":"x]}"}],"c":null}`)
		rec.Targets = nil
	}
	if some() {
		s := anyText(r)
		rec.Extracted, rec.Finish, rec.ExtractFailed, rec.ExtractError = &s, core.FinishStop, some(), anyText(r)
	}
	for range r.IntN(3) {
		v := Float([]float64{number(), math.NaN(), math.Inf(1), math.Inf(-1)}[r.IntN(4)])
		rec.Scores = append(rec.Scores, Score{Metric: "x", Profile: core.Strict, Value: v, Extracted: anyText(r), Failed: some(), Dropped: some(), Skipped: anyText(r), Warning: anyText(r), Note: anyText(r), Vote: anyText(r)})
		if some() {
			rec.Scores[len(rec.Scores)-1].Parts = map[string]float64{"b": number(), "a": -1, anyText(r): 2}
		}
	}
	if r.IntN(4) == 0 {
		rec.Error = &Error{Code: "x", Message: anyText(r), Status: 500}
	}
	return rec
}

// The fast writer and the fast reader against encoding/json.
func TestCodecAgainstJSON(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 4_000 {
		rec := anyRecord(r)
		want := slow(t, rec)
		got, err := Append(nil, rec)
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("wrote\n%s (%v), want\n%s", got, err, want)
		}
		sameDecoding(t, want)
		if len(want) > 10 { // damage
			bad := bytes.Clone(want)
			bad[r.IntN(len(bad))] = `"{}[],:\0x-`[r.IntN(11)]
			sameDecoding(t, bad)
			sameDecoding(t, want[:r.IntN(len(want))])
		}
	}
	if _, err := Append(nil, &Record{Seconds: math.NaN()}); err == nil {
		t.Error("seconds that are no number are written")
	}
}

func sameDecoding(t *testing.T, line []byte) {
	t.Helper()
	var fast, want Record
	err, wantErr := decode(line, &fast), json.Unmarshal(line, &want)
	if (err == nil) != (wantErr == nil) {
		t.Fatalf("%s: %v, encoding/json %v", line, err, wantErr)
	}
	if err != nil {
		return
	}
	a, b := slow(t, &fast), slow(t, &want)
	if !bytes.Equal(a, b) || (fast.Messages == nil) != (want.Messages == nil) || !reflect.DeepEqual(fast.Fields, want.Fields) {
		t.Fatalf("read %s as\n%s, encoding/json as\n%s", line, a, b)
	}
}

// What encoding/json takes and this package does not write.
func TestDecodeUnusual(t *testing.T) {
	for _, line := range []string{
		`{}`, `null`, `{"V":1}`, `{"v":1,"v":2}`, `{"v":1.0}`, `{"v":01}`, `{"v":1,"new":{"a":[]}}`, ` { "v" : 1 , "targets" : [ "a" , "b" ] } `,
		`{"response":"\ud83d\ude00 \ud83d \u00e9\/"}`, `{"targets":null,"fields":null,"messages":null,"scores":null}`, `{"fields":[1]}`, `{"fields":{}}`,
		`{"fields":{"a":1}}`, `{"fields":{"a":}}`, `{"seconds":1e999}`, `{"seconds":-0}`, `{"seconds":1e5,"usage":{}}`, `{"index":99999999999999999999}`,
		`{"scores":[{"value":"NaN"},{"value":"inf"}]}`, `{"scores":[{"value":"-Infinity"}]}`, `{"cached":true}`, `{"cached":tru}`, `{"v":1} x`, `{"v":1}{`, "{\"response\":\"a\tb\"}",
		"{\"response\":\"\xff\"}", `{"messages":[]}`, `{"stop":[]}`, `{"generation":{"stop":[],"seed":18446744073709551615}}`, `{"":1}`, `{"error":{"code":"x"}}`, ``,
	} {
		sameDecoding(t, []byte(line))
	}
}

func FuzzDecode(f *testing.F) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 20 {
		f.Add(slow(f, anyRecord(r)))
	}
	f.Fuzz(func(t *testing.T, line []byte) { sameDecoding(t, line) })
}

func BenchmarkCodec(b *testing.B) {
	text := bytes.Repeat([]byte("a prompt of some words, "), 40)
	rec := &Record{V: 1, Task: "t", Model: "m", Sample: "1", Prompt: string(text), Targets: []string{"a b c"}, Response: string(text[:300]), Scores: []Score{{Metric: "rouge", Profile: core.Strict, Value: 0.25}, {Metric: "rouge", Profile: core.Bakeoff, Value: 0.25}}}
	line := slow(b, rec)
	var buf []byte
	for _, bench := range []struct {
		name string
		do   func()
	}{
		{"decode", func() { _ = decode(line, new(Record)) }},
		{"decode-json", func() { _ = json.Unmarshal(line, new(Record)) }},
		{"encode", func() { buf, _ = Append(buf[:0], rec) }},
		{"encode-json", func() { slow(b, rec) }},
	} {
		b.Run(bench.name, func(b *testing.B) {
			b.SetBytes(int64(len(line)))
			for b.Loop() {
				bench.do()
			}
		})
	}
}

package cached

import (
	"encoding/binary"
	"hash/crc32"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/evalrun/evalrun/core"
)

func full() core.Request {
	return core.Request{
		ID: "i", Kind: core.Generate, Prompt: "p", Continuations: []string{"c"}, Adapter: "a",
		Generation: core.Generation{MaxTokens: 1, Temperature: 0.5, Stop: []string{"s"}},
		Until:      []core.Pattern{{Expr: "e"}}, Task: "t", Sample: "s",
	}
}

// Every field of a request changes the key, but those that never change an
// answer. The fields are found by reflection: a new one cannot be forgotten.
func TestEveryFieldIsInTheKey(t *testing.T) {
	id := identify(core.Info{Name: "b", Model: "m", Adapters: []core.AdapterInfo{{Name: "a", Hash: "h"}, {Name: "a+", Hash: "h2"}}}, "")
	base := full()
	want, ok := id.key(&base)
	if !ok {
		t.Fatal("no key")
	}
	free := map[string]bool{"ID": true, "Task": true, "Sample": true}
	seen := map[Key]string{want: "the request itself"}
	check := func(name string, r core.Request, free bool) {
		t.Helper()
		k, ok := id.key(&r)
		if !ok {
			t.Errorf("%s: no key", name)
		}
		if free {
			if k != want {
				t.Errorf("%s changes the key", name)
			}
			return
		}
		if other, twice := seen[k]; twice {
			t.Errorf("%s has the key of %s", name, other)
		}
		seen[k] = name
	}
	for i := range reflect.TypeFor[core.Request]().NumField() {
		f := reflect.TypeFor[core.Request]().Field(i)
		if f.Name == "Generation" {
			for j := range f.Type.NumField() {
				r := full()
				change(t, reflect.ValueOf(&r).Elem().Field(i).Field(j))
				check("Generation."+f.Type.Field(j).Name, r, false)
			}
			continue
		}
		r := full()
		change(t, reflect.ValueOf(&r).Elem().Field(i))
		check(f.Name, r, free[f.Name])
	}
	for j := range reflect.TypeFor[core.Pattern]().NumField() {
		r := full()
		r.Until = []core.Pattern{{Expr: "e"}}
		change(t, reflect.ValueOf(&r.Until[0]).Elem().Field(j))
		check("Until."+reflect.TypeFor[core.Pattern]().Field(j).Name, r, false)
	}
	r := full()
	r.Messages = []core.Message{{Role: "user", Content: "p"}}
	check("messages instead of a prompt", r, false)
	r.Messages = []core.Message{{Role: "userp", Content: ""}}
	check("the border between role and content", r, false)
}

func change(t *testing.T, v reflect.Value) {
	t.Helper()
	switch v.Kind() {
	case reflect.String:
		v.SetString(v.String() + "+")
	case reflect.Bool:
		v.SetBool(!v.Bool())
	case reflect.Int:
		v.SetInt(v.Int() + 1)
	case reflect.Uint8, reflect.Uint64:
		v.SetUint(v.Uint() + 1)
	case reflect.Float64:
		v.SetFloat(v.Float() + 0.25)
	case reflect.Slice:
		v.Set(reflect.Append(v, reflect.New(v.Type().Elem()).Elem()))
	default:
		t.Fatalf("a field of kind %s: teach this test", v.Kind())
	}
}

func TestIdentityIsInTheKey(t *testing.T) {
	r := full()
	info := core.Info{Name: "b", Model: "m", Revision: "r", ModelHash: "h", Adapters: []core.AdapterInfo{{Name: "a", Hash: "1"}}}
	seen := map[Key]bool{}
	for _, tt := range []struct {
		name   string
		scope  string
		change func(*core.Info)
	}{
		{"itself", "", func(*core.Info) {}},
		{"scope", "nf4", func(*core.Info) {}},
		{"name", "", func(i *core.Info) { i.Name = "c" }},
		{"model", "", func(i *core.Info) { i.Model = "n" }},
		{"revision", "", func(i *core.Info) { i.Revision = "s" }},
		{"weights", "", func(i *core.Info) { i.ModelHash = "g" }},
		{"adapter content", "", func(i *core.Info) { i.Adapters = []core.AdapterInfo{{Name: "a", Hash: "2"}} }},
	} {
		i := info
		tt.change(&i)
		id := identify(i, tt.scope)
		k, ok := id.key(&r)
		if !ok || seen[k] {
			t.Errorf("%s does not change the key", tt.name)
		}
		seen[k] = true
	}
	id := identify(core.Info{Name: "b", Model: "m"}, "")
	if _, ok := id.key(&r); ok {
		t.Error("an adapter of unknown content has a key")
	}
}

func TestValueRoundTrip(t *testing.T) {
	in := core.Response{
		Text: "a\x00b", Finish: core.FinishLength, Usage: core.Usage{Prompt: 1, Completion: 300, Shared: 7}, Truncated: 5,
		Seconds: 0.25, Logprobs: []float64{-1, math.Inf(-1)}, Scores: []core.Likelihood{{LogProb: -2.5, Tokens: 3, Greedy: true}, {}},
		Embedding: []float32{1.5, -2}, Tokens: []int{0, 128000},
	}
	b := encodeValue(&in)
	out, err := decodeValue(b)
	if err != nil || !reflect.DeepEqual(in, out) {
		t.Errorf("got %+v, %v", out, err)
	}
	for i := range b {
		if _, err := decodeValue(b[:i]); err == nil {
			t.Errorf("%d of %d bytes are taken", i, len(b))
		}
	}
}

// Damage anywhere is found, and costs no time or memory.
func TestDamagedValues(t *testing.T) {
	good := encodeValue(&core.Response{Text: "some text", Finish: core.FinishStop, Tokens: []int{1, 2, 3}, Logprobs: []float64{-1, -2}})
	rng := rand.New(rand.NewPCG(1, 2))
	for range 20000 {
		b := slices.Clone(good[:len(good)-4])
		for range 1 + rng.IntN(4) {
			b[rng.IntN(len(b))] = byte(rng.Uint32())
		}
		if _, err := decodeValue(append(slices.Clone(b), good[len(good)-4:]...)); err == nil && !slices.Equal(b, good[:len(b)]) {
			t.Fatalf("%q is taken for an answer", b)
		}
		decodeValue(binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))) // must return
	}
}

// The checksum is put right, so that what lies behind it is reached.
func FuzzDecodeValue(f *testing.F) {
	good := encodeValue(&core.Response{Text: "x", Finish: core.FinishStop, Tokens: []int{1}, Logprobs: []float64{-1}})
	f.Add(good[:len(good)-4])
	f.Add([]byte{})
	f.Add([]byte{1, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := decodeValue(b); err == nil && len(b) < 8 {
			t.Errorf("%q is taken for an answer", b)
		}
		r, err := decodeValue(binary.LittleEndian.AppendUint32(b[:len(b):len(b)], crc32.Checksum(b, castagnoli)))
		if err != nil {
			return
		}
		if again, err := decodeValue(encodeValue(&r)); err != nil || again.Text != r.Text || len(again.Scores) != len(r.Scores) {
			t.Errorf("%q does not survive a round trip: %v", b, err)
		}
	})
}

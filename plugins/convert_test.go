package plugins

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/plugins/pb"
)

// A filler gives every field of a value a random non-zero content, so that a
// field which the translation forgets comes back as zero and is seen.
type filler struct {
	*rand.Rand
	task *core.Task // what Item.Task points to
}

var texts = []string{"a", "naïve café", "\xff\xfe broken \xc3", "line\nline", "\x00", "日本語", "{{x}} {y}"}

func (f *filler) text() string { return texts[f.IntN(len(texts))] + fmt.Sprint(f.IntN(1000)) }

func (f *filler) number() float64 {
	return []float64{math.Inf(1), math.Inf(-1), math.MaxFloat64, math.SmallestNonzeroFloat64, -1.5, 1e-300}[f.IntN(6)]
}

func (f *filler) any(depth int) any {
	n := 8
	if depth > 3 {
		n = 6
	}
	switch f.IntN(n) {
	case 0:
		return nil
	case 1:
		return f.IntN(2) == 0
	case 2:
		return int(f.Uint64())
	case 3:
		return f.number()
	case 4:
		return f.text()
	case 5:
		return uint64(math.MaxInt64) + 1 + f.Uint64N(1<<62)
	case 6:
		list := make([]any, f.IntN(4))
		for i := range list {
			list[i] = f.any(depth + 1)
		}
		return list
	}
	dict := map[string]any{}
	for range f.IntN(4) {
		dict[f.text()] = f.any(depth + 1)
	}
	return dict
}

func (f *filler) fill(t *testing.T, v reflect.Value) {
	t.Helper()
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt([]int64{1, -1, math.MaxInt64, math.MinInt64, 77}[f.IntN(5)])
	case reflect.Uint8:
		limit := 255
		if v.Type() == reflect.TypeFor[core.Overflow]() {
			limit = 2
		}
		v.SetUint(uint64(1 + f.IntN(limit)))
	case reflect.Uint64:
		v.SetUint(f.Uint64() | 1)
	case reflect.Float64, reflect.Float32:
		x := f.number()
		if v.Kind() == reflect.Float32 {
			x = float64([]float32{float32(math.Inf(1)), -1.5, math.MaxFloat32, 1e-40}[f.IntN(4)])
		}
		v.SetFloat(x)
	case reflect.String:
		v.SetString(f.text())
	case reflect.Slice:
		n := 1 + f.IntN(3)
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			f.fill(t, v.Index(i))
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range 1 + f.IntN(3) {
			key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			f.fill(t, key)
			f.fill(t, value)
			v.SetMapIndex(key, value)
		}
	case reflect.Pointer:
		if v.Type() == reflect.TypeFor[*core.Task]() && f.task != nil {
			v.Set(reflect.ValueOf(f.task))
			return
		}
		v.Set(reflect.New(v.Type().Elem()))
		f.fill(t, v.Elem())
	case reflect.Interface:
		if x := f.any(0); x != nil {
			v.Set(reflect.ValueOf(x))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			f.fill(t, v.Field(i))
		}
	default:
		t.Fatalf("core has a field of kind %s: teach it to the translation and to this test", v.Kind())
	}
}

// overWire takes a message through its bytes.
func overWire[M proto.Message](t *testing.T, m M) M {
	t.Helper()
	data, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	out := m.ProtoReflect().New().Interface()
	if err := proto.Unmarshal(data, out); err != nil {
		t.Fatal(err)
	}
	return out.(M)
}

func roundTrip[T any](t *testing.T, cross func(*testing.T, T) T) {
	t.Helper()
	name := reflect.TypeFor[T]().Name()
	t.Run(name, func(t *testing.T) {
		for seed := range uint64(200) {
			f := &filler{Rand: rand.New(rand.NewPCG(seed, 7))}
			if name == "Item" {
				f.task = &core.Task{Name: "t"}
			}
			var in T
			f.fill(t, reflect.ValueOf(&in).Elem())
			if out := cross(t, in); !reflect.DeepEqual(in, out) {
				t.Fatalf("seed %d: sent\n%+v\ngot\n%+v", seed, in, out)
			}
		}
		// The empty value survives too.
		var zero T
		if out := cross(t, zero); !reflect.DeepEqual(zero, out) {
			t.Fatalf("zero came back as %+v", out)
		}
	})
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestEveryFieldCrosses(t *testing.T) {
	roundTrip(t, func(t *testing.T, v core.Config) core.Config { return configFromPB(overWire(t, configToPB(v))) })
	roundTrip(t, func(t *testing.T, v core.Info) core.Info { return infoFromPB(overWire(t, infoToPB(v))) })
	roundTrip(t, func(t *testing.T, v core.Request) core.Request { return requestFromPB(overWire(t, requestToPB(&v))) })
	roundTrip(t, func(t *testing.T, v core.Response) core.Response {
		return responseFromPB(overWire(t, responseToPB(&v)))
	})
	roundTrip(t, func(t *testing.T, v core.Error) core.Error { return *errorFromPB(overWire(t, errorToPB(&v))) })
	roundTrip(t, func(t *testing.T, v core.MetricInfo) core.MetricInfo {
		return metricInfoFromPB(overWire(t, metricInfoToPB(v)))
	})
	roundTrip(t, func(t *testing.T, v core.Score) core.Score { return scoreFromPB(overWire(t, scoreToPB(v))) })
	roundTrip(t, func(t *testing.T, v core.Aggregate) core.Aggregate {
		return aggregateFromPB(overWire(t, aggregateToPB(v)))
	})
	roundTrip(t, func(t *testing.T, v core.MetricSpec) core.MetricSpec {
		return specFromPB(overWire(t, must(specToPB(v))))
	})
	roundTrip(t, func(t *testing.T, v core.Task) core.Task { return *taskFromPB(overWire(t, must(taskToPB(&v)))) })
	roundTrip(t, func(t *testing.T, v core.Item) core.Item {
		tasks := []*core.Task{nil, v.Task}
		place := 2
		if v.Task == nil {
			place = 0
		}
		return itemFromPB(overWire(t, must(itemToPB(&v, place))), tasks)
	})
}

// An event has one content; each kind must carry its own whole.
func TestEveryEventCrosses(t *testing.T) {
	for seed := range uint64(100) {
		f := &filler{Rand: rand.New(rand.NewPCG(seed, 9))}
		var full core.Event
		f.fill(t, reflect.ValueOf(&full).Elem())
		if n := reflect.TypeFor[core.Event]().NumField(); n != 6 {
			t.Fatalf("core.Event has %d fields: teach the new one to this test", n)
		}
		for _, in := range []core.Event{
			{Kind: core.EventDelta, ID: full.ID, Text: full.Text},
			{Kind: core.EventResponse, ID: full.ID, Response: full.Response},
			{Kind: core.EventError, ID: full.ID, Err: full.Err},
			{Kind: core.EventProgress, Progress: full.Progress},
		} {
			if out := eventFromPB(overWire(t, eventToPB(in))); !reflect.DeepEqual(in, out) {
				t.Fatalf("sent %+v, got %+v", in, out)
			}
		}
	}
	for _, empty := range []core.Event{{}, {Kind: core.EventResponse, ID: "x"}, {Kind: core.EventError}, {Kind: 99}} {
		if m := eventToPB(empty); m != nil {
			t.Errorf("%+v became %v", empty, m)
		}
	}
	if e := eventFromPB(&pb.Event{Id: "x"}); e != (core.Event{}) {
		t.Errorf("an event of a later protocol became %+v", e)
	}
}

func TestNaNCrosses(t *testing.T) {
	in := core.Response{
		Logprobs: []float64{math.NaN(), math.Inf(-1)}, Seconds: math.NaN(),
		Embedding: []float32{float32(math.NaN())},
		Scores:    []core.Likelihood{{LogProb: math.NaN()}},
	}
	out := responseFromPB(overWire(t, responseToPB(&in)))
	if !math.IsNaN(out.Logprobs[0]) || !math.IsInf(out.Logprobs[1], -1) || !math.IsNaN(out.Seconds) ||
		!math.IsNaN(float64(out.Embedding[0])) || !math.IsNaN(out.Scores[0].LogProb) {
		t.Errorf("got %+v", out)
	}
}

func TestMessagesKeepTheirPresence(t *testing.T) {
	for _, in := range [][]core.Message{nil, {}, {{Role: "user"}}} {
		r := requestFromPB(overWire(t, requestToPB(&core.Request{Messages: in})))
		if (r.Messages == nil) != (in == nil) || len(r.Messages) != len(in) {
			t.Errorf("sent %#v, got %#v", in, r.Messages)
		}
	}
}

func TestValues(t *testing.T) {
	type label string
	seven := 7
	for _, tt := range []struct{ in, want any }{
		{int64(5), 5}, {int8(-5), -5}, {uint32(5), 5}, {uint64(math.MaxUint64), uint64(math.MaxUint64)},
		{float32(0.5), 0.5}, {label("x"), "x"}, {[]string{"a", "b"}, []any{"a", "b"}}, {[]float32{1}, []any{1.0}},
		{map[string]string{"k": "v"}, map[string]any{"k": "v"}}, {[]byte("raw"), []byte("raw")},
		{&seven, 7}, {(*int)(nil), nil}, {time.Unix(0, 0).UTC(), "1970-01-01T00:00:00Z"}, {[]any{}, []any{}},
	} {
		m, err := valueToPB(tt.in, 0)
		if err != nil {
			t.Errorf("%#v: %v", tt.in, err)
			continue
		}
		if got := valueFromPB(overWire(t, m)); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%#v came as %#v, want %#v", tt.in, got, tt.want)
		}
	}
	cycle := map[string]any{}
	cycle["self"] = cycle
	for name, bad := range map[string]any{"function": func() {}, "channel": make(chan int), "cycle": cycle, "struct": struct{}{}, "map": map[int]int{1: 1}} {
		if _, err := valuesToPB(map[string]any{"col": bad}); err == nil {
			t.Errorf("a %s crossed", name)
		}
	}
}

func TestFailures(t *testing.T) {
	user := &core.UserError{Where: "f:1:2", Message: "bad", Hint: "mend it", Err: errors.New("cause")}
	own := &core.Error{Code: core.CodeAuth, Message: "no", Hint: "key", RetryAfter: 3, Status: 401}
	for _, in := range []error{user, own, fmt.Errorf("opening: %w", user), fmt.Errorf("asking: %w", own), errors.New("plain")} {
		out := failureFromPB(overWire(t, failureToPB(in)))
		if out.Error() != in.Error() {
			t.Errorf("%q came as %q", in, out)
		}
		var u *core.UserError
		if errors.As(in, &u) && (!errors.As(out, &u) || u.Hint != "mend it" || u.Where != "f:1:2" || u.Err.Error() != "cause") {
			t.Errorf("%q lost its kind: %#v", in, out)
		}
		var e *core.Error
		if errors.As(in, &e) && (!errors.As(out, &e) || *e != *own) {
			t.Errorf("%q lost its kind: %#v", in, out)
		}
	}
	for _, end := range []error{context.Canceled, context.DeadlineExceeded} {
		if out := failureFromPB(overWire(t, failureToPB(end))); !errors.Is(out, end) {
			t.Errorf("%v came as %#v", end, out)
		}
	}
	if failureToPB(nil) != nil || failureFromPB(nil) != nil {
		t.Error("nil is a failure")
	}
}

// The estimates must not be below the truth: they keep messages under gRPC's
// limit.
func TestSizeEstimates(t *testing.T) {
	for seed := range uint64(300) {
		f := &filler{Rand: rand.New(rand.NewPCG(seed, 11))}
		var r core.Request
		f.fill(t, reflect.ValueOf(&r).Elem())
		if est, size := requestSize(&r), proto.Size(requestToPB(&r)); est < size {
			t.Fatalf("request of %d bytes is estimated at %d: %+v", size, est, r)
		}
		var e core.Event
		f.fill(t, reflect.ValueOf(&e).Elem())
		for kind := core.EventDelta; kind <= core.EventProgress; kind++ {
			e.Kind = kind
			if est, size := eventSize(&e), proto.Size(eventToPB(e)); est < size {
				t.Fatalf("event of %d bytes is estimated at %d: %+v", size, est, e)
			}
		}
	}
}

func FuzzMessages(f *testing.F) {
	for seed := range uint64(3) {
		fill := &filler{Rand: rand.New(rand.NewPCG(seed, 13))}
		var r core.Request
		fill.fill(&testing.T{}, reflect.ValueOf(&r).Elem())
		data, err := proto.Marshal(&pb.ClientMessage{Send: []*pb.Request{requestToPB(&r)}, Cancel: []string{"x"}})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte("\x0a\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		// Whatever the far side sends is translated without a panic, in the
		// shape of either side's messages.
		var c pb.ClientMessage
		if proto.Unmarshal(data, &c) == nil {
			for _, r := range c.GetSend() {
				again := requestFromPB(r)
				requestSize(&again)
			}
		}
		var s pb.ServerMessage
		if proto.Unmarshal(data, &s) == nil {
			for _, m := range s.GetEvents() {
				e := eventFromPB(m)
				eventSize(&e)
			}
			if err := failureFromPB(s.GetFailure()); err != nil {
				_ = err.Error()
			}
		}
		var q pb.ScoreRequest
		if proto.Unmarshal(data, &q) == nil {
			tasks := each(q.GetTasks(), taskFromPB)
			for _, it := range q.GetItems() {
				itemFromPB(it, tasks)
			}
		}
		var i pb.Info
		if proto.Unmarshal(data, &i) == nil {
			infoFromPB(&i)
		}
	})
}

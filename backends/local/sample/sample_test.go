package sample

import (
	"fmt"
	"math"
	"reflect"
	"testing"
)

func TestGreedy(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for _, c := range []struct {
		logits []float32
		want   int32
	}{
		{[]float32{1, 3, 3, 2}, 1}, {[]float32{nan, -5, nan}, 1}, {[]float32{nan, nan}, 0},
		{[]float32{-inf, -inf}, 0}, {[]float32{0, inf, 1}, 1},
	} {
		if got := New(Params{}, 0, nil).Next(c.logits, 0); got != c.want {
			t.Errorf("%v: token %d, want %d", c.logits, got, c.want)
		}
		got := New(Params{Temperature: 1, TopP: 0.5, TopK: 3}, 0, nil).Next(c.logits, 0)
		if got < 0 || int(got) >= len(c.logits) {
			t.Errorf("%v: drew %d", c.logits, got)
		}
	}
}

// frequencies draws often, each time at another position.
func frequencies(p Params, logits []float32) []float64 {
	const n = 20000
	f := make([]float64, len(logits))
	s := New(p, 77, nil)
	for pos := range n {
		f[s.Next(append([]float32(nil), logits...), pos)] += 1.0 / n
	}
	return f
}

func TestDistribution(t *testing.T) {
	logits := []float32{float32(math.Log(0.1)), float32(math.Log(0.4)), float32(math.Log(0.2)), float32(math.Log(0.3))}
	for _, c := range []struct {
		name string
		p    Params
		want []float64
	}{
		{"plain", Params{Temperature: 1}, []float64{0.1, 0.4, 0.2, 0.3}},
		{"cold", Params{Temperature: 0.5}, []float64{1. / 30, 16. / 30, 4. / 30, 9. / 30}},
		{"top 2", Params{Temperature: 1, TopK: 2}, []float64{0, 4. / 7, 0, 3. / 7}},
		{"top 1", Params{Temperature: 1, TopK: 1}, []float64{0, 1, 0, 0}},
		{"nucleus", Params{Temperature: 1, TopP: 0.75}, []float64{0, 4. / 9, 2. / 9, 3. / 9}},
		{"narrow nucleus", Params{Temperature: 1, TopP: 1e-9}, []float64{0, 1, 0, 0}},
		{"min-p", Params{Temperature: 1, MinP: 0.6}, []float64{0, 4. / 7, 0, 3. / 7}},
		{"all of them", Params{Temperature: 1, TopK: 3, TopP: 0.7, MinP: 0.1}, []float64{0, 4. / 7, 0, 3. / 7}},
	} {
		got := frequencies(c.p, logits)
		for i := range got {
			if math.Abs(got[i]-c.want[i]) > 0.015 {
				t.Errorf("%s: shares %.3f, want %.3f", c.name, got, c.want)
				break
			}
		}
	}
}

// A draw is a function of seed, stream and position, and of nothing before.
func TestNoHiddenState(t *testing.T) {
	logits := make([]float32, 50)
	draws := func(seed, stream uint64, from int) (ids []int32) {
		s := New(Params{Temperature: 1, Seed: seed}, stream, nil)
		for pos := from; pos < 40; pos++ {
			ids = append(ids, s.Next(logits, pos))
		}
		return ids
	}
	all := draws(1, 2, 0)
	if !reflect.DeepEqual(draws(1, 2, 30), all[30:]) {
		t.Error("draws depend on those before")
	}
	for _, other := range [][]int32{draws(2, 2, 0), draws(1, 3, 0), draws(2, 1, 0)} {
		if reflect.DeepEqual(other, all) {
			t.Error("another seed or stream drew the same")
		}
	}
}

func TestPenalties(t *testing.T) {
	s := New(Params{Repetition: 2}, 0, []int32{0, 1})
	logits := []float32{4, -1, 3}
	if id := s.Next(logits, 0); id != 2 || !reflect.DeepEqual(logits, []float32{2, -2, 3}) {
		t.Errorf("chose %d from %v", id, logits)
	}
	s = New(Params{Frequency: 1, Presence: 0.5}, 0, []int32{0})
	var got []int32
	for pos := range 5 {
		got = append(got, s.Next([]float32{4, 3.8, 1}, pos))
	}
	if want := []int32{0, 1, 0, 1, 0}; !reflect.DeepEqual(got, want) {
		t.Errorf("chose %v, want %v", got, want)
	}
}

func TestCheck(t *testing.T) {
	for _, bad := range []Params{
		{Temperature: -1}, {Temperature: math.NaN()}, {TopK: -1}, {TopP: 1.1}, {TopP: -0.1}, {MinP: 2},
		{Repetition: -1}, {Temperature: math.Inf(1)}, {Frequency: math.NaN()},
	} {
		if bad.Check() == nil {
			t.Errorf("%+v was accepted", bad)
		}
	}
	if err := (Params{Temperature: 0.7, TopK: 40, TopP: 0.9, MinP: 0.05, Repetition: 1.1, Frequency: -1}).Check(); err != nil {
		t.Error(err)
	}
}

func TestLogProbs(t *testing.T) {
	logits := []float32{1, 2, 3, -100, 2}
	sum := LogSum(logits)
	var total float64
	for _, x := range logits {
		total += math.Exp(float64(x) - sum)
	}
	if math.Abs(total-1) > 1e-12 {
		t.Errorf("probabilities add up to %g", total)
	}
	top := Top(logits, 3)
	if len(top) != 3 || top[0].ID != 2 || top[1].ID != 1 || top[2].ID != 4 {
		t.Errorf("top %v", top)
	}
	if got := Top(logits, 0); len(got) != 0 {
		t.Errorf("top 0 is %v", got)
	}
	if got := Top(logits, 9); len(got) != 5 || got[4].ID != 3 {
		t.Errorf("top 9 is %v", got)
	}
}

func ExampleTop() {
	for _, a := range Top([]float32{0, 1, 0}, 1) {
		fmt.Printf("token %d: %.3f\n", a.ID, a.LogProb)
	}
	// Output: token 1: -0.551
}

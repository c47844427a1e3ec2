package sched

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
)

func TestPlan(t *testing.T) {
	for _, c := range []struct {
		name string
		seqs []Seq
		rows int
		want []Work
	}{
		{"nothing", nil, 8, nil},
		{"one prompt", []Seq{{0, 5, -1, 0}}, 8, []Work{{0, 5}}},
		{"a prompt in chunks", []Seq{{8, 30, -1, 0}}, 8, []Work{{0, 8}}},
		{"answers before prompts", []Seq{{0, 30, -1, 0}, {9, 10, -1, 0}}, 8, []Work{{0, 7}, {1, 1}}},
		{"more answers than rows", []Seq{{1, 2, -1, 0}, {3, 4, -1, 0}, {5, 6, -1, 0}}, 2, []Work{{0, 1}, {1, 1}}},
		{"shared in the same batch", []Seq{{0, 40, -1, 0}, {32, 50, 0, 32}}, 60, []Work{{0, 40}, {1, 18}}},
		{"shared, not yet there", []Seq{{0, 40, -1, 0}, {32, 50, 0, 32}}, 30, []Work{{0, 30}}},
		{"shared by an answer", []Seq{{0, 40, -1, 0}, {32, 33, 0, 32}}, 60, []Work{{0, 40}, {1, 1}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := Plan(c.seqs, Limits{c.rows}); !reflect.DeepEqual(got, c.want) {
				t.Errorf("plan %v, want %v", got, c.want)
			}
		})
	}
}

// Whatever the state, a plan respects its limits, everyone finishes.
func TestEveryoneFinishes(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 9))
	for range 300 {
		seqs := make([]Seq, 1+rng.IntN(12))
		for i := range seqs {
			seqs[i] = Seq{0, 1 + rng.IntN(90), -1, 0}
			if i > 0 && rng.IntN(2) == 0 {
				after := rng.IntN(i)
				shared := seqs[after].Known / 2
				seqs[i].Known += shared
				seqs[i].Done, seqs[i].After, seqs[i].AfterDone = shared, after, shared
			}
		}
		limits := Limits{1 + rng.IntN(40)}
		left := len(seqs)
		for step := 0; left > 0; step++ {
			var live []Seq
			var index []int
			at := map[int]int{}
			for i, s := range seqs {
				if s.Done < s.Known {
					if s.After >= 0 {
						if j, ok := at[s.After]; ok {
							s.After = j
						} else {
							s.After = -1
						}
					}
					at[i] = len(live)
					live, index = append(live, s), append(index, i)
				}
			}
			plan := Plan(live, limits)
			if len(plan) == 0 || step > 5000 {
				t.Fatalf("stuck with %+v", live)
			}
			rows := 0
			for _, w := range plan {
				rows += w.N
				s := &seqs[index[w.Seq]]
				if s.Done += w.N; w.N < 1 || s.Done > s.Known {
					t.Fatalf("work %+v", w)
				}
				if s.Done == s.Known {
					left--
				}
			}
			if rows > limits.Rows {
				t.Fatalf("%d rows of %d", rows, limits.Rows)
			}
		}
	}
}

func ExamplePlan() {
	seqs := []Seq{
		{Done: 12, Known: 13, After: -1}, // an answer on its way
		{Done: 0, Known: 100, After: -1}, // a prompt
	}
	fmt.Println(Plan(seqs, Limits{Rows: 64}))
	// Output: [{0 1} {1 63}]
}

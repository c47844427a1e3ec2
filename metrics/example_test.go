package metrics_test

import (
	"context"
	"fmt"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/metrics"
)

func ExampleNew() {
	task := &core.Task{Name: "toxic", Labels: []string{"yes", "no"}}
	items := []core.Item{
		{ID: "0", Task: task, Raw: " Yes, it is.", Text: " Yes, it is.", Targets: []string{"yes"}},
		{ID: "1", Task: task, Raw: "I do not know", Text: "I do not know", Targets: []string{"no"}},
	}
	for _, profile := range []core.Profile{core.Strict, core.Bakeoff} {
		m, err := metrics.New(core.MetricSpec{Name: "binary_accuracy_flex"}, profile)
		if err != nil {
			fmt.Println(err)
			return
		}
		scores, err := m.Score(context.Background(), items)
		if err != nil {
			fmt.Println(err)
			return
		}
		a := m.Aggregate(scores)
		fmt.Printf("%s: %.2f of %d, %d without an answer\n", profile, a.Score, a.N, a.Failed)
	}
	// Output:
	// strict: 0.50 of 2, 1 without an answer
	// bakeoff: 1.00 of 2, 0 without an answer
}

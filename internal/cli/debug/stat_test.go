package debug

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
)

// stat runs `debug stat NAME` on one line.
func stat(t *testing.T, name, line string) (map[string]any, error) {
	t.Helper()
	cmd := newStat()
	var out, complaint strings.Builder
	cmd.SetIn(strings.NewReader(line))
	cmd.SetOut(&out)
	cmd.SetErr(&complaint)
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	cmd.SetArgs([]string{name})
	if err := cmd.Execute(); err != nil {
		return nil, err
	}
	var got map[string]any
	if err := json.Unmarshal([]byte(out.String()), &got); err != nil {
		t.Fatalf("%s of %s: %v", name, line, err)
	}
	return got, nil
}

// Answers of scipy 1.17, statsmodels 0.15 and numpy 2.4 (rows of the golden file
// stats.jsonl, seed 1), and one of each key.
func TestStat(t *testing.T) {
	for _, c := range []struct{ name, line, want string }{
		{"wilson", `{"k":0,"n":1,"level":0.95}`, `{"low":0,"high":0.7934506856227626}`},
		{"mcnemar", `{"b":0,"c":0}`, `{"exact_p":1,"plain_p":"NaN","corrected_statistic":"NaN","corrected_p":"NaN","plain_statistic":"NaN"}`},
		{"mcnemar", `{"b":1,"c":0}`, `{"exact_p":1,"corrected_statistic":0,"corrected_p":1,"plain_statistic":1,"plain_p":0.31731050786291115}`},
		{"paired_bootstrap", `{"a":[0,0,1],"b":[1,0,0.5],"indices":[[0,0,1],[2,2,2]]}`,
			`{"mean_difference":0.16666666666666666,"std":0.5833333333333333,"replicates":[0.6666666666666666,-0.5],"percentile_95":[-0.47083333333333333,0.6375],"share_at_or_below_0":0.5}`},
		{"paired_bootstrap", `{"a":[0,0],"b":[1,1],"resamples":50,"seed":3}`, `{"mean_difference":1,"std":0,"percentile_95":[1,1],"share_at_or_below_0":0}`},
		{"correlation", `{"x":[-1.0627,-1.1807,2.0809,1.0999,-0.7038],"y":[-1.1346,-3.226,0.7158,1.9667,-2.4282]}`,
			`{"spearman":0.7999999999999999,"spearman_p":0.10408803866182788,"pearson":0.8381769509711547,"pearson_p":0.0762186563539206,"ranks_x":[2,1,5,4,3]}`},
		{"correlation", `{"x":[1,1,1],"y":[1,2,3]}`, `{"spearman":"NaN","spearman_p":"NaN","pearson":"NaN","pearson_p":"NaN","ranks_x":[2,2,2]}`},
		{"ols", `{"x":[[1],[2],[3]],"y":[3,5,7]}`, `{"rank":2,"coefficients":[5,1.632993161855452],"fitted":[3,5,7],"rmse_in_sample":0,"rmse_leave_one_out":0}`},
		{"ridge", `{"x":[[1],[2],[3]],"y":[3,5,7],"lambda":3}`, `{"intercept":5,"coefficients":[0.816496580927726],"rmse_leave_one_out":1.9595917942265424,"rmse_leave_one_out_rescaled":1.4696938456699074}`},
		{"holm", `{"p":[0.01,0.04,0.03,0.005]}`, `{"adjusted":[0.03,0.06,0.06,0.02],"reject_at_0.05":[true,false,false,true]}`},
		{"mean_stderr", `{"values":[0.8884,0.6035]}`, `{"mean":0.74595,"stderr":0.14244999999999994,"t_95":[-1.0640488646680843,2.5559488646680843]}`},
		{"percentile", `{"values":[4,3,2,1],"q":[0,5,95]}`, `{"linear":[1,1.15,3.8499999999999996]}`},
		{"percentile", `{"values":[4,3,2,1],"q":50}`, `{"linear":2.5}`},
		{"pass_at_k", `{"n":10,"c":3,"k":5}`, `{"value":0.9166666666666666}`},
	} {
		got, err := stat(t, c.name, c.line)
		if err != nil {
			t.Errorf("%s of %s: %v", c.name, c.line, err)
			continue
		}
		var want map[string]any
		if err := json.Unmarshal([]byte(c.want), &want); err != nil {
			t.Fatal(err)
		}
		for key := range got {
			if !alike(got[key], want[key]) {
				t.Errorf("%s of %s: %s is %v, want %v", c.name, c.line, key, got[key], want[key])
			}
		}
		if len(got) != len(want) {
			t.Errorf("%s of %s: %v, want %v", c.name, c.line, got, want)
		}
	}
}

func alike(a, b any) bool {
	switch a := a.(type) {
	case float64:
		b, ok := b.(float64)
		return ok && math.Abs(a-b) <= 1e-12*max(1, math.Abs(b))
	case []any:
		b, ok := b.([]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for i := range a {
			if !alike(a[i], b[i]) {
				return false
			}
		}
		return true
	}
	return a == b
}

func TestStatMistakes(t *testing.T) {
	for _, c := range []struct{ name, line, want string }{
		{"wilsen", `{}`, "no such statistic"},
		{"wilson", `{"k":1}`, "lacks n"},
		{"mcnemar", `{"b":[1],"c":2}`, "no count"},
		{"paired_bootstrap", `{"a":[1],"b":[1,2]}`, "a has 1 values and b has 2"},
		{"paired_bootstrap", `{"a":[1],"b":[1],"indices":[[1]]}`, "draws pair 1 of 1"},
		{"paired_bootstrap", `{"a":[1],"b":[1],"resamples":-1}`, "resamples is -1"},
		{"paired_bootstrap", `{"a":[1],"b":[1],"resamples":100000000000}`, "resamples is 1"},
		{"ols", `{"x":[[1],[1,2]],"y":[1,2]}`, "row 1 of x has 2 columns"},
		{"ridge", `{"x":[[1]],"y":[1],"lambda":0}`, "lambda is 0"},
		{"correlation", `{"x":[1,2],"y":[1]}`, "x has 2 values"},
	} {
		if _, err := stat(t, c.name, c.line); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s of %s: error %v, want %q", c.name, c.line, err, c.want)
		}
	}
}

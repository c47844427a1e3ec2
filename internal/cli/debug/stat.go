package debug

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/stats"
	"github.com/evalrun/evalrun/internal/nearest"
)

// statInput is a line for any statistic; each reads its own keys.
type statInput struct {
	K      *int            `json:"k"`
	N      *int            `json:"n"`
	Level  *float64        `json:"level"`
	A      []Number        `json:"a"`
	B      json.RawMessage `json:"b"` // a count (mcnemar) or a list (paired_bootstrap)
	C      *int            `json:"c"`
	Lambda *float64        `json:"lambda"`

	Indices   [][]int `json:"indices"`
	Resamples int     `json:"resamples"`
	Seed      uint64  `json:"seed"`
	Clusters  []int   `json:"clusters"`

	X      json.RawMessage `json:"x"` // a list (correlation) or rows (ols, ridge)
	Y      []Number        `json:"y"`
	P      []Number        `json:"p"`
	Values []Number        `json:"values"`
	Q      json.RawMessage `json:"q"` // a number or a list
}

// statistics are what `debug stat NAME` computes, by name.
var statistics = map[string]func(statInput) (any, error){
	"wilson": statWilson, "mcnemar": statMcNemar, "paired_bootstrap": statPairedBootstrap, "correlation": statCorrelation,
	"ols": statOLS, "ridge": statRidge, "holm": statHolm, "mean_stderr": statMeanStderr, "percentile": statPercentile, "pass_at_k": statPassAtK,
}

func newStat() *cobra.Command {
	var names []string
	for name := range statistics {
		names = append(names, name)
	}
	slices.Sort(names)
	cmd := &cobra.Command{
		Use:   "stat NAME",
		Short: "intervals, tests, correlations and regressions: " + strings.Join(names, ", "),
		Example: "  echo '{\"k\":8,\"n\":10,\"level\":0.95}' | evalrun debug stat wilson\n" +
			"  echo '{\"p\":[0.01,0.04,0.03]}' | evalrun debug stat holm",
		Args: cobra.ExactArgs(1), ValidArgs: names,
	}
	in := inFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		f := statistics[args[0]]
		if f == nil {
			hint := "the names are " + strings.Join(names, ", ")
			if near := nearest.Word(args[0], names); near != "" {
				hint = "did you mean " + near + "?"
			}
			return &core.UserError{Where: "debug stat " + args[0], Message: "there is no such statistic", Hint: hint}
		}
		return eachLine(cmd, *in, f)
	}
	return cmd
}

// needs complains of keys that a line lacks.
func needs(present map[string]bool) error {
	var missing []string
	for key, have := range present {
		if !have {
			missing = append(missing, key)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	slices.Sort(missing)
	return &core.UserError{Message: "the line lacks " + strings.Join(missing, ", ")}
}

func floats(list []Number) []float64 {
	out := make([]float64, len(list))
	for i, v := range list {
		out[i] = float64(v)
	}
	return out
}

func numbers(list []float64) []Number {
	out := make([]Number, len(list))
	for i, v := range list {
		out[i] = Number(v)
	}
	return out
}

// list reads key as numbers.
func list(key string, raw json.RawMessage) ([]float64, error) {
	var v []Number
	if err := json.Unmarshal(raw, &v); err != nil {
		return nil, &core.UserError{Message: key + " is no list of numbers: " + err.Error()}
	}
	return floats(v), nil
}

func interval(i stats.Interval) [2]Number { return [2]Number{Number(i.Low), Number(i.High)} }

func statWilson(in statInput) (any, error) {
	if err := needs(map[string]bool{"k": in.K != nil, "n": in.N != nil}); err != nil {
		return nil, err
	}
	level := 0.95
	if in.Level != nil {
		level = *in.Level
	}
	i := stats.Wilson(*in.K, *in.N, level)
	return struct {
		Low  Number `json:"low"`
		High Number `json:"high"`
	}{Number(i.Low), Number(i.High)}, nil
}

func statMcNemar(in statInput) (any, error) {
	if err := needs(map[string]bool{"b": in.B != nil, "c": in.C != nil}); err != nil {
		return nil, err
	}
	var b int
	if err := json.Unmarshal(in.B, &b); err != nil {
		return nil, &core.UserError{Message: fmt.Sprintf("b is %.40s, no count", in.B)}
	}
	r := stats.McNemar(b, *in.C)
	return struct {
		ExactP             Number `json:"exact_p"`
		CorrectedStatistic Number `json:"corrected_statistic"`
		CorrectedP         Number `json:"corrected_p"`
		PlainStatistic     Number `json:"plain_statistic"`
		PlainP             Number `json:"plain_p"`
	}{Number(r.ExactP), Number(r.CorrectedStatistic), Number(r.CorrectedP), Number(r.PlainStatistic), Number(r.PlainP)}, nil
}

// defaultResamples is that of evalrun compare.
const defaultResamples = 10_000

func statPairedBootstrap(in statInput) (any, error) {
	if err := needs(map[string]bool{"a": in.A != nil, "b": in.B != nil}); err != nil {
		return nil, err
	}
	a := floats(in.A)
	b, err := list("b", in.B)
	if err != nil {
		return nil, err
	}
	if len(a) != len(b) || len(a) == 0 {
		return nil, &core.UserError{Message: fmt.Sprintf("a has %d values and b has %d", len(a), len(b)), Hint: "pairs need lists of one length"}
	}
	type answer struct {
		MeanDifference  Number    `json:"mean_difference"`
		Std             Number    `json:"std"`
		Replicates      []Number  `json:"replicates,omitempty"`
		Percentile95    [2]Number `json:"percentile_95"`
		ShareAtOrBelow0 Number    `json:"share_at_or_below_0"`
	}
	resamples := in.Resamples
	switch {
	case resamples < 0 || resamples > stats.MaxResamples:
		return nil, &core.UserError{Message: fmt.Sprintf("resamples is %d", resamples), Hint: fmt.Sprintf("1 to %d can be drawn", stats.MaxResamples)}
	case resamples == 0:
		resamples = defaultResamples
	}
	var p stats.Paired
	switch {
	case in.Indices != nil:
		for r, draw := range in.Indices {
			if i := slices.IndexFunc(draw, func(i int) bool { return i < 0 || i >= len(a) }); i >= 0 {
				return nil, &core.UserError{Message: fmt.Sprintf("indices[%d] draws pair %d of %d", r, draw[i], len(a))}
			}
		}
		p = stats.PairedBootstrapIndices(a, b, in.Indices)
	case in.Clusters != nil:
		if len(in.Clusters) != len(a) {
			return nil, &core.UserError{Message: fmt.Sprintf("clusters has %d values for %d pairs", len(in.Clusters), len(a))}
		}
		p = stats.PairedBootstrapClustered(a, b, in.Clusters, resamples, in.Seed)
	default:
		p = stats.PairedBootstrap(a, b, resamples, in.Seed)
	}
	out := answer{MeanDifference: Number(p.MeanDifference), Std: Number(p.Std), Percentile95: interval(p.Percentile95), ShareAtOrBelow0: Number(p.ShareAtOrBelow0)}
	if in.Indices != nil {
		out.Replicates = numbers(p.Replicates)
	}
	return out, nil
}

func statCorrelation(in statInput) (any, error) {
	if err := needs(map[string]bool{"x": in.X != nil, "y": in.Y != nil}); err != nil {
		return nil, err
	}
	x, err := list("x", in.X)
	if err != nil {
		return nil, err
	}
	if len(x) != len(in.Y) {
		return nil, &core.UserError{Message: fmt.Sprintf("x has %d values and y has %d", len(x), len(in.Y))}
	}
	c := stats.Correlate(x, floats(in.Y))
	return struct {
		Spearman  Number   `json:"spearman"`
		SpearmanP Number   `json:"spearman_p"`
		Pearson   Number   `json:"pearson"`
		PearsonP  Number   `json:"pearson_p"`
		RanksX    []Number `json:"ranks_x"`
	}{Number(c.Spearman), Number(c.SpearmanP), Number(c.Pearson), Number(c.PearsonP), numbers(c.RanksX)}, nil
}

// design reads the rows of x and the values of y.
func (in statInput) design() ([][]float64, []float64, error) {
	if err := needs(map[string]bool{"x": in.X != nil, "y": in.Y != nil}); err != nil {
		return nil, nil, err
	}
	var rows [][]float64
	if err := json.Unmarshal(in.X, &rows); err != nil {
		return nil, nil, &core.UserError{Message: "x is no list of rows of numbers: " + err.Error()}
	}
	if len(rows) != len(in.Y) || len(rows) == 0 {
		return nil, nil, &core.UserError{Message: fmt.Sprintf("x has %d rows and y has %d values", len(rows), len(in.Y))}
	}
	for i, row := range rows {
		if len(row) != len(rows[0]) {
			return nil, nil, &core.UserError{Message: fmt.Sprintf("row %d of x has %d columns, row 0 has %d", i, len(row), len(rows[0]))}
		}
	}
	return rows, floats(in.Y), nil
}

var errNoFit = &core.UserError{Message: "there is no fit", Hint: "all values must be finite"}

func statOLS(in statInput) (any, error) {
	x, y, err := in.design()
	if err != nil {
		return nil, err
	}
	f, ok := stats.OLS(x, y)
	if !ok {
		return nil, errNoFit
	}
	return struct {
		Rank         int      `json:"rank"`
		Coefficients []Number `json:"coefficients"`
		Fitted       []Number `json:"fitted"`
		RMSE         Number   `json:"rmse_in_sample"`
		LeaveOneOut  Number   `json:"rmse_leave_one_out"`
	}{f.Rank, append([]Number{Number(f.Intercept)}, numbers(f.Coefficients)...), numbers(f.Fitted), Number(f.RMSE), Number(f.LeaveOneOut)}, nil
}

func statRidge(in statInput) (any, error) {
	if in.Lambda == nil {
		return nil, needs(map[string]bool{"lambda": false})
	}
	x, y, err := in.design()
	if err != nil {
		return nil, err
	}
	if !(*in.Lambda > 0) {
		return nil, &core.UserError{Message: fmt.Sprintf("lambda is %v", *in.Lambda), Hint: "ridge needs a penalty above 0; debug stat ols has none"}
	}
	f, ok := stats.Ridge(x, y, *in.Lambda)
	if !ok {
		return nil, errNoFit
	}
	return struct {
		Intercept    Number   `json:"intercept"`
		Coefficients []Number `json:"coefficients"`
		LeaveOneOut  Number   `json:"rmse_leave_one_out"`
		Rescaled     Number   `json:"rmse_leave_one_out_rescaled"`
	}{Number(f.Intercept), numbers(f.Coefficients), Number(f.LeaveOneOut), Number(f.LeaveOneOutRescaled)}, nil
}

func statHolm(in statInput) (any, error) {
	if err := needs(map[string]bool{"p": in.P != nil}); err != nil {
		return nil, err
	}
	adjusted := stats.Holm(floats(in.P))
	reject := make([]bool, len(adjusted))
	for i, p := range adjusted {
		reject[i] = p <= 0.05
	}
	return struct {
		Adjusted []Number `json:"adjusted"`
		Reject   []bool   `json:"reject_at_0.05"`
	}{numbers(adjusted), reject}, nil
}

func statMeanStderr(in statInput) (any, error) {
	if err := needs(map[string]bool{"values": in.Values != nil}); err != nil {
		return nil, err
	}
	values := floats(in.Values)
	mean, stderr := stats.MeanStderr(values)
	t := stats.StudentT(values, 0.95)
	if in.Clusters != nil {
		if len(in.Clusters) != len(values) {
			return nil, &core.UserError{Message: fmt.Sprintf("clusters has %d values for %d", len(in.Clusters), len(values))}
		}
		mean, stderr, _ = stats.ClusteredStderr(values, in.Clusters)
		t = stats.ClusteredStudentT(values, in.Clusters, 0.95)
	}
	return struct {
		Mean   Number    `json:"mean"`
		Stderr Number    `json:"stderr"`
		T95    [2]Number `json:"t_95"`
	}{Number(mean), Number(stderr), interval(t)}, nil
}

func statPercentile(in statInput) (any, error) {
	if err := needs(map[string]bool{"values": in.Values != nil, "q": in.Q != nil}); err != nil {
		return nil, err
	}
	values := floats(in.Values)
	var one Number
	if json.Unmarshal(in.Q, &one) == nil {
		return map[string]Number{"linear": Number(stats.Percentile(values, float64(one)))}, nil
	}
	q, err := list("q", in.Q)
	if err != nil {
		return nil, err
	}
	for i, v := range q {
		q[i] = stats.Percentile(values, v)
	}
	return map[string][]Number{"linear": numbers(q)}, nil
}

func statPassAtK(in statInput) (any, error) {
	if err := needs(map[string]bool{"n": in.N != nil, "c": in.C != nil, "k": in.K != nil}); err != nil {
		return nil, err
	}
	return map[string]Number{"value": Number(stats.PassAtK(*in.N, *in.C, *in.K))}, nil
}

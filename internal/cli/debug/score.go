package debug

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"gopkg.in/yaml.v3"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/text"
	"github.com/evalrun/evalrun/metrics"
)

// scoreLine is one answer with its references. Values stay raw: the report's
// functions tell 1 from 1.0 and from "1".
type scoreLine struct {
	Prediction json.RawMessage   `json:"prediction"`
	Reference  json.RawMessage   `json:"reference"`
	References []json.RawMessage `json:"references"`
	Args       []json.RawMessage `json:"args"`
	Sentences  *struct {
		Prediction []string   `json:"prediction"`
		Reference  []string   `json:"reference"`
		References [][]string `json:"references"`
	} `json:"sentences"`
}

// scoreWindow is one metric, ready to judge lines.
type scoreWindow struct {
	name    string
	variant string
	params  map[string]any
	profile core.Profile
	labels  []string
	// metric judges where the report's program has no function of that name.
	metric core.Metric
}

func newScore() *cobra.Command {
	var metric, profile, variant string
	var params, labels []string
	cmd := &cobra.Command{
		Use:   "score --metric M",
		Short: "a metric's score of each answer",
		Long: "Score judges {\"prediction\", \"reference\"} (or \"references\") with a metric of evalrun ls metrics, or\n" +
			"with a function of the report's program by its name there (get_accuracy, find_last_number …),\n" +
			"which also takes {\"args\"}. rougeLsum takes {\"sentences\": {\"prediction\": […], \"reference\": […]}}.",
		Example: "  echo '{\"prediction\":\"a b\",\"reference\":\"a c\"}' | evalrun debug score --metric rougeL\n" +
			"  echo '{\"args\":[\"so 18.\",\"18\"]}' | evalrun debug score --metric get_gsm8k_regex",
		Args: cobra.NoArgs,
	}
	in := inFlag(cmd)
	cmd.Flags().StringVar(&metric, "metric", "", "name of the metric")
	cmd.Flags().StringVar(&profile, "profile", "", "strict or bakeoff (default: strict; bakeoff for a function of the report's program)")
	cmd.Flags().StringVar(&variant, "variant", "", "the package whose ROUGE is meant: torchmetrics, google or google-stem")
	cmd.Flags().StringArrayVar(&params, "param", nil, "a parameter of the metric as in a task file, key=value; repeatable")
	cmd.Flags().StringSliceVar(&labels, "labels", nil, "the task's labels")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		w, err := newScoreWindow(metric, profile, variant, params, labels)
		if err != nil {
			return err
		}
		return eachLine(cmd, *in, func(l scoreLine) (any, error) { return w.score(cmd.Context(), l) })
	}
	return cmd
}

func newScoreWindow(metric, profile, variant string, params, labels []string) (*scoreWindow, error) {
	w := &scoreWindow{name: metric, variant: variant, params: map[string]any{}, profile: core.Profile(profile), labels: labels}
	if metric == "" {
		return nil, &core.UserError{Where: "--metric", Message: "no metric is named", Hint: "evalrun ls metrics lists them"}
	}
	own := metrics.IsPublished(metric) && !slices.Contains(metrics.Names(), metric)
	if profile == "" {
		w.profile = core.Strict
		if own {
			w.profile = core.Bakeoff
		}
	}
	if own && w.profile == core.Strict {
		return nil, &core.UserError{Where: "--profile strict", Message: metric + " is a function of the report's program and has no other profile", Hint: "leave --profile out, or name a metric of evalrun ls metrics"}
	}
	for _, p := range params {
		key, value, ok := strings.Cut(p, "=")
		var v any
		if err := yaml.Unmarshal([]byte(value), &v); !ok || err != nil {
			return nil, &core.UserError{Where: "--param " + p, Message: "is not key=value", Hint: "write --param ignore_case=true"}
		}
		w.params[key] = v
	}
	if variant != "" {
		w.params["variant"] = variant
	}
	if own && variant == string(text.Torchmetrics) {
		delete(w.params, "variant") // it is the one that they call
	}
	if metrics.IsPublished(metric) && w.profile == core.Bakeoff && len(w.params) == 0 {
		return w, nil
	}
	if metric == "rougeLsum" && variant == string(text.Torchmetrics) {
		return w, nil // judged by the given sentences alone
	}
	var err error
	w.metric, err = metrics.New(core.MetricSpec{Name: metric, Params: w.params}, w.profile)
	if err != nil {
		return nil, &core.UserError{Where: "--metric " + metric, Message: err.Error(), Hint: "evalrun ls metrics lists metrics and parameters"}
	}
	return w, nil
}

// score is the answer to one line: "score" and the parts, or "error".
func (w *scoreWindow) score(ctx context.Context, l scoreLine) (any, error) {
	if w.metric == nil && w.name != "rougeLsum" {
		return w.published(l)
	}
	if w.name == "rougeLsum" && (l.Sentences != nil || w.metric == nil) {
		return w.lsum(l)
	}
	item := core.Item{Task: &core.Task{Labels: w.labels}}
	raw, err := pythonValue(l.Prediction)
	if err != nil {
		return nil, fmt.Errorf("prediction: %w", err)
	}
	item.Raw = text.Str(raw)
	item.Text = item.Raw
	references := l.References
	if l.Reference != nil {
		references = append([]json.RawMessage{l.Reference}, references...)
	}
	for _, r := range references {
		v, err := pythonValue(r)
		if err != nil {
			return nil, fmt.Errorf("reference: %w", err)
		}
		item.Targets = append(item.Targets, text.Str(v))
	}
	scores, err := w.metric.Score(ctx, []core.Item{item})
	if err != nil {
		return nil, err
	}
	return scoreAnswer(scores[0]), nil
}

func scoreAnswer(s core.Score) map[string]any {
	out := map[string]any{"score": Number(s.Value)}
	for name, v := range s.Parts {
		out[name] = Number(v)
	}
	for name, said := range map[string]string{"extracted": s.Extracted, "skipped": s.Skipped, "warning": s.Warning, "note": s.Note} {
		if said != "" {
			out[name] = said
		}
	}
	if s.Failed {
		out["failed"] = true
	}
	if s.Dropped {
		out["dropped"] = true
	}
	if s.Skipped != "" || s.Dropped {
		delete(out, "score")
		out["error"] = s.Skipped + s.Note
	}
	return out
}

// published calls a function of the report's program.
func (w *scoreWindow) published(l scoreLine) (any, error) {
	raw := l.Args
	if raw == nil {
		for _, v := range append([]json.RawMessage{l.Prediction, l.Reference}, l.References...) {
			if v != nil {
				raw = append(raw, v)
			}
		}
	}
	args := make([]any, len(raw))
	for i, r := range raw {
		v, err := pythonValue(r)
		if err != nil {
			return nil, err
		}
		args[i] = v
	}
	value, exception, known := metrics.Published(w.name, args)
	switch {
	case !known:
		return nil, fmt.Errorf("%s does not take %d arguments", w.name, len(args))
	case exception != "":
		return map[string]any{"error": exception}, nil
	}
	if f, ok := value.(float64); ok {
		value = Number(f)
	}
	return map[string]any{"score": value}, nil
}

// lsum is ROUGE-Lsum over given sentences.
func (w *scoreWindow) lsum(l scoreLine) (any, error) {
	if l.Sentences == nil {
		return map[string]any{"error": "torchmetrics cuts sentences with NLTK's punkt, whose trained parameters evalrun does not have: give them as \"sentences\""}, nil
	}
	r := text.Rouge{Variant: text.Variant(w.variant), Unicode: w.params["tokenizer"] == "unicode"}
	references := l.Sentences.References
	if references == nil {
		references = [][]string{l.Sentences.Reference}
	}
	var results []text.PRF
	for _, reference := range references {
		results = append(results, r.Lsum(l.Sentences.Prediction, reference))
	}
	result := text.Best(results)
	if w.params["accumulate"] == "avg" {
		result = text.Mean(results)
	}
	return map[string]any{"score": Number(result.F), "precision": Number(result.Precision), "recall": Number(result.Recall), "fmeasure": Number(result.F)}, nil
}

// pythonValue reads a JSON value as Python's json does: numbers keep whether
// they have a point.
func pythonValue(raw json.RawMessage) (any, error) {
	if raw == nil {
		return nil, errors.New("is missing")
	}
	if trimmed := bytes.TrimSpace(raw); len(trimmed) > 0 && trimmed[0] == '"' {
		var s pyString
		err := json.Unmarshal(trimmed, &s)
		return string(s), err
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	return v, d.Decode(&v)
}

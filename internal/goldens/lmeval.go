package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// lmSample is a sample of lm-evaluation-harness.
type lmSample struct {
	Task      string              `json:"task"`
	ID        int                 `json:"doc_id"`
	Arguments [][]json.RawMessage `json:"arguments"`
	Resps     []json.RawMessage   `json:"resps"`
	Filtered  []json.RawMessage   `json:"filtered_resps"`
	Filter    string              `json:"filter"`
	Metrics   []string            `json:"metrics"`
	values    map[string]json.RawMessage
}

// ourSample is a line of samples.jsonl.
type ourSample struct {
	Task          string   `json:"task"`
	Sample        string   `json:"sample"`
	Prompt        string   `json:"prompt"`
	Continuations []string `json:"continuations"`
	Response      string   `json:"response"`
	Likelihoods   []struct {
		LogProb float64 `json:"logprob"`
		Greedy  bool    `json:"greedy"`
	} `json:"likelihoods"`
	Scores []ourScore                `json:"scores"`
	Error  *struct{ Message string } `json:"error"`
}

type ourScore struct {
	Metric    string             `json:"metric"`
	Profile   string             `json:"profile"`
	Value     float64            `json:"value"`
	Extracted string             `json:"extracted"`
	Failed    bool               `json:"failed"`
	Parts     map[string]float64 `json:"parts"`
}

// checkLMEval imports the tasks, runs them on their model and holds what was
// sent, answered, extracted and scored to the harness's own log.
func checkLMEval(e *env) error {
	dir := e.path("scoring/lm_eval")
	var results struct {
		Length  int                                   `json:"max_length"`
		Results map[string]map[string]json.RawMessage `json:"results"`
	}
	b, err := os.ReadFile(filepath.Join(dir, "results.json"))
	if err == nil {
		err = json.Unmarshal(b, &results)
	}
	if err != nil {
		return err
	}
	want, err := readLMSamples(filepath.Join(dir, "samples.jsonl"))
	if err != nil {
		return err
	}
	tmp, err := os.MkdirTemp("", "goldens-lmeval")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	got, scores, err := runLMEval(e, dir, tmp, results.Length)
	if err != nil {
		return err
	}
	c := lmChecks{
		prompts: e.tally("prompts and continuations", "equal"), likelihoods: e.tally("log-likelihoods", "1e-3"), greedy: e.tally("greedy", "equal"),
		raw: e.tally("answers", "equal"), filtered: e.tally("answers, filtered", "equal"), scores: e.tally("scores", "1e-9"),
		counts: e.tally("words and bytes", "equal"),
	}
	for _, s := range want {
		g, ok := got[fmt.Sprintf("%s/%d", s.Task, s.ID)]
		if !ok || g.Error != nil {
			c.prompts.row(false, "%s, document %d was not answered", s.Task, s.ID)
			continue
		}
		if err := c.sample(s, g); err != nil {
			return fmt.Errorf("%s, document %d: %w", s.Task, s.ID, err)
		}
	}
	numbers, errors := e.tally("numbers of tasks", "1e-9, perplexities 1e-4 relative"), e.tally("standard errors", "1e-9")
	for task, metrics := range results.Results {
		for name, raw := range metrics {
			metric, filter, ok := strings.Cut(name, ",")
			if !ok {
				continue
			}
			of, isError := strings.CutSuffix(metric, "_stderr")
			var value float64
			if json.Unmarshal(raw, &value) != nil {
				continue // "N/A"
			}
			line, ok := scores[task+"/"+ourName(of, filter)]
			switch {
			case isError && ok && line.StdErr != nil:
				errors.near(value, *line.StdErr, 1e-9, "%s %s", task, name)
			case isError:
				errors.row(false, "%s %s: none is given", task, name)
			case !ok || line.Score == nil:
				numbers.row(false, "%s %s: no score", task, name)
			default:
				limit := 1e-9
				if strings.Contains(of, "perplexity") || of == "bits_per_byte" {
					limit = 1e-4 * math.Abs(value) // of log-likelihoods that differ by 1e-3
				}
				numbers.near(value, *line.Score, limit, "%s %s", task, name)
			}
		}
	}
	return nil
}

// ourName is the name of a metric under a filter.
func ourName(metric, filter string) string {
	if filter == "none" {
		return metric
	}
	return metric + "," + filter
}

func readLMSamples(path string) ([]lmSample, error) {
	lines, err := readLines[json.RawMessage](path)
	if err != nil {
		return nil, err
	}
	out := make([]lmSample, len(lines))
	for i, line := range lines {
		if err := json.Unmarshal(line, &out[i]); err != nil {
			return nil, err
		}
		if err := json.Unmarshal(line, &out[i].values); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// lmScore is a line of scores.json.
type lmScore struct {
	Task, Metric, Profile string
	Score                 *float64
	StdErr                *float64 `json:"stderr"`
}

// runLMEval imports and runs the tasks, and gives samples and scores by name.
func runLMEval(e *env, dir, tmp string, length int) (map[string]ourSample, map[string]lmScore, error) {
	tasks := filepath.Join(tmp, "tasks")
	evalrun := func(args ...string) ([]byte, error) {
		cmd := exec.Command(e.bin, args...)
		cmd.Dir = dir
		var out, complaint bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &complaint
		if err := cmd.Run(); err != nil {
			return nil, fmt.Errorf("evalrun %v: %w: %s", args, err, complaint.String())
		}
		return out.Bytes(), nil
	}
	if _, err := evalrun("import", "lm-eval", "tasks", "--out", tasks); err != nil {
		return nil, nil, err
	}
	files, err := filepath.Glob(filepath.Join(tasks, "*.yaml"))
	if err != nil || len(files) == 0 {
		return nil, nil, fmt.Errorf("no task was imported (%v)", err)
	}
	args := append(files, "--backend", "local", "--model", "model", "--opt", fmt.Sprintf("context=%d", length), "--out", filepath.Join(tmp, "runs"), "--json", "--quiet", "--new")
	out, err := evalrun(args...)
	if err != nil {
		return nil, nil, err
	}
	var run struct {
		Run   string
		Tasks []lmScore
	}
	if err := json.Unmarshal(out, &run); err != nil {
		return nil, nil, err
	}
	scores := map[string]lmScore{}
	for _, s := range run.Tasks {
		if s.Profile == "strict" {
			scores[s.Task+"/"+s.Metric] = s
		}
	}
	lines, err := readLines[ourSample](filepath.Join(run.Run, "samples.jsonl"))
	if err != nil {
		return nil, nil, err
	}
	samples := map[string]ourSample{}
	for _, s := range lines {
		samples[s.Task+"/"+s.Sample] = s
	}
	return samples, scores, nil
}

type lmChecks struct{ prompts, likelihoods, greedy, raw, filtered, scores, counts *tally }

// sample compares one sample; its error is that of a log that is not readable.
func (c lmChecks) sample(s lmSample, g ourSample) error {
	where := fmt.Sprintf("%s, document %d", s.Task, s.ID)
	texts := make([][]string, len(s.Arguments))
	for i, args := range s.Arguments {
		for _, a := range args {
			var text string
			if json.Unmarshal(a, &text) == nil { // generation settings are no text
				texts[i] = append(texts[i], text)
			}
		}
	}
	var generated []string
	if json.Unmarshal(s.Resps[0], &generated) == nil {
		return c.answer(s, g, where, texts[0][0], generated[0])
	}
	rolling := len(texts[0]) == 1
	sent := g.Continuations
	c.prompts.row(len(sent) == len(texts), "%s: %d continuations, want %d", where, len(sent), len(texts))
	for i := range min(len(sent), len(texts), len(g.Likelihoods)) {
		prompt, continuation := "", texts[i][0]
		if !rolling {
			prompt, continuation = texts[i][0], texts[i][1]
		}
		c.prompts.row(g.Prompt == prompt && sent[i] == continuation, "%s: sent %q + %q, want %q + %q", where, g.Prompt, sent[i], prompt, continuation)
		var pair [][]any
		var plain []float64
		switch {
		case json.Unmarshal(s.Resps[i], &plain) == nil && len(plain) == 1:
			c.likelihoods.near(plain[0], g.Likelihoods[i].LogProb, 1e-3, "%s", where)
		case json.Unmarshal(s.Resps[i], &pair) == nil && len(pair) == 1 && len(pair[0]) == 2:
			c.likelihoods.near(pair[0][0].(float64), g.Likelihoods[i].LogProb, 1e-3, "%s, continuation %d", where, i)
			c.greedy.row(pair[0][1] == g.Likelihoods[i].Greedy, "%s, continuation %d: greedy is %v", where, i, g.Likelihoods[i].Greedy)
		default:
			return fmt.Errorf("response %s", s.Resps[i])
		}
	}
	for _, m := range s.Metrics {
		var value float64
		var counted []float64
		at := slices.IndexFunc(g.Scores, func(x ourScore) bool { return x.Metric == m && x.Profile == "strict" })
		switch {
		case at < 0:
			c.scores.row(false, "%s: no %s", where, m)
		case json.Unmarshal(s.values[m], &value) == nil:
			c.scores.near(value, g.Scores[at].Value, 1e-9, "%s, %s", where, m)
		case json.Unmarshal(s.values[m], &counted) == nil && len(counted) == 2:
			c.likelihoods.near(counted[0], -g.Scores[at].Parts["nats"], 1e-3, "%s, %s", where, m)
			c.counts.row(counted[1] == g.Scores[at].Parts["units"], "%s, %s: %v units, want %v", where, m, g.Scores[at].Parts["units"], counted[1])
		}
	}
	return nil
}

// answer compares a generated answer, what a filter made of it and its score.
func (c lmChecks) answer(s lmSample, g ourSample, where, prompt, raw string) error {
	c.prompts.row(g.Prompt == prompt, "%s: sent %q, want %q", where, g.Prompt, prompt)
	c.raw.row(g.Response == raw, "%s: answer %q, want %q", where, g.Response, raw)
	var filtered string
	if err := json.Unmarshal(s.Filtered[0], &filtered); err != nil {
		return err
	}
	for _, m := range s.Metrics {
		var value float64
		if err := json.Unmarshal(s.values[m], &value); err != nil {
			return err
		}
		found := false
		for _, x := range g.Scores {
			if x.Metric != ourName(m, s.Filter) || x.Profile != "strict" {
				continue
			}
			found = true
			text := x.Extracted
			if text == "" && !x.Failed { // the whole answer is not stored again
				text = g.Response
			}
			c.filtered.row(text == filtered || filtered == "" && x.Extracted == "", "%s, %s: %q, want %q", where, s.Filter, text, filtered)
			c.scores.near(value, x.Value, 1e-9, "%s, %s", where, x.Metric)
		}
		c.scores.row(found, "%s: no %s", where, ourName(m, s.Filter))
	}
	return nil
}

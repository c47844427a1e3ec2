package metrics

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/extract"
	"github.com/evalrun/evalrun/core/prompt"
	"github.com/evalrun/evalrun/core/text"
)

// judgeFactory makes the metric that asks a model for its verdict. The score is
// the verdict's place on the scale, from 0 to 1; an answer of the judge without
// one is no verdict on the model, and the item is skipped.
func judgeFactory() Factory {
	return Factory{
		Name: "judge", Summary: "a model's verdict on the answer, by a prompt and a scale (--judge names the model)",
		Params: []string{"prompt", "scale", "pattern", "system", "max_tokens"},
		make: func(spec core.MetricSpec, profile core.Profile) (core.Metric, error) {
			return newJudge(spec.Params, profile)
		},
	}
}

type modelJudge struct {
	info        core.MetricInfo
	template    *prompt.Template
	system      string
	pattern     *extract.Pattern // nil finds the last number, or the first word of the scale
	share       *extract.Pattern // a number out of the scale's best one: 3/5
	low, high   float64          // of a scale of numbers
	words       map[string]float64
	tokens      int
	needsTarget bool // the prompt shows it
}

func newJudge(params map[string]any, profile core.Profile) (*modelJudge, error) {
	j := &modelJudge{info: core.MetricInfo{Name: "judge", Profile: profile, Low: 0, High: 1, HigherIsBetter: true, Needs: []string{"judge"}}}
	var err error
	source, ok := params["prompt"].(string)
	if !ok || strings.TrimSpace(source) == "" {
		return nil, fmt.Errorf("parameter prompt is needed: what the judge is asked, over {input}, {answer}, {target} and the columns")
	}
	if j.template, err = prompt.Parse(source); err != nil {
		return nil, fmt.Errorf("parameter prompt: %w", err)
	}
	seesAnswer := false
	for _, c := range j.template.Columns() {
		switch c.Name {
		case "input":
		case "target":
			j.needsTarget = true
		case "answer":
			seesAnswer = true
		default:
			j.info.Needs = append(j.info.Needs, "field:"+c.Name)
		}
	}
	if !seesAnswer {
		return nil, fmt.Errorf("parameter prompt does not show {answer}")
	}
	if j.system, ok = params["system"].(string); params["system"] != nil && !ok {
		return nil, fmt.Errorf("parameter system must be text, not %v", params["system"])
	}
	if j.tokens, err = intParam(params, "max_tokens", 256, 1, 1<<20); err != nil {
		return nil, err
	}
	if v := params["pattern"]; v != nil {
		s, ok := v.(string)
		if !ok {
			return nil, fmt.Errorf("parameter pattern must be text, not %v", v)
		}
		if j.pattern, err = extract.Compile(s, "", 0); err != nil {
			return nil, fmt.Errorf("parameter pattern: %w", err)
		}
	}
	return j, j.scale(params["scale"])
}

// scale reads [low, high] or {word: number}.
func (j *modelJudge) scale(v any) error {
	number := func(v any) (float64, bool) {
		switch v := v.(type) {
		case int:
			return float64(v), true
		case int64:
			return float64(v), true
		case float64:
			return v, true
		}
		return 0, false
	}
	switch v := v.(type) {
	case []any:
		var ok1, ok2 bool
		if len(v) == 2 {
			j.low, ok1 = number(v[0])
			j.high, ok2 = number(v[1])
		}
		if !ok1 || !ok2 || !(j.low < j.high) {
			return fmt.Errorf("parameter scale is %v, and must be two numbers, the worst and the best: [1, 5]", v)
		}
		var err error
		j.share, err = extract.Compile(sharePattern(j.low, j.high), "i", 0)
		return err
	case map[string]any:
		j.words, j.low, j.high = map[string]float64{}, math.Inf(1), math.Inf(-1)
		for word, x := range v {
			n, ok := number(x)
			if !ok || strings.TrimSpace(word) == "" {
				return fmt.Errorf("parameter scale: %q is no word with a number", word)
			}
			j.words[text.Lower(word)] = n
			j.low, j.high = min(j.low, n), max(j.high, n)
		}
		if j.low < j.high {
			j.info.Binary = len(slices.Compact(slices.Sorted(maps.Values(j.words)))) == 2
			return nil
		}
	}
	return fmt.Errorf("parameter scale is needed: [1, 5], or words with their numbers: {good: 1, bad: 0}")
}

// Info describes the metric.
func (j *modelJudge) Info() core.MetricInfo { return j.info }

// Score asks for a verdict on each item, and reads it when it is there.
func (j *modelJudge) Score(ctx context.Context, items []core.Item) ([]core.Score, error) {
	scores := make([]core.Score, len(items))
	for i := range items {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("score item %s: %w", items[i].ID, err)
		}
		if j.needsTarget && len(items[i].Targets) == 0 {
			scores[i].Skipped = "the row has no target"
		} else if len(items[i].Judged) > 0 {
			scores[i] = j.verdict(items[i].Judged[0].Text)
		} else {
			scores[i] = j.ask(&items[i])
		}
	}
	return scores, nil
}

// Aggregate is the mean with its interval; see Mean.
func (j *modelJudge) Aggregate(scores []core.Score) core.Aggregate { return Mean(j.info, scores) }

func (j *modelJudge) ask(it *core.Item) core.Score {
	if it.ExtractFailed {
		return failed(extractionFailed)
	}
	fields := maps.Clone(it.Fields)
	if fields == nil {
		fields = map[string]any{}
	}
	fields["input"], fields["answer"], fields["target"] = it.Prompt, it.Text, strings.Join(it.Targets, "\n")
	question, err := j.template.Render(fields)
	if err != nil {
		return core.Score{Skipped: "the judge's prompt cannot be filled in: " + err.Error()}
	}
	r := core.Request{Kind: core.Generate, Prompt: question, Generation: core.Generation{MaxTokens: j.tokens}, Overflow: core.OverflowKeepTail}
	if j.system != "" {
		r.Messages, r.Prompt = []core.Message{{Role: "system", Content: j.system}, {Role: "user", Content: question}}, ""
	}
	return core.Score{Requests: []core.Request{r}}
}

const noVerdict = "the judge gave no verdict of the scale"

// verdictNumber is where a verdict on a scale of numbers is looked for.
var verdictNumber = func() *extract.Pattern {
	p, err := extract.Compile(`(?<![\w.])-?\d+(?:\.\d+)?(?![\w])`, "", 0)
	if err != nil {
		panic(err)
	}
	return p
}()

func (j *modelJudge) verdict(said string) core.Score {
	found := said
	switch {
	case j.pattern != nil:
		m, err := j.pattern.Search(said)
		ok := err == nil && m != nil
		if ok {
			found, ok = m.Pick(-1)
		}
		if !ok {
			return core.Score{Skipped: noVerdict, Note: short(said)}
		}
	case j.words == nil:
		m, err := verdictNumber.Select(said, -1)
		if err != nil || m == nil {
			return core.Score{Skipped: noVerdict, Note: short(said)}
		}
		found = m.Groups[0]
		// In "3/5" the last number is the scale's and not the verdict.
		if of, err := j.share.Select(said, -1); err == nil && of != nil && of.Spans[0][1] == m.Spans[0][1] {
			found = of.Groups[1]
		}
	}
	value, ok := j.value(found)
	if !ok {
		return core.Score{Skipped: noVerdict, Note: short(said)}
	}
	return core.Score{Value: (value - j.low) / (j.high - j.low), Note: short(said)}
}

// sharePattern finds a number that the end of its scale stands behind: 3/5, **3**
// out of 5, 3 (of a possible 5), 3 on a scale of 1 to 5.
func sharePattern(low, high float64) string {
	number := func(v float64) string {
		return strings.ReplaceAll(strconv.FormatFloat(v, 'f', -1, 64), ".", `\.`) + `(?:\.0+)?`
	}
	const mark = "[*_`]*" // of Markdown
	return `(?<![\w.])(-?\d+(?:\.\d+)?)` + mark + `\s*\(?` +
		`(?:/|(?:out of|of)(?: a possible)?|(?:on (?:a|the) )?scale(?: of| from|:)? ` + number(low) + `\s*(?:-|–|to))` +
		`\s*` + mark + number(high) + `(?!\w)`
}

// value is a verdict's number on the scale.
func (j *modelJudge) value(s string) (float64, bool) {
	if j.words == nil {
		v, ok := text.ParseFloat(s)
		return v, ok && v >= j.low && v <= j.high
	}
	s = text.Lower(s)
	best, at := "", len(s)
	for word := range j.words {
		if i := wholeWord(s, word); i >= 0 && (i < at || i == at && len(word) > len(best)) {
			best, at = word, i
		}
	}
	v, ok := j.words[best]
	return v, ok && best != ""
}

// wholeWord is where a word stands by itself, or -1.
func wholeWord(s, word string) int {
	for from := 0; ; {
		i := strings.Index(s[from:], word)
		if i < 0 {
			return -1
		}
		i += from
		before, after := []rune(s[:i]), []rune(s[i+len(word):])
		if (len(before) == 0 || !text.IsWord(before[len(before)-1])) && (len(after) == 0 || !text.IsWord(after[0])) {
			return i
		}
		from = i + 1
	}
}

// short keeps what the judge said within a note.
func short(s string) string {
	s = text.Strip(s)
	if r := []rune(s); len(r) > 300 {
		return "…" + string(r[len(r)-300:])
	}
	return s
}

package report

import (
	"bytes"
	"encoding/csv"
	"encoding/xml"
	"fmt"
	"strconv"
	"strings"

	"github.com/evalrun/evalrun/core/record"
	"github.com/evalrun/evalrun/results"
)

// errorTolerance is the share of API errors above which a task counts as an
// error in junit.xml: the default of --max-errors.
const errorTolerance = 0.01

// csvTable is the whole table, one line a task, model, metric and profile, the
// numbers unrounded.
func csvTable(s results.Scores) ([]byte, error) {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	_ = w.Write([]string{"task", "category", "model", "metric", "profile", "better", "score", "low_95", "high_95", "interval_method", "baseline", "baseline_answer", "n",
		"api_errors", "extraction_failed", "truncated", "cut", "empty", "dropped", "non_finite", "cached", "prompt_tokens", "completion_tokens", "cost_usd", "seconds",
		"threshold", "unfinished", "skipped", "published_metric", "published_gpt_4", "published_best_base", "published_best_finetuned", "published_other_prompt", "withheld", "answers"})
	for _, l := range s.Tasks {
		low, high := "", ""
		if len(l.Interval) == 2 {
			low, high = number(&l.Interval[0]), number(&l.Interval[1])
		}
		row := []string{l.Task, l.Category, l.Model, l.Metric, string(l.Profile), l.Better, number(l.Score), low, high, l.Method, number(l.Baseline), l.Constant, strconv.Itoa(l.N),
			strconv.Itoa(l.APIErrors), strconv.Itoa(l.ExtractionFailed), strconv.Itoa(l.Truncated), strconv.Itoa(l.Cut), strconv.Itoa(l.Empty), strconv.Itoa(l.Dropped), strconv.Itoa(l.NonFinite),
			strconv.Itoa(l.Cached), strconv.Itoa(l.PromptTokens), strconv.Itoa(l.CompletionTokens), float(l.CostUSD), float(l.Seconds), "", strconv.FormatBool(l.Unfinished), l.Skipped, "", "", "", "", "", strconv.Itoa(l.Withheld), strconv.Itoa(l.Answered())}
		if l.Threshold != nil {
			row[25] = float(*l.Threshold)
		}
		if p := l.Published; p != nil {
			copy(row[28:], []string{p.Metric, float(p.GPT4), float(p.BestBase), float(p.BestFinetuned), strconv.FormatBool(p.OtherPrompt)})
		}
		_ = w.Write(row)
	}
	w.Flush()
	return b.Bytes(), w.Error()
}

func number(f *record.Float) string {
	if f == nil {
		return ""
	}
	return float(float64(*f))
}

func float(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }

// The JUnit form that CI systems read: a suite a model, a case a task.
type junitSuites struct {
	XMLName  xml.Name     `xml:"testsuites"`
	Name     string       `xml:"name,attr"`
	Tests    int          `xml:"tests,attr"`
	Failures int          `xml:"failures,attr"`
	Errors   int          `xml:"errors,attr"`
	Skipped  int          `xml:"skipped,attr"`
	Time     string       `xml:"time,attr"`
	Suites   []junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name      string      `xml:"name,attr"`
	Tests     int         `xml:"tests,attr"`
	Failures  int         `xml:"failures,attr"`
	Errors    int         `xml:"errors,attr"`
	Skipped   int         `xml:"skipped,attr"`
	Time      string      `xml:"time,attr"`
	Timestamp string      `xml:"timestamp,attr"`
	Cases     []junitCase `xml:"testcase"`
}

type junitCase struct {
	Name    string        `xml:"name,attr"`
	Class   string        `xml:"classname,attr"`
	Time    string        `xml:"time,attr"`
	Failure *junitMessage `xml:"failure"`
	Error   *junitMessage `xml:"error"`
	Skipped *junitMessage `xml:"skipped"`
	Out     string        `xml:"system-out,omitempty"`
}

type junitMessage struct {
	Message string `xml:"message,attr"`
	Type    string `xml:"type,attr,omitempty"`
}

// junitXML fails a task below --min-score or its threshold; API errors above the tolerance
// make an error of it, because then its score says little.
func junitXML(m results.Manifest, s results.Scores) ([]byte, error) {
	all := junitSuites{Name: "evalrun " + m.ID}
	var total float64
	for _, label := range s.Models() {
		suite := junitSuite{Name: label, Timestamp: m.Created.UTC().Format("2006-01-02T15:04:05")}
		var seconds float64
		var tasks []string
		byTask := map[string][]results.Score{}
		for _, l := range s.Tasks {
			if l.Model != label {
				continue
			}
			if byTask[l.Task] == nil {
				tasks = append(tasks, l.Task)
				seconds += l.Seconds
			}
			byTask[l.Task] = append(byTask[l.Task], l)
		}
		for _, t := range tasks {
			c := caseOf(label, byTask[t])
			switch {
			case c.Error != nil:
				suite.Errors++
			case c.Failure != nil:
				suite.Failures++
			case c.Skipped != nil:
				suite.Skipped++
			}
			suite.Cases = append(suite.Cases, c)
		}
		suite.Tests, suite.Time = len(suite.Cases), fmt.Sprintf("%.3f", seconds)
		total += seconds
		all.Tests += suite.Tests
		all.Failures += suite.Failures
		all.Errors += suite.Errors
		all.Skipped += suite.Skipped
		all.Suites = append(all.Suites, suite)
	}
	all.Time = fmt.Sprintf("%.3f", total)
	b, err := xml.MarshalIndent(all, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("junit: %w", err)
	}
	return append(append([]byte(xml.Header), b...), '\n'), nil
}

func caseOf(label string, lines []results.Score) junitCase {
	first := lines[0] // in the run's own profile
	c := junitCase{Name: first.Task, Class: label, Time: fmt.Sprintf("%.3f", first.Seconds)}
	var out []string
	for _, l := range lines {
		out = append(out, fmt.Sprintf("%s (%s): %s, n %d, baseline %s", l.Metric, l.Profile, cellOf(label, &l, nil).Text, l.N, some(l.Baseline)))
	}
	if f := flags(lines); len(f) > 0 {
		out = append(out, strings.Join(f, ", "))
	}
	c.Out = strings.Join(out, "\n")
	asked := first.Answered() + first.APIErrors
	switch {
	case float64(first.APIErrors) > errorTolerance*float64(asked):
		c.Error = &junitMessage{Message: fmt.Sprintf("%d of %d requests got no answer", first.APIErrors, asked), Type: "api errors"}
	case first.Skipped != "":
		c.Skipped = &junitMessage{Message: first.Skipped}
	case first.Score == nil:
		c.Error = &junitMessage{Message: "no answer was scored", Type: "no score"}
	default:
		for _, l := range lines {
			least, name, missed := l.Gate()
			if !missed {
				continue
			}
			word := "below"
			if l.Better == "lower" {
				word = "above"
			}
			kind := strings.TrimPrefix(name, "--")
			if name == kind {
				name = "the " + name
			}
			c.Failure = &junitMessage{Message: fmt.Sprintf("%s %.4f is %s %s %g", l.Metric, float64(*l.Score), word, name, least), Type: kind}
		}
	}
	return c
}

package metrics

import (
	"slices"
	"strings"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/text"
)

const extractionFailed = "the task's extraction found nothing"

// labelFactory makes an accuracy over a vocabulary. vocab makes it of the
// task's labels; nil takes them as they are, and none means that any text is a
// label.
func labelFactory(name, summary string, vocab func(labels []string) vocabulary, published pyFunction) Factory {
	if vocab == nil {
		vocab = labelVocabulary
	}
	return Factory{Name: name, Summary: "accuracy: " + summary, make: func(_ core.MetricSpec, profile core.Profile) (core.Metric, error) {
		info := core.MetricInfo{Name: name, Profile: profile, Low: 0, High: 1, HigherIsBetter: true, Binary: true}
		if name == "dbpedia" && profile == core.Bakeoff {
			info.Binary = false // it is ROUGE there
		}
		if profile == core.Bakeoff {
			switch name {
			case "arc_accuracy", "covid_accuracy", "winogrande_accuracy":
				info.Notes = append(info.Notes, "the published program names "+name+" and lacks it; its plain accuracy stands in")
			}
			if name == "binary_accuracy_flex" {
				info.Reads = []core.Pattern{publishedBinaryReads}
			}
			return publishedMetric(info, published), nil
		}
		if name == "binary_accuracy_flex" {
			info.Reads = []core.Pattern{binaryReads}
		}
		j := &labelJudge{make: vocab}
		return &itemMetric{info, j.score}, nil
	}}
}

// What the two profiles of binary_accuracy_flex read. Strict: a word or lone
// digit of its vocabulary with what follows it; whatever stands before decides
// first, and is settled by then. The published function: once a 1 is there,
// nothing else counts; all its other words a later 1 overrules.
var (
	binaryReads          = core.Pattern{Expr: `(?<![\w.,+-])(?:[01](?=[^\w.,])|(?:[Yy][Ee][Ss]|[Nn][Oo]|[Tt][Rr][Uu][Ee]|[Ff][Aa][Ll][Ss][Ee]|[Pp][Oo][Ss][Ii][Tt][Ii][Vv][Ee]|[Nn][Ee][Gg][Aa][Tt][Ii][Vv][Ee])(?=\W))`}
	publishedBinaryReads = core.Pattern{Expr: `1`}
)

// labelJudge is the strict profile.
type labelJudge struct {
	make   func([]string) vocabulary
	labels []string // of which vocab was made
	vocab  vocabulary
	ready  bool
}

func (j *labelJudge) score(it *core.Item) core.Score {
	var labels []string
	if it.Task != nil {
		labels = it.Task.Labels
	}
	if !j.ready || !slices.Equal(labels, j.labels) {
		j.labels, j.vocab, j.ready = slices.Clone(labels), j.make(labels), true
	}
	if it.ExtractFailed {
		return failed(extractionFailed)
	}
	if len(j.vocab.words)+len(j.vocab.numbers) == 0 {
		answer := plain(it.Text)
		if answer == "" {
			return failed("the answer is empty")
		}
		return hit(answer, slices.ContainsFunc(it.Targets, func(t string) bool { return plain(t) == answer }))
	}
	answer, ok := j.vocab.find(it.Text)
	if !ok {
		return failed("no label found in the answer")
	}
	return hit(answer, slices.ContainsFunc(it.Targets, func(t string) bool {
		label, ok := j.vocab.find(t)
		return ok && label == answer
	}))
}

func hit(extracted string, ok bool) core.Score {
	s := core.Score{Extracted: extracted}
	if ok {
		s.Value = 1
	}
	return s
}

// plain is the form in which free answers are compared: lower case, without
// outer white space and points.
func plain(s string) string {
	return text.Lower(strings.TrimFunc(s, func(r rune) bool { return text.IsSpace(r) || r == '.' }))
}

package openai

import (
	_ "embed"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"github.com/evalrun/evalrun/core"
)

//go:embed models.csv
var modelsCSV string

// A modelFact is a row of models.csv.
type modelFact struct {
	prices  core.Prices
	context int
	form    string
	fixed   bool
}

var models = sync.OnceValue(func() map[string]modelFact {
	facts := make(map[string]modelFact)
	for line := range strings.Lines(modelsCSV) {
		line = strings.TrimSpace(line)
		f := strings.Split(line, ",")
		if strings.HasPrefix(line, "#") || len(f) != 6 || f[0] == "model" {
			continue
		}
		in, err1 := strconv.ParseFloat(f[1], 64)
		out, err2 := strconv.ParseFloat(f[2], 64)
		context, err3 := strconv.Atoi(f[3])
		if err1 != nil || err2 != nil || err3 != nil {
			continue // the package's test reads the same table strictly
		}
		facts[f[0]] = modelFact{
			prices:  core.Prices{Known: true, Input: in, Output: out},
			context: context, form: f[4], fixed: f[5] == "yes",
		}
	}
	return facts
})

// dated is the tail of a snapshot's name, such as -2024-07-18.
var dated = regexp.MustCompile(`-\d{4}-\d{2}-\d{2}$`)

// factOf finds what is known of a model: its own row, or that of the name
// without the date of a snapshot.
func factOf(model string) (modelFact, bool) {
	f, ok := models()[model]
	if !ok {
		f, ok = models()[dated.ReplaceAllString(model, "")]
	}
	return f, ok
}

// sampleFixed tells whether the service refuses sampling parameters for the
// model. Families are told by their beginnings, so that a model younger than
// the table is treated right.
func sampleFixed(model string) bool {
	if f, ok := factOf(model); ok {
		return f.fixed
	}
	for _, p := range []string{"o1", "o3", "o4", "gpt-5", "gpt-6"} {
		if strings.HasPrefix(model, p) {
			return true
		}
	}
	return false
}

// Prices of a model at its list price; Known is false for others.
func Prices(model string) core.Prices {
	f, _ := factOf(model)
	return f.prices
}

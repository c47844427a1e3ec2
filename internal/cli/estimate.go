package cli

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/evalrun/evalrun/backends/openai"
	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/cl100k"
	"github.com/evalrun/evalrun/core/run"
	"github.com/evalrun/evalrun/tasks"
)

// Estimate is the cost in USD of rows requests with in tokens of input and out
// tokens of output each: rows · (in · price of input + out · price of output),
// prices being per million tokens.
func Estimate(rows int, in, out float64, p core.Prices) float64 {
	return float64(rows) * (in*p.Input + out*p.Output) / 1e6
}

// countRequest counts the input of a request in tokens of cl100k_base, the
// vocabulary of gpt-4 and gpt-3.5-turbo; other models come near it. In the chat form each message
// costs four tokens and the beginning of the answer three.
//
// A request that scores continuations sends its prompt with each of them.
func countRequest(r core.Request) int {
	n := 0
	if r.Messages == nil {
		n = cl100k.Count(r.Prompt)
	} else {
		n = 3
		for _, m := range r.Messages {
			n += cl100k.Count(m.Content) + 4
		}
	}
	if r.Kind == core.ScoreText {
		n *= max(1, len(r.Continuations))
		for _, c := range r.Continuations {
			n += cl100k.Count(c)
		}
	}
	return n
}

// A pricing is the model that an estimate is for.
type pricing struct {
	Model  string
	Prices core.Prices
	info   core.Info
}

// pricesFor finds the prices of a model: given ones, or those of the built-in
// list. Without a model nothing is priced.
func pricesFor(model string, in, out float64) (*pricing, error) {
	p := &pricing{Model: model, info: core.Info{Forms: []core.Form{core.FormCompletion}}}
	switch given := !math.IsNaN(in) || !math.IsNaN(out); {
	case in < 0 || out < 0 || math.IsInf(in+out, 0):
		return nil, &core.UserError{Where: "--price-in, --price-out", Message: "a price is 0 or more", Hint: "give both, in USD per million tokens"}
	case given && math.IsNaN(in+out):
		return nil, &core.UserError{Where: "--price-in, --price-out", Message: "belong together", Hint: "give both, in USD per million tokens"}
	case given:
		p.Prices = core.Prices{Known: true, Input: in, Output: out}
	case model != "":
		if p.Prices = openai.Prices(model); !p.Prices.Known {
			return nil, &core.UserError{Where: "--for " + model, Message: "the prices of this model are not known",
				Hint: "give --price-in and --price-out, in USD per million tokens (0 for one that costs nothing)"}
		}
	}
	if model != "" {
		p.info.Model, p.info.Family = model, strings.ToLower(model)
		if !strings.HasSuffix(model, "-instruct") && !strings.HasSuffix(model, "-002") {
			p.info.Forms = []core.Form{core.FormChat}
		}
	}
	return p, nil
}

// An estimator reads a task's rows and counts what asking them would take.
type estimator struct {
	f     *validateFlags
	set   *rowSet
	price *pricing
	// first holds the targets of the first rows.
	first [][]string
}

// firstRows is how many rows decide whether a split has labels.
const firstRows = 8

func (c *estimator) read(ctx context.Context, job *run.Job, out *validated) error {
	in, answers, n := 0, 0, 0
	for row, err := range c.set.Rows(ctx) {
		if err != nil {
			return err
		}
		sample, err := job.Sample(n, row)
		if err != nil {
			return err
		}
		req, err := job.Request(sample, 0)
		if err != nil {
			return err
		}
		in += countRequest(req)
		if req.Kind == core.Generate && len(sample.Targets) > 0 {
			answers += min(cl100k.Count(sample.Targets[0]), out.MaxTokens)
		}
		if n < firstRows {
			c.first = append(c.first, sample.Targets)
		}
		if n == 0 {
			out.First = &firstPrompt{Row: sample.ID, Prompt: req.Prompt, Messages: req.Messages, Targets: sample.Targets}
		}
		if req.Kind == core.ScoreText {
			out.MaxTokens = 0
		}
		n++
	}
	out.TokensIn, out.TokensOut = float64(in)/float64(n), float64(answers)/float64(n)
	out.Rows, out.RowsAre = n, "counted"
	switch {
	case c.f.rows > 0:
		out.Rows, out.RowsAre = c.f.rows, "given"
	case c.set.Embedded && c.f.data == "" && c.price.Prices.Known && c.set.selection.Most() > 0:
		out.Rows, out.RowsAre = c.set.selection.Most(), "limit"
	}
	out.Prompts = out.Rows * repeats(c.f.repeat, job.Task)
	if c.price.Prices.Known {
		out.CostUSD = Estimate(out.Prompts, out.TokensIn, out.TokensOut, c.price.Prices)
		out.AtMostUSD = Estimate(out.Prompts, out.TokensIn, float64(out.MaxTokens), c.price.Prices)
	}
	return nil
}

// unlabelled tells a split whose labels are kept secret: the target is empty in
// all of its first rows, or the column that it is, or is derived from, is −1.
func (c *estimator) unlabelled(ctx context.Context, file *tasks.File) *tasks.Problem {
	t := file.Task
	complain := func(column, value string, rows int) *tasks.Problem {
		key := "dataset.split"
		if t.Dataset.Split == "" {
			key = "dataset"
		}
		p := file.Problem(key, -1, fmt.Sprintf("the rows of %s have no labels: %q is %s in the first %d", c.set.Source, column, value, rows),
			"set split: to one with labels, such as validation or train")
		return &p
	}
	if !slices.ContainsFunc(c.first, func(targets []string) bool {
		return slices.ContainsFunc(targets, func(s string) bool { return s != "" && s != "None" })
	}) {
		return complain(t.Target, "empty", len(c.first))
	}
	names := []string{t.Target}
	for _, col := range t.Columns {
		if col.Name == t.Target {
			names = append(names, identifiers(col.Expr)...)
		}
	}
	minus := map[string]int{}
	n := 0
	for row, err := range c.set.selection.Source.Rows(ctx) {
		if err != nil || n == firstRows {
			break
		}
		n++
		for _, name := range names {
			if s := fmt.Sprint(row[name]); s == "-1" || s == "-1.0" {
				minus[name]++
			}
		}
	}
	for _, name := range names {
		if n > 1 && minus[name] == n {
			return complain(name, "-1", n)
		}
	}
	return nil
}

// identifiers lists the words of an expression that may be columns.
func identifiers(expr string) []string {
	return strings.FieldsFunc(expr, func(r rune) bool {
		return r != '_' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	})
}

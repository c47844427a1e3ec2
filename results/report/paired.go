package report

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/evalrun/evalrun/results"
	"github.com/evalrun/evalrun/results/compare"
)

// fewPairs is the number of pairs whose every task is shown; of more only the
// words.
const fewPairs = 4

type pairedBlock struct {
	A, B  string
	Lines []pairedLine
	Words string
}

type pairedLine struct {
	Name, A, B, Difference, P, Verdict string
}

// paired compares models on the rows that they share, from the stored verdicts
// and in closed form: of two the second with the first, of more the best with
// each of the others, GPT-4 before the rest.
func (p *page) paired(ctx context.Context, runs []Run) {
	if len(p.columns) < 2 {
		return
	}
	reader := compare.NewReader()
	folders := make([]*results.Folder, len(runs))
	for i, r := range runs {
		folders[i] = r.Folder
	}
	reader.Preload(ctx, folders)
	for _, ab := range p.pairs() {
		a, b := p.columns[ab[0]], p.columns[ab[1]]
		block, warnings, err := p.pair(ctx, runs, reader, a, b)
		if err != nil {
			p.PairedNote = fmt.Sprintf("%s and %s could not be compared in pairs: %v", a.Label, b.Label, err)
			continue
		}
		p.Paired = append(p.Paired, block)
		for _, w := range warnings {
			if !slices.Contains(p.Warnings, w) {
				p.Warnings = append(p.Warnings, w)
			}
		}
	}
}

// pairs lists which columns are compared, as A and B.
func (p *page) pairs() [][2]int {
	if len(p.columns) == 2 {
		return [][2]int{{0, 1}}
	}
	order := p.ranking()
	var out [][2]int
	for _, other := range order[1:] {
		out = append(out, [2]int{other, order[0]})
	}
	rivalFirst := func(pair [2]int) int {
		if namesRival(p.Labels[pair[0]]) {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(out, func(a, b [2]int) int { return rivalFirst(a) - rivalFirst(b) })
	return out
}

// pair compares two columns, each of which may come from several runs.
func (p *page) pair(ctx context.Context, runs []Run, reader *compare.Reader, a, b *tableColumn) (pairedBlock, []string, error) {
	block := pairedBlock{A: a.Label, B: b.Label}
	sides := func(c *tableColumn) []compare.Side {
		var out []compare.Side
		for _, part := range c.Parts {
			out = append(out, compare.Side{Folder: runs[part.run].Folder, Model: part.label})
		}
		return out
	}
	r, err := compare.Joined(ctx, sides(a), sides(b), compare.Options{ClosedForm: true, Reader: reader})
	if err != nil {
		return block, nil, err
	}
	block.Words = r.Summary(a.Label, b.Label)
	p.PairedNote = r.Method
	profile := r.Profile()
	if len(r.Lines) > 1 {
		for _, l := range r.Macro {
			if l.Profile == profile {
				block.Lines = append(block.Lines, pairedOf(firstOf(l.Category, "all tasks")+" ("+plural(l.N, "task")+")", l))
			}
		}
	}
	for _, l := range r.Lines {
		if l.Profile == profile {
			block.Lines = append(block.Lines, pairedOf(fmt.Sprintf("%s, %s (n %d)", l.Task, l.Metric, l.N), l))
		}
	}
	return block, r.Warnings, nil
}

func pairedOf(name string, l compare.Line) pairedLine {
	return pairedLine{Name: name, A: fmt.Sprintf("%.3f", float64(l.A)), B: fmt.Sprintf("%.3f", float64(l.B)),
		Difference: fmt.Sprintf("%+.3f [%+.3f, %+.3f]", float64(l.Difference), float64(l.Interval[0]), float64(l.Interval[1])),
		P:          compare.PText(float64(l.Adjusted)), Verdict: string(l.Verdict)}
}

// Detailed tells whether every task of the pairs is shown.
func (p *page) Detailed() bool { return len(p.Paired) <= fewPairs }

// namesRival tells the model that fine-tuning is measured against by its label.
func namesRival(label string) bool { return strings.Contains(strings.ToLower(label), "gpt-4") }

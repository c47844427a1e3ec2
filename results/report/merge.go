package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/evalrun/evalrun/results"
)

// A Run is a stored run with its table.
type Run struct {
	Folder *results.Folder
	Scores results.Scores
}

// A tableColumn is one model of the report: what one label of one run gave, or
// several runs of one model on different tasks together.
type tableColumn struct {
	Label  string
	Config results.ModelConfig
	Model  results.Model
	Parts  []part
	// adapters counts the different ones in a column of one base model.
	adapters map[string]bool
	tasks    map[string]bool
}

// A part of a column is what one run holds of it.
type part struct {
	run   int
	label string // within the run
	tasks []string
}

// merge brings runs into one table, in the order given. One model's runs on
// different tasks are one column, and so are the adapters of one base model
// that were each run on tasks of their own; what was run twice stands in two
// columns, told apart by tag or run.
func merge(runs []Run) ([]*tableColumn, results.Scores) {
	all := results.Scores{Outcome: "finished"}
	var columns []*tableColumn
	for i, r := range runs {
		m := r.Folder.Manifest
		all.Demonstration = all.Demonstration || r.Scores.Demonstration
		all.Seconds += firstPositive(r.Scores.Seconds, m.Seconds)
		all.CostUSD += r.Scores.CostUSD
		if o := r.Scores.Outcome; o != "" && o != "finished" {
			all.Outcome = o
		}
		configs := map[string]results.ModelConfig{}
		for _, c := range m.Config.Models {
			configs[c.Label] = c
		}
		for _, label := range r.Scores.Models() {
			p := part{run: i, label: label}
			for _, l := range r.Scores.Tasks {
				if l.Model == label && !slices.Contains(p.tasks, l.Task) {
					p.tasks = append(p.tasks, l.Task)
				}
			}
			c := home(columns, i, configs[label], m.Models[label], p)
			if c == nil {
				c = &tableColumn{Label: label, Config: configs[label], Model: m.Models[label], adapters: map[string]bool{}, tasks: map[string]bool{}}
				columns = append(columns, c)
			}
			c.Parts = append(c.Parts, p)
			c.adapters[configs[label].Adapter] = true
			for _, t := range p.tasks {
				c.tasks[t] = true
			}
		}
	}
	name(columns, runs)
	for _, c := range columns {
		for _, p := range c.Parts {
			for _, l := range runs[p.run].Scores.Tasks {
				if l.Model == p.label {
					l.Model = c.Label
					all.Tasks = append(all.Tasks, l)
				}
			}
		}
	}
	return columns, all
}

// home finds the column of an earlier run that a part belongs to, nil for none.
func home(columns []*tableColumn, run int, config results.ModelConfig, model results.Model, p part) *tableColumn {
	for _, c := range columns {
		if c.Parts[0].run == run || !sameModel(c.Config, config) || c.Model.Hash != "" && model.Hash != "" && c.Model.Hash != model.Hash {
			continue
		}
		if !slices.ContainsFunc(p.tasks, func(t string) bool { return c.tasks[t] }) && !slices.ContainsFunc(c.Parts, func(q part) bool { return q.run == run }) {
			return c
		}
	}
	return nil
}

// sameModel tells whether two configurations are one model, fine-tuned or not;
// which adapter makes no difference.
func sameModel(a, b results.ModelConfig) bool {
	return a.Backend == b.Backend && a.Model == b.Model && a.Revision == b.Revision && a.BaseURL == b.BaseURL && (a.Adapter == "") == (b.Adapter == "") && (a.Adapter != "" || a.Label == b.Label || a.Model != "")
}

// name makes labels that say what a column is and differ.
func name(columns []*tableColumn, runs []Run) {
	for _, c := range columns {
		if len(c.adapters) > 1 {
			base, _, _ := strings.Cut(c.Label, "+")
			c.Label = fmt.Sprintf("%s+%d adapters", base, len(c.adapters))
		}
	}
	count := map[string]int{}
	for _, c := range columns {
		count[c.Label]++
	}
	taken := map[string]bool{}
	for _, c := range columns {
		if count[c.Label] > 1 {
			m := runs[c.Parts[0].run].Folder.Manifest
			c.Label += " (" + firstOf(m.Tag, m.ID) + ")"
		}
		for label, n := c.Label, 2; taken[c.Label]; n++ {
			c.Label = fmt.Sprintf("%s #%d", label, n)
		}
		taken[c.Label] = true
	}
}

// manifestOf is what a report says of its runs as if they were one: the newest
// manifest, with the tasks and rows of all.
func manifestOf(runs []Run) results.Manifest {
	if len(runs) == 1 {
		return runs[0].Folder.Manifest
	}
	newest := slices.MaxFunc(runs, func(a, b Run) int {
		return cmp.Compare(a.Folder.Manifest.Created.UnixNano(), b.Folder.Manifest.Created.UnixNano())
	})
	m := newest.Folder.Manifest
	m.Tag, m.ConfigHash = "", ""
	m.Rows, m.Config.Tasks = map[string]results.Rows{}, nil
	var ids []string
	for _, r := range runs {
		ids = append(ids, r.Folder.Manifest.ID)
		m.Demonstration = m.Demonstration || r.Folder.Manifest.Demonstration
		for _, t := range r.Folder.Manifest.Config.Tasks {
			if _, known := m.Rows[t.Name]; !known {
				m.Config.Tasks = append(m.Config.Tasks, t)
				m.Rows[t.Name] = r.Folder.Manifest.Rows[t.Name]
			}
		}
	}
	m.ID = listOf(ids, 3)
	return m
}

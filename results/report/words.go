package report

import (
	"fmt"
	"sort"
	"strings"

	"github.com/evalrun/evalrun/results"
)

// lead says on the first screen what was compared, on what, who won, how sure
// that is and what it cost.
func (p *page) lead(m results.Manifest, s results.Scores, runs int) {
	add := func(format string, args ...any) { p.Lead = append(p.Lead, fmt.Sprintf(format, args...)) }
	answers, cost, unknown := 0, 0.0, false
	for _, r := range p.Models {
		answers += r.Answers
		cost += r.CostUSD
		unknown = unknown || r.PriceUnknown
	}
	first := p.firstRows()
	what := plural(len(first), "task")
	if len(first) == 1 {
		what = "the task " + first[0].Task
	}
	from := p.sources(m)
	if runs > 1 {
		from += fmt.Sprintf(", in %d runs", runs)
	}
	add("%s on %s: %d scored answers, rows from %s.", listOf(p.Labels, 4), what, answers, from)
	if p.Demo {
		add("This is a demonstration: the small embedded model or the embedded rows were used. The numbers show how evalrun works, not how good a model is.")
	}
	if p.Outcome != "" {
		subject := "The run was"
		if runs > 1 {
			subject = "One of the runs was"
		}
		add(subject+" %s; its numbers cover what was answered until then.", p.Outcome)
	}
	if len(p.Models) > 1 {
		p.leadSeveral(add, first)
	} else if len(p.Models) == 1 && len(first) > 0 {
		p.leadOne(add, first)
	}
	if p.Published {
		note := ""
		if p.Other {
			note = ", with the report's own prompts; ours are in other words"
		}
		add("The GPT-4 and best fine-tuned columns are published scores (LoRA Land report, arXiv 2405.00732), not measured here%s.", note)
	}
	few := 0
	for _, t := range first {
		if t.N > 0 && t.N < tooFew {
			few++
		}
	}
	if few > 0 {
		add("On %s fewer than %d rows were scored: too few to say anything.", plural(few, "task"), tooFew)
	}
	money := usd(cost)
	if unknown {
		money += " plus services whose price is not known"
	}
	add("Cost: %s, in %s of wall time.", money, seconds(firstPositive(s.Seconds, m.Seconds)))
}

func firstPositive(list ...float64) float64 {
	for _, v := range list {
		if v > 0 {
			return v
		}
	}
	return 0
}

func (p *page) leadOne(add func(string, ...any), first []taskRow) {
	r := p.Models[0]
	if len(first) == 1 {
		t := first[0]
		if !t.Cells[0].Score.OK {
			add("It has no score: %s (%s).", strings.TrimPrefix(t.Cells[0].Text, "skipped: "), t.Metric)
			return
		}
		text := fmt.Sprintf("It scores %s (%s, n %d)", t.Cells[0].Text, t.Metric, t.N)
		if t.Baseline.OK {
			text += fmt.Sprintf("; the best constant answer %s", t.Baseline)
		}
		if t.GPT4.OK {
			text += fmt.Sprintf("; GPT-4 as published %s", t.GPT4)
		}
		add("%s.", text)
		return
	}
	if !r.Mean.OK {
		add("No task has a score yet.")
		return
	}
	text := fmt.Sprintf("Mean over %s: %s %s", plural(r.Tasks, "task"), r.Mean, r.Interval())
	if r.Baselines > 0 {
		text += fmt.Sprintf("; above the best constant answer on %d of %d", r.AboveBaseline, r.Baselines)
	}
	if r.GPT4s > 0 {
		text += fmt.Sprintf("; above GPT-4 as published on %d of %d", r.AboveGPT4, r.GPT4s)
	}
	add("%s.", text)
}

func (p *page) leadSeveral(add func(string, ...any), first []taskRow) {
	wins := make([]int, len(p.Models))
	for _, t := range first {
		for i, c := range t.Cells {
			if c.Winner {
				wins[i]++
			}
		}
	}
	shared, over := p.sharedRows(), ""
	if len(shared) > 0 && len(shared) < len(first) {
		over = fmt.Sprintf(" over the %s that all have", plural(len(shared), "task"))
	}
	var parts []string
	for _, i := range p.ranking() {
		m := p.Models[i]
		if !m.Mean.OK {
			continue
		}
		text := fmt.Sprintf("%s %s %s (best on %d)", m.Label, m.Mean, m.Interval(), wins[i])
		if over != "" {
			text = fmt.Sprintf("%s %s (best on %d)", m.Label, meanOf(shared, func(t taskRow) value { return t.Cells[i].Score }), wins[i])
		}
		parts = append(parts, text)
	}
	if len(parts) > 0 {
		more := ""
		if n := len(parts); n > mostNamed {
			parts, more = parts[:mostNamed], fmt.Sprintf("; and %d more", n-mostNamed)
		}
		add("Mean score%s: %s%s.", over, strings.Join(parts, "; "), more)
	}
	if len(shared) == 0 {
		add("No task was run with every model: the means are over different tasks and say nothing about each other.")
	}
	p.leadTuned(add)
	most := 3
	if len(p.Paired) <= fewPairs {
		most = len(p.Paired)
	}
	for _, b := range p.Paired[:most] {
		add("Row by row: %s", b.Words)
	}
	if n := len(p.Paired) - most; n > 0 {
		add("%d further comparisons stand below.", n)
	}
	for i, w := range p.Warnings {
		if i == mostNamed-1 && len(p.Warnings) > mostNamed {
			add("Take care: %d further warnings stand below.", len(p.Warnings)-i)
			break
		}
		add("Take care: %s.", w)
	}
}

// mostNamed bounds the lists of the first screen.
const mostNamed = 5

// sources names where the rows came from, shortly.
func (p *page) sources(m results.Manifest) string {
	seen := map[string]bool{}
	var out []string
	for _, r := range m.Rows {
		kind, _, ok := strings.Cut(r.Source, ":")
		name := r.Source
		if ok && kind == "embedded" {
			name = "evalrun itself (embedded)"
		}
		if name != "" && !seen[name] {
			seen[name] = true
			out = append(out, name)
		}
	}
	sort.Strings(out)
	switch {
	case len(out) == 0 && m.Config.Data != "":
		return m.Config.Data
	case len(out) == 0:
		return "the tasks' own data"
	}
	return listOf(out, 3)
}

func listOf(list []string, most int) string {
	if len(list) > most {
		return strings.Join(list[:most], ", ") + fmt.Sprintf(" and %d more", len(list)-most)
	}
	if len(list) > 1 {
		return strings.Join(list[:len(list)-1], ", ") + " and " + list[len(list)-1]
	}
	return strings.Join(list, "")
}

// runRows are the runs of a report of several.
func (p *page) runRows(runs []Run) {
	for _, r := range runs {
		m := r.Folder.Manifest
		var names, tasks []string
		for _, c := range m.Config.Models {
			names = append(names, c.Label)
		}
		for _, t := range m.Config.Tasks {
			tasks = append(tasks, t.Name)
		}
		p.Runs = append(p.Runs, runRow{ID: m.ID, Tag: m.Tag, Date: m.Created.UTC().Format("2006-01-02 15:04 UTC"), Models: listOf(names, 3), Tasks: listOf(tasks, 3),
			Cost: usd(r.Scores.CostUSD), Time: seconds(firstPositive(r.Scores.Seconds, m.Seconds)), Version: m.Versions.Evalrun, Command: command(m)})
	}
}

// facts are what is needed to understand a number years later.
func (p *page) facts(m results.Manifest, s results.Scores) {
	add := func(name, text string) {
		if text != "" {
			p.Facts = append(p.Facts, [2]string{name, text})
		}
	}
	add("run", m.ID)
	add("tag", m.Tag)
	add("started", p.Date)
	if m.Finished != nil {
		add("finished", m.Finished.UTC().Format("2006-01-02 15:04 UTC"))
	} else {
		add("finished", "no: evalrun resume "+m.ID+" goes on")
	}
	add("wall time", seconds(firstPositive(s.Seconds, m.Seconds)))
	add("evalrun", m.Versions.Evalrun+", "+m.Versions.Go)
	add("machine", fmt.Sprintf("%s/%s, %d cores", m.Machine.OS, m.Machine.Arch, m.Machine.Cores))
	add("rows", firstOf(m.Config.Limit, "the tasks' limit, else the first 1000"))
	add("seed", fmt.Sprint(m.Config.Seed))
	add("profile", string(m.Config.ShownProfile()))
	if m.Config.Repeat > 1 {
		add("answers a row", fmt.Sprint(m.Config.Repeat))
	} else {
		add("answers a row", "the tasks' repeats, else 1")
	}
	if m.Config.Fewshot >= 0 {
		add("worked examples", fmt.Sprint(m.Config.Fewshot))
	}
	add("overrides", strings.Join(m.Config.Set, ", "))
	add("config hash", m.ConfigHash)
}

// command is the command line that runs the same again: it begins with the
// first model, the others follow as --against.
func command(m results.Manifest) string {
	c := m.Config
	args := []string{"evalrun"}
	for _, t := range c.Tasks {
		if name, ok := strings.CutPrefix(t.Path, "embedded:"); ok {
			args = append(args, strings.TrimSuffix(name, ".yaml"))
		} else {
			args = append(args, t.Path)
		}
	}
	flag := func(name, v string) {
		if v != "" {
			args = append(args, name, v)
		}
	}
	for i, model := range c.Models {
		if i > 0 && (model.Adapter == "" || model.Model != c.Models[0].Model || model.Backend != c.Models[0].Backend) {
			spec := model.Backend
			if model.Model != "" {
				spec += ":" + model.Model
			}
			if model.Adapter != "" {
				spec += "+" + model.Adapter
			}
			flag("--against", spec)
			continue
		}
		if i == 0 {
			flag("--backend", model.Backend)
			flag("--model", model.Model)
			flag("--revision", model.Revision)
			flag("--base-url", model.BaseURL)
			keys := make([]string, 0, len(model.Options))
			for k := range model.Options {
				keys = append(keys, k)
			}
			sort.Strings(keys)
			for _, k := range keys {
				flag("--opt", k+"="+model.Options[k])
			}
		}
		flag("--adapter", model.Adapter)
	}
	flag("--data", c.Data)
	flag("--limit", c.Limit)
	if c.Seed != 0 {
		flag("--seed", fmt.Sprint(c.Seed))
	}
	if c.Repeat > 1 {
		flag("--repeat", fmt.Sprint(c.Repeat))
	}
	if c.Fewshot >= 0 {
		flag("--fewshot", fmt.Sprint(c.Fewshot))
	}
	flag("--profile", string(c.ShownProfile()))
	for _, s := range c.Set {
		flag("--set", s)
	}
	for i, a := range args {
		args[i] = shellQuote(a)
	}
	return strings.Join(args, " ")
}

// shellQuote makes an argument safe to paste.
func shellQuote(s string) string {
	safe := s != ""
	for _, r := range s {
		if !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:=+,@%", r)) {
			safe = false
			break
		}
	}
	if safe {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

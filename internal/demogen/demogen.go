// Package demogen makes the text that the demonstration model is trained on
// and the generated half of the embedded evaluation rows. Both come from
// templates and word lists (words/*.txt), in two worlds that share only
// general English words; everything is determined by the seed.
package demogen

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/evalrun/evalrun/core/prompt"
)

// A taskGen is one task's generator and its share of the training text.
type taskGen struct {
	name   string
	weight int // rows of training text, in units of Options.Unit
	gen    func(*gen) item
}

// taskGens lists the 31 tasks. The weights favour what a model of four
// million weights can learn from text of this kind.
var taskGens = []taskGen{
	{"arc_combined", 8, arc},
	{"bc5cdr", 10, bc5cdr},
	{"boolq", 10, boolq},
	{"conllpp", 10, conllpp},
	{"covid", 6, covid},
	{"customer_support", 5, customerSupport},
	{"dbpedia", 6, dbpedia},
	{"drop", 10, drop},
	{"e2e_nlg", 8, e2e},
	{"glue_cola", 10, cola},
	{"glue_mnli", 14, mnli},
	{"glue_mrpc", 10, mrpc},
	{"glue_qnli", 10, qnli},
	{"glue_qqp", 10, qqp},
	{"glue_sst2", 8, sst2},
	{"glue_stsb", 10, stsb},
	{"glue_wnli", 8, wnli},
	{"gsm8k", 12, gsm8k},
	{"hellaswag", 8, hellaswag},
	{"hellaswag_processed", 4, hellaswag},
	{"jigsaw", 6, jigsaw},
	{"legal", 6, legal},
	{"magicoder", 8, magicoder},
	{"mmlu", 8, mmlu},
	{"reuters", 6, reuters},
	{"tldr_content_gen", 5, tldr},
	{"tldr_headline_gen", 6, tldr},
	{"viggo", 8, viggo},
	{"webnlg", 8, webnlg},
	{"wikisql", 10, wikisql},
	{"winogrande", 10, winogrande},
}

// Names returns the tasks in their order.
func Names() []string {
	out := make([]string, len(taskGens))
	for i, t := range taskGens {
		out[i] = t.name
	}
	return out
}

// A form is what of a task file the training text needs.
type form struct {
	Prompt string `yaml:"prompt"`
	Target string `yaml:"target"`
}

func readForm(tasks fs.FS, name string) (*prompt.Template, string, error) {
	b, err := fs.ReadFile(tasks, name+".yaml")
	if err != nil {
		return nil, "", fmt.Errorf("reading the prompt of %s: %w", name, err)
	}
	var f form
	if err := yaml.Unmarshal(b, &f); err != nil {
		return nil, "", fmt.Errorf("reading the prompt of %s: %w", name, err)
	}
	t, err := prompt.Parse(f.Prompt)
	if err != nil {
		return nil, "", fmt.Errorf("reading the prompt of %s: %w", name, err)
	}
	return t, f.Target, nil
}

// Rows returns n rows of a world for a task, one line of JSON each, no two
// alike, with the columns of the real data set.
func Rows(w World, task string, seed uint64, n int) ([][]byte, error) {
	i := slices.IndexFunc(taskGens, func(t taskGen) bool { return t.name == task })
	if i < 0 {
		return nil, fmt.Errorf("generating rows: no task %q", task)
	}
	g, err := newGen(w, seed, task)
	if err != nil {
		return nil, err
	}
	var out [][]byte
	seen := map[string]bool{}
	balance := map[string]int{}
	for try := 0; len(out) < n; try++ {
		if try > 200*n+1000 {
			return nil, fmt.Errorf("generating rows of %s: only %d of %d differ", task, len(out), n)
		}
		g.reset()
		it := taskGens[i].gen(g)
		if g.err != nil {
			return nil, fmt.Errorf("generating rows of %s: %w", task, g.err)
		}
		key, label := it.identity(task)
		// No label may take more than its share: a constant answer must not win.
		if seen[key] || try < 100*n && balanced[task] > 0 && balance[label] >= (n+balanced[task]-1)/balanced[task] {
			continue
		}
		seen[key] = true
		balance[label]++
		line, err := it.jsonLine()
		if err != nil {
			return nil, fmt.Errorf("generating rows of %s: %w", task, err)
		}
		out = append(out, line)
	}
	return out, nil
}

// balanced holds the number of labels of the tasks that have few.
var balanced = map[string]int{"arc_combined": 4, "boolq": 2, "covid": 5, "customer_support": 9, "dbpedia": 14, "glue_cola": 2, "glue_mnli": 3,
	"glue_mrpc": 2, "glue_qnli": 2, "glue_qqp": 2, "glue_sst2": 2, "glue_stsb": 6, "glue_wnli": 2, "hellaswag": 4, "jigsaw": 2, "mmlu": 4, "winogrande": 2}

// labelColumn names the column that identity takes as the label.
var labelColumn = map[string]string{"arc_combined": "answerKey", "boolq": "answer", "covid": "Sentiment", "customer_support": "task", "hellaswag": "label",
	"jigsaw": "is_toxic", "mmlu": "completion", "winogrande": "answer"}

// identity is a text by which double rows are found, and the row's label.
func (it item) identity(task string) (key, label string) {
	var b strings.Builder
	for _, c := range it.row {
		switch c.name {
		case "idx", "id", "UserName", "ScreenName", "TweetAt", "old_id", "new_id", "date", "sid", "eid", "gem_id", "ind", "segments":
			continue
		}
		v, err := compact(c.value)
		if err == nil {
			b.Write(v)
			b.WriteByte(0)
		}
	}
	b.WriteString(it.vars["text"])
	col := labelColumn[task]
	if col == "" {
		col = "label"
	}
	label, _ = it.field(col)
	return b.String(), label
}

// Options size the training text.
type Options struct {
	World World // TrainWorld is the zero value; EvalWorld gives text to try a model on
	Seed  uint64
	Unit  int // rows a unit of weight
}

// An Example is one line of training text.
type Example struct {
	Task       string `json:"task"`
	Prompt     string `json:"prompt"`
	Completion string `json:"completion"`
}

// Train calls yield with every example of the training text, task after task.
// The prompts are those of the task files in tasks; a completion starts with a
// blank, except for code, which goes on where its prompt ends.
func Train(tasks fs.FS, o Options, yield func(Example) error) error {
	for _, t := range taskGens {
		tmpl, target, err := readForm(tasks, t.name)
		if err != nil {
			return err
		}
		g, err := newGen(o.World, o.Seed, t.name)
		if err != nil {
			return err
		}
		for range t.weight * o.Unit {
			g.reset()
			it := t.gen(g)
			if g.err != nil {
				return fmt.Errorf("training text of %s: %w", t.name, g.err)
			}
			fields := map[string]any{}
			for _, c := range tmpl.Columns() {
				v, ok := it.field(c.Name)
				if !ok {
					return fmt.Errorf("training text of %s: no column %q", t.name, c.Name)
				}
				fields[c.Name] = v
			}
			p, err := tmpl.Render(fields)
			if err != nil {
				return fmt.Errorf("training text of %s: %w", t.name, err)
			}
			answer, ok := it.field(target)
			if !ok {
				return fmt.Errorf("training text of %s: no column %q", t.name, target)
			}
			if t.name != "magicoder" {
				answer = " " + answer
			}
			if err := yield(Example{t.name, p, answer}); err != nil {
				return err
			}
		}
	}
	return nil
}

// WriteTrain writes the training text as JSON Lines. Text of the training
// world that shares a run of eight words with an embedded row is an error.
func WriteTrain(w io.Writer, tasks fs.FS, o Options) error {
	guard, err := NewGuard(tasks)
	if err != nil {
		return err
	}
	return Train(tasks, o, func(e Example) error {
		if run, task := guard.Shared(e); run != "" && o.World == TrainWorld {
			return fmt.Errorf("training text of %s (seed %d) shares %q with a row of %s", e.Task, o.Seed, run, task)
		}
		var b bytes.Buffer
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(e); err != nil {
			return err
		}
		_, err := w.Write(b.Bytes())
		return err
	})
}

// What the committed model and rows were made with.
const (
	Seed     = 20261123
	Unit     = 600
	EvalRows = 16
	// TrainSHA256 is the hash of the training text.
	TrainSHA256 = "a23981d8dc3df478638cbb9896aa4f79aff944013497e74f87d74655bd397da8"
)

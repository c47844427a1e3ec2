package tasks

import (
	"math"
	"regexp"
	"strconv"

	"gopkg.in/yaml.v3"

	"github.com/evalrun/evalrun/core"
)

// task reads the whole file. The tables of keys below are the schema: a test
// holds docs/task.schema.json and docs/tasks.md against them.
func (d *decoder) task(root *yaml.Node, t *core.Task) {
	t.Fewshot.Sampler = "first"
	d.mapping("", root, []field{
		{"task", d.text("task", &t.Name), true},
		{"description", d.text("description", &t.Description), false},
		{"category", d.text("category", &t.Category), false},
		{"dataset", func(n *yaml.Node) { d.dataset(n, &t.Dataset) }, true},
		{"columns", func(n *yaml.Node) { d.columns(n, &t.Columns) }, false},
		{"template", func(n *yaml.Node) {
			if d.oneOf("template", &t.Template, "format", core.TemplateJinja)(n); t.Template == "format" {
				t.Template = ""
			}
		}, false},
		{"prompt", d.text("prompt", &t.Prompt), true},
		{"preamble", d.text("preamble", &t.Preamble), false},
		{"chat", func(n *yaml.Node) { d.chat(n, &t.Chat) }, false},
		{"target", d.text("target", &t.Target), true},
		{"cluster", d.text("cluster", &t.Cluster), false},
		{"labels", d.texts("labels", &t.Labels), false},
		{"choices", d.choices("choices", &t.Choices), false},
		{"target_delimiter", d.optional("target_delimiter", &t.TargetDelimiter), false},
		{"generation", func(n *yaml.Node) { d.generation(n, t) }, false},
		{"extract", func(n *yaml.Node) { d.extract(n, t) }, false},
		{"metrics", func(n *yaml.Node) { d.metrics(n, &t.Metrics) }, true},
		{"threshold", func(n *yaml.Node) {
			v := new(float64)
			before := len(d.problems)
			d.number("threshold", v, math.Inf(-1), math.Inf(1))(n)
			if len(d.problems) == before {
				t.Threshold = v
			}
		}, false},
		{"fewshot", func(n *yaml.Node) { d.fewshot(n, &t.Fewshot) }, false},
		{"train", func(n *yaml.Node) { d.train(n, &t.Train) }, false},
		{"repeats", d.integer("repeats", &t.Repeats, 1, 1_000_000), false},
		{"paper", func(n *yaml.Node) { d.paper(n, &t.Paper) }, false},
	})
}

// dataset is a mapping, or its source alone.
func (d *decoder) dataset(n *yaml.Node, ds *core.Dataset) {
	if s := d.deref(n); s.Kind == yaml.ScalarNode {
		d.text("dataset", &ds.Source)(s)
		return
	}
	d.mapping("dataset", n, []field{
		{"source", d.text("dataset.source", &ds.Source), false},
		{"files", func(n *yaml.Node) { d.files(n, ds) }, false},
		{"config", d.text("dataset.config", &ds.Config), false},
		{"revision", d.text("dataset.revision", &ds.Revision), false},
		{"split", d.text("dataset.split", &ds.Split), false},
		{"train_split", d.text("dataset.train_split", &ds.TrainSplit), false},
		{"limit", d.integer("dataset.limit", &ds.Limit, 1, math.MaxInt32), false},
		{"filter", d.text("dataset.filter", &ds.Filter), false},
		{"local", func(n *yaml.Node) {
			d.mapping("dataset.local", n, []field{
				{"folder", d.text("dataset.local.folder", &ds.Local.Folder), false},
				{"split", d.text("dataset.local.split", &ds.Local.Split), false},
				{"train_split", d.text("dataset.local.train_split", &ds.Local.TrainSplit), false},
			})
		}, false},
	})
}

// files reads the files of each split.
func (d *decoder) files(n *yaml.Node, ds *core.Dataset) {
	n = d.deref(n)
	if n.Kind != yaml.MappingNode || len(n.Content) == 0 {
		d.complain(n, "write split: file lines under it", "dataset.files must be a mapping, not %s", kindName(n))
		return
	}
	ds.Files = map[string][]string{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		var list []string
		d.texts("dataset.files."+n.Content[i].Value, &list)(n.Content[i+1])
		ds.Files[n.Content[i].Value] = list
	}
}

// choices reads a column's name or a template, or a list of templates.
func (d *decoder) choices(path string, c *core.Choices) func(*yaml.Node) {
	return func(n *yaml.Node) {
		if n = d.deref(n); n.Kind != yaml.SequenceNode {
			d.text(path, &c.From)(n)
			return
		}
		if len(n.Content) == 0 {
			d.complain(n, "name a column, or list the choices", "%s lists none", path)
			return
		}
		d.texts(path, &c.List)(n)
	}
}

// optional reads a text that may be empty, and tells it from none.
func (d *decoder) optional(path string, dst **string) func(*yaml.Node) {
	return func(n *yaml.Node) {
		s := new(string)
		before := len(d.problems)
		if d.text(path, s)(n); len(d.problems) == before {
			*dst = s
		}
	}
}

// columns keeps the order of the file: a later column sees the earlier ones.
func (d *decoder) columns(n *yaml.Node, columns *[]core.Column) {
	n = d.deref(n)
	if n.Kind != yaml.MappingNode {
		d.complain(n, "write name: 'expression' lines under it", "columns must be a mapping, not %s", kindName(n))
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if seen[key.Value] {
			d.complain(key, "keep one of them", "column %q is derived twice", key.Value)
			continue
		}
		seen[key.Value] = true
		c := core.Column{Name: key.Value}
		d.text("columns."+key.Value, &c.Expr)(value)
		d.places["columns."+key.Value] = d.deref(value)
		*columns = append(*columns, c)
	}
}

func (d *decoder) chat(n *yaml.Node, c *core.Chat) {
	d.mapping("chat", n, []field{
		{"system", d.text("chat.system", &c.System), false},
		{"user", d.text("chat.user", &c.User), false},
		{"families", func(n *yaml.Node) {
			n = d.deref(n)
			if n.Kind != yaml.MappingNode {
				d.complain(n, "write family: {system: …, user: …}", "chat.families must be a mapping, not %s", kindName(n))
				return
			}
			c.Families = map[string]core.ChatForm{}
			for i := 0; i+1 < len(n.Content); i += 2 {
				name := n.Content[i].Value
				path := "chat.families." + name
				var form core.ChatForm
				d.mapping(path, n.Content[i+1], []field{
					{"system", d.text(path+".system", &form.System), false},
					{"user", d.text(path+".user", &form.User), false},
				})
				c.Families[name] = form
			}
		}, false},
	})
}

func (d *decoder) generation(n *yaml.Node, t *core.Task) {
	g := &t.Generation
	d.mapping("generation", n, []field{
		{"max_tokens", d.integer("generation.max_tokens", &g.MaxTokens, 1, 1<<20), false},
		{"temperature", d.number("generation.temperature", &g.Temperature, 0, 100), false},
		{"top_p", d.number("generation.top_p", &g.TopP, 0, 1), false},
		{"top_k", d.integer("generation.top_k", &g.TopK, 0, 1<<20), false},
		{"min_p", d.number("generation.min_p", &g.MinP, 0, 1), false},
		{"repetition_penalty", d.number("generation.repetition_penalty", &g.RepetitionPenalty, 0.01, 100), false},
		{"frequency_penalty", d.number("generation.frequency_penalty", &g.FrequencyPenalty, -2, 2), false},
		{"presence_penalty", d.number("generation.presence_penalty", &g.PresencePenalty, -2, 2), false},
		{"seed", d.seed("generation.seed", &g.Seed), false},
		{"stop", d.texts("generation.stop", &g.Stop), false},
		{"force_labels", d.flag("generation.force_labels", &t.ForceLabels), false},
	})
}

// extract is a list of steps, a bare word or a mapping with the step's key each;
// or a mapping of names to such lists.
func (d *decoder) extract(n *yaml.Node, t *core.Task) {
	n = d.deref(n)
	switch n.Kind {
	case yaml.SequenceNode:
		d.pipeline("extract", n, &t.Extract)
	case yaml.MappingNode:
		seen := map[string]bool{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			key, value := n.Content[i], d.deref(n.Content[i+1])
			name, ok := d.label("extract", key)
			path := "extract." + name
			switch {
			case !ok:
			case !goodName.MatchString(name) && !pipelineName.MatchString(name):
				d.complain(key, "use letters, digits, _ - . and @", "the pipeline name %q cannot stand in a table", name)
			case seen[name]:
				d.complain(key, "keep one of them", "the pipeline %q stands twice in extract", name)
			case value.Kind != yaml.SequenceNode:
				d.complain(value, "write a list of steps: - regex: '…'", "%s must be a list, not %s", path, kindName(value))
			default:
				seen[name] = true
				p := core.Pipeline{Name: name}
				d.pipeline(path, value, &p.Steps)
				t.Pipelines = append(t.Pipelines, p)
			}
		}
	default:
		d.complain(n, "write a list of steps: - regex: '…', or name: [steps] lines", "extract must be a list, not %s", kindName(n))
	}
}

var pipelineName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.@\-]*$`)

func (d *decoder) pipeline(path string, n *yaml.Node, steps *[]core.Step) {
	for i, item := range n.Content {
		at := path + "." + strconv.Itoa(i)
		d.places[at] = d.deref(item)
		if s, ok := d.step(at, d.deref(item)); ok {
			*steps = append(*steps, s)
			d.steps = append(d.steps, stepPlace{at, s})
		}
	}
}

func (d *decoder) step(path string, n *yaml.Node) (core.Step, bool) {
	s := core.Step{Group: -1, Line: n.Line, Column: n.Column}
	before := len(d.problems)
	if n.Kind == yaml.ScalarNode {
		d.oneOf(path, &s.Op, "strip", "lower", "upper", "first_line")(n)
		return s, len(d.problems) == before
	}
	op := func(name string, read func(*yaml.Node)) field {
		return field{name, func(v *yaml.Node) {
			if s.Op != "" {
				d.complain(v, "write one step a list item", "a step has both %s and %s", s.Op, name)
			}
			s.Op = name
			read(v)
		}, false}
	}
	flag := func(v *yaml.Node) {
		if v = d.deref(v); v.Value != "true" {
			d.complain(v, "write the step's name alone", "this step takes no value but true")
		}
	}
	d.mapping(path, n, []field{
		op("regex", d.text(path+".regex", &s.Pattern)),
		op("strip", flag), op("lower", flag), op("upper", flag), op("first_line", flag),
		op("before", d.text(path+".before", &s.Text)),
		op("after", d.text(path+".after", &s.Text)),
		op("default", func(v *yaml.Node) { s.Text, _ = d.label(path+".default", v) }),
		op("map", func(v *yaml.Node) {
			v = d.deref(v)
			if v.Kind != yaml.MappingNode {
				d.complain(v, "write map: {found: replacement}", "%s.map must be a mapping, not %s", path, kindName(v))
				return
			}
			s.Map = map[string]string{}
			for i := 0; i+1 < len(v.Content); i += 2 {
				found, ok := d.label(path+".map", v.Content[i])
				if _, twice := s.Map[found]; ok && twice {
					d.complain(v.Content[i], "keep one of them", "%q stands twice in %s.map", found, path)
				}
				s.Map[found], _ = d.label(path+".map", v.Content[i+1])
			}
		}),
		{"flags", d.text(path+".flags", &s.Flags), false},
		{"group", d.integer(path+".group", &s.Group, 0, 1000), false},
		{"select", func(v *yaml.Node) {
			switch v = d.deref(v); v.Value {
			case "first":
				s.Select = 0
			case "last":
				s.Select = -1
			default:
				d.integer(path+".select (first, last or a number)", &s.Select, -1000, 1000)(v)
			}
		}, false},
	})
	if s.Op == "" && len(d.problems) == before {
		d.complain(n, "a step is one of: regex, strip, lower, upper, first_line, before, after, map, default", "the step names nothing to do")
	}
	if s.Op != "regex" && (s.Flags != "" || s.Group != -1 || s.Select != 0) {
		d.complain(n, "", "flags, group and select belong to a regex step")
	}
	return s, len(d.problems) == before
}

// metrics is a list of names, or of mappings name + parameters.
func (d *decoder) metrics(n *yaml.Node, specs *[]core.MetricSpec) {
	n = d.deref(n)
	items := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		items = n.Content
	}
	for i, item := range items {
		path := "metrics." + strconv.Itoa(i)
		item = d.deref(item)
		d.places[path] = item
		spec := core.MetricSpec{}
		if item.Kind == yaml.MappingNode {
			params := map[string]any{}
			if err := item.Decode(&params); err != nil {
				d.complain(item, "write name: and parameters as key: value", "%s is not readable: %s", path, yamlMessage(err))
				continue
			}
			name, ok := params["name"].(string)
			if !ok {
				d.complain(item, "add name:", "%s lacks the key \"name\"", path)
				continue
			}
			delete(params, "name")
			for key, dst := range map[string]*string{"extract": &spec.Extract, "reduce": &spec.Reduce, "as": &spec.As} {
				v, given := params[key]
				if s, isText := v.(string); given && isText {
					*dst = s
				} else if given {
					d.complain(item, "put it in quotes", "%s.%s must be text", path, key)
				}
				delete(params, key)
			}
			if spec.As != "" && !pipelineName.MatchString(spec.As) {
				d.complain(item, "use letters, digits, _ - . and @", "%s.as %q cannot stand behind a metric's name", path, spec.As)
			}
			spec.Name, spec.Params = name, params
		} else {
			before := len(d.problems)
			d.text(path, &spec.Name)(item)
			if len(d.problems) > before {
				continue
			}
		}
		*specs = append(*specs, spec)
	}
}

// train reads the recipe of a training; its keys are the trainer's.
func (d *decoder) train(n *yaml.Node, recipe *map[string]any) {
	n = d.deref(n)
	if n.Kind != yaml.MappingNode || n.Decode(recipe) != nil {
		d.complain(n, "write key: value lines of a recipe under it; docs/train.md lists the keys", "train must be a mapping of texts to values, not %s", kindName(n))
	}
}

func (d *decoder) fewshot(n *yaml.Node, f *core.Fewshot) {
	d.mapping("fewshot", n, []field{
		{"count", d.integer("fewshot.count", &f.Count, 0, 1000), true},
		{"sampler", d.oneOf("fewshot.sampler", &f.Sampler, "first", "random", "python"), false},
		{"seed", d.seed("fewshot.seed", &f.Seed), false},
		{"separator", d.text("fewshot.separator", &f.Separator), false},
		{"split", d.text("fewshot.split", &f.Split), false},
		{"indices", func(n *yaml.Node) {
			n = d.deref(n)
			if n.Kind != yaml.SequenceNode {
				d.complain(n, "write a list: [0, 4, 7]", "fewshot.indices must be a list of row numbers, not %s", kindName(n))
				return
			}
			f.Indices = []int{}
			for _, item := range n.Content {
				i := 0
				d.integer("fewshot.indices", &i, 0, math.MaxInt32)(item)
				f.Indices = append(f.Indices, i)
			}
		}, false},
		{"rows", func(n *yaml.Node) {
			if err := d.deref(n).Decode(&f.Rows); err != nil || len(f.Rows) == 0 {
				d.complain(d.deref(n), "write a list of rows: - {column: value}", "fewshot.rows must be a list of rows")
			}
			for _, row := range f.Rows {
				for k, v := range row {
					row[k] = rowValue(v)
				}
			}
		}, false},
		{"prompt", d.text("fewshot.prompt", &f.Prompt), false},
		{"target", d.text("fewshot.target", &f.Target), false},
		{"choices", d.choices("fewshot.choices", &f.Choices), false},
		{"target_delimiter", d.optional("fewshot.target_delimiter", &f.TargetDelimiter), false},
	})
}

// rowValue gives a value of YAML the type that a JSON file's would have.
func rowValue(v any) any {
	switch v := v.(type) {
	case int:
		return int64(v)
	case []any:
		for i := range v {
			v[i] = rowValue(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = rowValue(v[k])
		}
	}
	return v
}

func (d *decoder) paper(n *yaml.Node, p *core.Paper) {
	d.mapping("paper", n, []field{
		{"task", d.text("paper.task", &p.Task), true},
		{"metric", d.text("paper.metric", &p.Metric), false},
		{"prompt", d.oneOf("paper.prompt", &p.Prompt, "own", "published"), false},
	})
}

package tasks

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/evalrun/evalrun/core"
)

// An LMEval is one task of lm-evaluation-harness, turned into a task file.
type LMEval struct {
	Name string
	// Path of the YAML file.
	Path string
	// YAML is the task file; nil when Problems keep it from being made.
	YAML []byte
	// Tags and Groups name what runs the task together with others.
	Tags, Groups []string
	// Notes are what a user should know.
	Notes []string
	// Problems keep the task from being imported.
	Problems Problems
}

// An LMEvalGroup is a group of tasks.
type LMEvalGroup struct {
	Name  string
	Path  string
	Tasks []string // names of tasks, groups and tags
}

// LMEvalOptions of ImportLMEval.
type LMEvalOptions struct {
	// Out is the folder in which the task files will stand: paths of data are
	// relative to it.
	Out string
	// Metrics lists the known metric names; nil accepts any.
	Metrics []string
}

// ImportLMEval reads a YAML file of lm-evaluation-harness, or all in a folder
// and those below it, in the order of their paths. The error is for a path that
// holds none; what is wrong with one task is in its Problems.
func ImportLMEval(path string, o LMEvalOptions) ([]LMEval, []LMEvalGroup, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, nil, &core.UserError{Where: path, Message: "no such file or folder", Hint: "name a task file of lm-evaluation-harness, or a folder of them"}
	}
	files := []string{path}
	if info.IsDir() {
		files = nil
		err := filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
			if ext := filepath.Ext(p); err == nil && !d.IsDir() && (ext == ".yaml" || ext == ".yml") {
				files = append(files, p)
			}
			return err
		})
		if err != nil {
			return nil, nil, &core.UserError{Where: path, Message: "reading the folder", Err: err}
		}
		slices.Sort(files)
	}
	im := &lmImporter{o: o, byName: map[string]*lmConfig{}}
	for _, f := range files {
		im.file(f, !info.IsDir())
	}
	for len(im.waiting) > 0 { // groups may name tasks of files after them
		waiting := im.waiting
		im.waiting = nil
		for _, g := range waiting {
			im.group(g)
		}
	}
	for i := range im.out {
		for _, g := range im.groups {
			if slices.Contains(g.Tasks, im.out[i].Name) || slices.ContainsFunc(im.out[i].Tags, func(t string) bool { return slices.Contains(g.Tasks, t) }) {
				im.out[i].Groups = append(im.out[i].Groups, g.Name)
			}
		}
	}
	if len(im.out)+len(im.groups) == 0 {
		return nil, nil, &core.UserError{Where: path, Message: "holds no task of lm-evaluation-harness", Hint: "a task file has the key task:, and a file for include: alone is none"}
	}
	return im.out, im.groups, nil
}

// lmConfig is a task's keys after its includes, each with the file it is from.
type lmConfig struct {
	path string
	keys map[string]located
}

// A located node knows its file.
type located struct {
	node *yaml.Node
	file string
}

// problem makes a complaint about the value.
func (l located) problem(hint, format string, args ...any) Problem {
	p := Problem{File: l.file, Message: fmt.Sprintf(format, args...), Hint: hint}
	if l.node != nil {
		p.Line, p.Column = l.node.Line, l.node.Column
	}
	return p
}

type lmImporter struct {
	o       LMEvalOptions
	out     []LMEval
	groups  []LMEvalGroup
	waiting []*lmConfig
	byName  map[string]*lmConfig
}

// file reads one file. A file without a task is there to be included, which is
// a complaint only where it was named.
func (im *lmImporter) file(path string, named bool) {
	c, problems := loadLM(path, nil)
	fail := func() {
		im.out = append(im.out, LMEval{Name: strings.TrimSuffix(filepath.Base(path), filepath.Ext(path)), Path: path, Problems: problems})
	}
	if problems != nil {
		fail()
		return
	}
	_, isTask := c.keys["task"]
	_, isGroup := c.keys["group"]
	switch {
	case isTask && (isGroup || c.keys["task"].node.Kind == yaml.SequenceNode):
		im.waiting = append(im.waiting, c)
	case isTask:
		im.task(c)
	case named:
		problems = Problems{{File: path, Message: "the file has no task", Hint: "it is there to be included by others; name one of those"}}
		fail()
	}
}

// task converts a task's keys.
func (im *lmImporter) task(c *lmConfig) {
	t := convertLM(c, im.o)
	if im.byName[t.Name] != nil && len(t.Problems) == 0 {
		t.YAML = nil
		t.Problems = Problems{c.keys["task"].problem("give one of them another name", "the task name %s is also that of %s", t.Name, im.byName[t.Name].path)}
	} else {
		im.byName[t.Name] = c
	}
	im.out = append(im.out, t)
}

// group notes a group, and makes the tasks that it writes out: mappings that
// change a task of another file, or hold a whole one.
func (im *lmImporter) group(c *lmConfig) {
	g := LMEvalGroup{Path: c.path}
	if n, ok := c.keys["group"]; ok && n.node.Kind == yaml.ScalarNode {
		g.Name = n.node.Value
	}
	tasks := c.keys["task"]
	items := []*yaml.Node{tasks.node}
	if tasks.node.Kind == yaml.SequenceNode {
		items = tasks.node.Content
	}
	for _, item := range items {
		if item.Kind == yaml.ScalarNode {
			g.Tasks = append(g.Tasks, item.Value)
			continue
		}
		keys := map[string]located{}
		for i := 0; i+1 < len(item.Content); i += 2 {
			keys[item.Content[i].Value] = located{item.Content[i+1], c.path}
		}
		one := &lmConfig{path: c.path, keys: keys}
		if n, ok := keys["group"]; ok {
			g.Tasks = append(g.Tasks, n.node.Value)
			im.waiting = append(im.waiting, one)
			continue
		}
		n, ok := keys["task"]
		if !ok || n.node.Kind != yaml.ScalarNode {
			im.out = append(im.out, LMEval{Name: g.Name, Path: c.path, Problems: Problems{located{item, c.path}.problem("write task: NAME", "a mapping under task: names no task")}})
			continue
		}
		g.Tasks = append(g.Tasks, n.node.Value)
		if base := im.byName[n.node.Value]; base != nil {
			im.out = append(im.out, LMEval{Name: n.node.Value, Path: c.path, Problems: Problems{n.problem("import the task's own file, and give the changes with --set", "the group changes keys of the task %s, which is imported as it stands in %s", n.node.Value, base.path)}})
			continue
		}
		if _, whole := keys["dataset_path"]; !whole {
			im.out = append(im.out, LMEval{Name: n.node.Value, Path: c.path, Problems: Problems{n.problem("import it with its folder", "the task %s is not among the files that are imported", n.node.Value)}})
			continue
		}
		im.task(one)
	}
	im.groups = append(im.groups, g)
}

// loadLM reads a file's keys and those of its includes: a later file's go before
// an earlier one's, and its own before all.
func loadLM(path string, above []string) (*lmConfig, Problems) {
	c := &lmConfig{path: path, keys: map[string]located{}}
	if slices.Contains(above, path) {
		return nil, Problems{{File: path, Message: "the file includes itself", Hint: "take out one include:"}}
	}
	src, err := readLimited(path)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = errors.New("no such file")
		}
		return nil, Problems{{File: path, Message: err.Error()}}
	}
	root, problem := safeDocument(path, src)
	if problem != nil {
		return nil, Problems{*problem}
	}
	if root.Kind != yaml.MappingNode {
		return nil, Problems{located{root, path}.problem("", "the file is no mapping")}
	}
	own := map[string]located{}
	for i := 0; i+1 < len(root.Content); i += 2 {
		value := root.Content[i+1]
		for value.Kind == yaml.AliasNode {
			value = value.Alias
		}
		own[root.Content[i].Value] = located{value, path}
	}
	if inc, ok := own["include"]; ok {
		delete(own, "include")
		items := []*yaml.Node{inc.node}
		if inc.node.Kind == yaml.SequenceNode {
			items = inc.node.Content
		}
		for _, item := range items {
			at := located{item, path}
			if item.Kind != yaml.ScalarNode || strings.HasPrefix(item.Tag, "!f") {
				return nil, Problems{at.problem("write the path of a YAML file", "include is no path")}
			}
			file := item.Value
			if !filepath.IsAbs(file) {
				file = filepath.Join(filepath.Dir(path), file)
			}
			if _, err := os.Stat(file); err != nil {
				return nil, Problems{at.problem("paths are relative to the file that includes", "there is no file %s to include", item.Value)}
			}
			more, problems := loadLM(file, append(slices.Clone(above), path))
			if problems != nil {
				return nil, problems
			}
			delete(more.keys, "task_list")
			for k, v := range more.keys {
				c.keys[k] = v
			}
		}
	}
	for k, v := range own {
		c.keys[k] = v
	}
	return c, nil
}

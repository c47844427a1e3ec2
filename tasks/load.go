package tasks

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/internal/nearest"
)

// rowsFile matches names of data files, which are sometimes given for the task
// that reads them.
var rowsFile = regexp.MustCompile(`(?i)\.(jsonl|ndjson|csv|tsv|parquet)(\.(gz|zst|bz2))?$`)

// maxFile bounds a task file: a prompt of a megabyte is a mistake.
const maxFile = 1 << 20

// A File is a task with the places of its keys.
type File struct {
	Task *core.Task
	// Warnings are complaints that do not keep the task from running.
	Warnings Problems
	name     string
	places   map[string]*yaml.Node
	prompt   *yaml.Node
}

// Options of loading.
type Options struct {
	// Metrics lists the known metric names; nil accepts any.
	Metrics []string
	// Set holds key=value overrides: a dotted path of the task file and a YAML
	// value, applied before anything is checked.
	Set []string
}

// Load reads a task by name or file: a path, or else the name of an embedded
// task. The error is Problems when the file itself is at fault.
func Load(arg string, o Options) (*File, error) {
	src, name, err := source(arg)
	if err != nil {
		return nil, err
	}
	return Parse(name, src, o)
}

func source(arg string) (src []byte, name string, err error) {
	looksLikePath := strings.ContainsAny(arg, `/\`) || strings.HasSuffix(arg, ".yaml") || strings.HasSuffix(arg, ".yml")
	if !looksLikePath {
		if b, err := embedded.ReadFile(arg + ".yaml"); err == nil {
			return b, "embedded:" + arg + ".yaml", nil
		}
	}
	f, err := os.Open(arg)
	if err == nil && rowsFile.MatchString(arg) {
		f.Close()
		return nil, "", &core.UserError{Where: arg, Message: "holds rows; it is not a task file", Hint: "evalrun new task NAME starts a task file; name this one there under dataset:"}
	}
	if errors.Is(err, fs.ErrNotExist) {
		hint := "evalrun ls tasks lists the embedded ones; evalrun new task NAME starts a file"
		if near := nearest.Word(strings.TrimSuffix(filepath.Base(arg), filepath.Ext(arg)), Names()); near != "" {
			hint = fmt.Sprintf("did you mean the embedded task %s?", near)
		}
		what := "no such file or embedded task"
		if looksLikePath {
			what = "no such file"
		}
		return nil, "", &core.UserError{Where: arg, Message: what, Hint: hint}
	}
	if err != nil {
		return nil, "", unreadable(arg, err)
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.IsDir() {
		return nil, "", &core.UserError{Where: arg, Message: "is a folder, not a task file", Hint: "name its files: " + filepath.Join(arg, "*.yaml")}
	}
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, "", unreadable(arg, err)
	}
	if len(b) > maxFile {
		return nil, "", &core.UserError{Where: arg, Message: "larger than 1 MiB, which no task file is", Hint: "rows belong in a data file named under dataset:"}
	}
	return b, arg, nil
}

func unreadable(file string, err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		err = path.Err
	}
	return &core.UserError{Where: file, Message: "the task file cannot be read", Err: err, Hint: "see who may read it: ls -l " + file}
}

// Parse reads a task from text. name stands in complaints.
func Parse(name string, src []byte, o Options) (file *File, err error) {
	defer func() {
		// yaml.v3 panics on some malformed input; at this border that is a
		// complaint about the file like any other.
		if r := recover(); r != nil {
			file, err = nil, Problems{{File: name, Message: fmt.Sprintf("not readable as YAML: %v", r)}}
		}
	}()
	root, problem := document(name, src)
	if problem != nil {
		return nil, Problems{*problem}
	}
	d := &decoder{file: name, source: src, places: map[string]*yaml.Node{}}
	for _, kv := range o.Set {
		if err := set(root, kv); err != nil {
			return nil, err
		}
	}
	t := &core.Task{Path: name, Source: src}
	d.task(root, t)
	if d.visited > maxNodes {
		return nil, Problems{{File: name, Message: fmt.Sprintf("more than %d values, aliases counted", maxNodes), Hint: "a task file is small; rows belong in a data file"}}
	}
	f := &File{Task: t, name: name, places: d.places, prompt: d.places["prompt"]}
	d.check(f, o)
	d.problems.Sort()
	d.warnings.Sort()
	if len(d.problems) > 0 {
		return nil, d.problems
	}
	f.Warnings = d.warnings
	return f, nil
}

var (
	yamlLine   = regexp.MustCompile(`^yaml: line (\d+): `)
	yamlAnchor = regexp.MustCompile(`unknown anchor '(.+)' referenced`)
	yamlPlace  = regexp.MustCompile(`\s*(?:yaml: |unmarshal errors:|line \d+: )`)
)

// yamlMessage is what the decoder says, in one line and without its places.
func yamlMessage(err error) string {
	var lines []string
	for line := range strings.Lines(err.Error()) {
		if line = strings.TrimSpace(yamlPlace.ReplaceAllString(line, "")); line != "" {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "; ")
}

// notText finds the first byte that no YAML file may hold: the decoder would
// complain without a place.
func notText(name string, src []byte) *Problem {
	at, what, hint := -1, "", ""
	for i := 0; i < len(src); {
		r, size := utf8.DecodeRune(src[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			at, what, hint = i, fmt.Sprintf("the byte 0x%02X is not UTF-8", src[i]), "save the file as UTF-8"
		case r < 0x20 && r != '\t' && r != '\n' && r != '\r' || r == 0x7F || r >= 0x80 && r < 0xA0 && r != 0x85 || r == 0xFFFE || r == 0xFFFF:
			at, what, hint = i, fmt.Sprintf("the control character U+%04X", r), fmt.Sprintf("take it out, or write \"\\u%04x\" in double quotes", r)
		}
		if at >= 0 {
			break
		}
		i += size
	}
	if at < 0 {
		return nil
	}
	start := bytes.LastIndexByte(src[:at], '\n') + 1
	return &Problem{File: name, Line: 1 + bytes.Count(src[:at], []byte("\n")), Column: 1 + utf8.RuneCount(src[start:at]),
		Message: "not readable as YAML: " + what, Hint: hint}
}

// document decodes the one document of a file to its top mapping.
func document(name string, src []byte) (*yaml.Node, *Problem) {
	if p := notText(name, src); p != nil {
		return nil, p
	}
	dec := yaml.NewDecoder(bytes.NewReader(src))
	var doc yaml.Node
	if err := dec.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, &Problem{File: name, Line: 1, Column: 1, Message: "the file is empty", Hint: "evalrun new task NAME writes one to start from"}
		}
		p := &Problem{File: name, Message: "not readable as YAML: " + yamlMessage(err), Hint: "check indentation and quotes at and above this line"}
		if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
			p.Line, _ = strconv.Atoi(m[1])
			p.Line = min(p.Line, max(1, bytes.Count(bytes.TrimRight(src, "\n"), []byte("\n"))+1))
		}
		if m := yamlAnchor.FindStringSubmatch(err.Error()); m != nil {
			before, _, _ := bytes.Cut(src, []byte("*"+m[1]))
			p.Line, p.Column = bytes.Count(before, []byte("\n"))+1, utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:])+1
			p.Hint = fmt.Sprintf("put &%s before a value above, or quotes around the text", m[1])
		}
		return nil, p
	}
	var second yaml.Node
	if err := dec.Decode(&second); !errors.Is(err, io.EOF) {
		p := &Problem{File: name, Line: second.Line, Message: "a second document in the file", Hint: "write one task a file"}
		if len(second.Content) == 1 {
			p.Line, p.Column = second.Content[0].Line, second.Content[0].Column
		}
		return nil, p
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 || doc.Content[0].ShortTag() == "!!null" {
		return nil, &Problem{File: name, Line: 1, Column: 1, Message: "the file holds no task", Hint: "evalrun new task NAME writes one to start from"}
	}
	return doc.Content[0], nil
}

// set applies one key=value override to the tree.
func set(root *yaml.Node, kv string) error {
	key, value, ok := strings.Cut(kv, "=")
	if !ok || key == "" {
		return &core.UserError{Where: "--set " + kv, Message: "not of the form key=value", Hint: "for example --set generation.max_tokens=32"}
	}
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(value), &doc); err != nil {
		return &core.UserError{Where: "--set " + kv, Message: "the value is not readable as YAML", Err: err, Hint: "put it in quotes"}
	}
	v := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str"}
	if len(doc.Content) == 1 {
		v = doc.Content[0]
	}
	mark(v)
	at := root
	path := strings.Split(key, ".")
	for i, k := range path {
		if at.Kind == yaml.AliasNode {
			at = at.Alias
		}
		if at.Kind != yaml.MappingNode {
			return &core.UserError{Where: "--set " + kv, Message: fmt.Sprintf("%s is not a mapping", pathName(strings.Join(path[:i], "."))), Hint: "name a key of the task file, with dots between levels"}
		}
		var next *yaml.Node
		for j := 0; j+1 < len(at.Content); j += 2 {
			if at.Content[j].Value == k {
				if i == len(path)-1 {
					at.Content[j+1] = v
					return nil
				}
				next = at.Content[j+1]
			}
		}
		if next == nil {
			name := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: k, Line: setLine}
			next = &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Line: setLine}
			if i == len(path)-1 {
				next = v
			}
			at.Content = append(at.Content, name, next)
		}
		at = next
	}
	return nil
}

func mark(n *yaml.Node) {
	n.Line, n.Column = setLine, 0
	for _, c := range n.Content {
		mark(c)
	}
}

// Where gives file:line:column of a key such as "target" or "columns.answer";
// a key that is not in the file gives the file alone.
func (f *File) Where(key string) string {
	n := f.places[key]
	if n == nil {
		return f.name
	}
	if n.Line == setLine {
		return "--set " + key
	}
	return Problem{File: f.name, Line: n.Line, Column: n.Column}.Where()
}

// WherePrompt gives the place of a byte offset within the prompt's text.
func (f *File) WherePrompt(offset int) string {
	n := f.prompt
	if n == nil || n.Line == setLine {
		return f.Where("prompt")
	}
	line, col := textPlace(n, f.Task.Source, offset)
	return Problem{File: f.name, Line: line, Column: col}.Where()
}

// textPlace maps an offset in a scalar's value to line and column, both from 1;
// columns count characters. Literal blocks keep their lines, behind an
// indentation read from the source; of text in quotes or folded only the start
// is known, unless it stands in the file as it is.
func textPlace(n *yaml.Node, src []byte, offset int) (line, col int) {
	lines := strings.Split(string(src), "\n")
	if n.Line < 1 || n.Line > len(lines) {
		return n.Line, n.Column
	}
	offset = min(offset, len(n.Value))
	if n.Style&yaml.LiteralStyle == 0 {
		rest := []rune(strings.TrimSuffix(lines[n.Line-1], "\r"))
		if n.Column < 1 || n.Column > len(rest) {
			return n.Line, n.Column
		}
		quote := 0
		if n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0 {
			quote = 1
		}
		if raw := string(rest[n.Column-1:]); len(raw) >= quote && strings.HasPrefix(raw[quote:], n.Value) {
			return n.Line, n.Column + quote + utf8.RuneCountInString(n.Value[:offset])
		}
		return n.Line, n.Column
	}
	before := n.Value[:offset]
	start := strings.LastIndexByte(before, '\n') + 1
	line = n.Line + 1 + strings.Count(before, "\n")
	return line, 1 + indentation(lines, n.Line) + utf8.RuneCountInString(before[start:])
}

// indentation is that of a literal block whose header stands on line header:
// the number of its indicator beyond that of the key, else that of its first
// line with text.
func indentation(lines []string, header int) int {
	if header >= 1 && header <= len(lines) {
		if m := blockIndicator.FindStringSubmatch(lines[header-1]); m != nil {
			n, _ := strconv.Atoi(m[2])
			return len(m[1]) + n
		}
	}
	for _, l := range lines[min(header, len(lines)):] {
		if t := strings.TrimLeft(l, " "); strings.TrimSpace(t) != "" {
			return len(l) - len(t)
		}
	}
	return 0
}

var blockIndicator = regexp.MustCompile(`^( *)[^ ].*\|[-+]?([1-9])[-+]?\s*(?:#.*)?$`)

// Package tasks reads task files: it is the border between YAML and core.
//
// A file is decoded from its nodes, so that every complaint carries line and
// column; all complaints of a file are gathered, not only the first. The 31
// tasks of the report, with small embedded rows, are part of the package.
package tasks

import (
	"embed"
	"io/fs"
	"sort"
	"strings"
	"sync"
)

//go:embed *.yaml rows/*.jsonl
var embedded embed.FS

// Names lists the embedded tasks, sorted.
func Names() []string { return names() }

var names = sync.OnceValue(func() []string {
	entries, err := embedded.ReadDir(".")
	if err != nil {
		panic("BUG: embedded tasks: " + err.Error())
	}
	var out []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".yaml"); ok {
			out = append(out, name)
		}
	}
	sort.Strings(out)
	return out
})

// Rows opens the embedded rows of a task, one JSON object a line. The error is
// fs.ErrNotExist when the task has none.
func Rows(task string) (fs.File, error) {
	if strings.ContainsAny(task, `/\`) {
		return nil, fs.ErrNotExist
	}
	return embedded.Open("rows/" + task + ".jsonl")
}

// HasRows tells whether a task has embedded rows.
func HasRows(task string) bool {
	f, err := Rows(task)
	if err != nil {
		return false
	}
	f.Close()
	return true
}

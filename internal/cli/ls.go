package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/evalrun/evalrun/backends"
	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/internal/nearest"
	"github.com/evalrun/evalrun/metrics"
	"github.com/evalrun/evalrun/plugins"
	"github.com/evalrun/evalrun/results"
	"github.com/evalrun/evalrun/tasks"
)

// lists are what `evalrun ls` can show, in the order of its help.
var lists = []string{"tasks", "metrics", "backends", "runs"}

func newLs() *cobra.Command {
	var asJSON bool
	var out string
	cmd := &cobra.Command{
		Use:   "ls tasks|metrics|backends|runs",
		Short: "list the embedded tasks, the metrics, the backends or the stored runs",
		Example: "  evalrun ls tasks\n" +
			"  evalrun ls metrics --json",
		ValidArgs: lists,
		Args:      exactlyOne("one of "+strings.Join(lists, ", "), "evalrun ls tasks"),
		RunE: func(cmd *cobra.Command, args []string) error {
			rows, header, err := list(args[0], out)
			if err != nil {
				return err
			}
			return printList(cmd.OutOrStdout(), header, rows, asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON array of objects")
	cmd.Flags().StringVar(&out, "out", "runs", "folder that holds the run folders")
	return cmd
}

// list gives the lines of a list and the names of their columns.
func list(what, out string) (rows [][]string, header []string, err error) {
	switch what {
	case "tasks":
		return listTasks()
	case "metrics":
		for _, f := range metrics.Builtin() {
			rows = append(rows, []string{f.Name, f.Summary, strings.Join(f.Params, ", ")})
		}
		for _, p := range metricPlugins() {
			if !slices.Contains(metrics.Names(), p.Name) {
				rows = append(rows, []string{p.Name, "a plugin: " + p.Path, ""})
			}
		}
		return rows, []string{"name", "summary", "parameters"}, nil
	case "backends":
		return listBackends(), []string{"name", "description", "where"}, nil
	case "runs":
		return listRuns(out)
	}
	hint := "one of: " + strings.Join(lists, ", ")
	if near := nearest.Word(what, lists); near != "" {
		hint = fmt.Sprintf("did you mean evalrun ls %s?", near)
	}
	return nil, nil, &core.UserError{Where: "ls " + what, Message: "there is no such list", Hint: hint}
}

func listTasks() (rows [][]string, header []string, err error) {
	for _, name := range tasks.Names() {
		f, err := tasks.Load(name, tasks.Options{})
		if err != nil {
			return nil, nil, err
		}
		t := f.Task
		var names []string
		for _, m := range t.Metrics {
			name := m.Name
			if m.As != "" {
				name += ":" + m.As
			}
			names = append(names, name)
		}
		rows = append(rows, []string{t.Name, t.Category, strings.Join(names, ", "), t.Dataset.Source, t.Description})
	}
	return rows, []string{"name", "category", "metrics", "dataset", "description"}, nil
}

func listBackends() (rows [][]string) {
	host := newHost(true)
	defer host.Close()
	found := map[string]plugins.Found{}
	for _, p := range host.List() {
		if p.Kind == plugins.KindBackend {
			found[p.Name] = p
		}
	}
	for _, name := range backendNames(host) {
		what, where := "a plugin", "built in"
		if e, ok := backends.Find(name); ok {
			what = e.Description
		}
		if p, ok := found[name]; ok && !p.Builtin {
			where = p.Path
		}
		rows = append(rows, []string{name, what, where})
	}
	return rows
}

func listRuns(out string) (rows [][]string, header []string, err error) {
	runs, err := results.List(out)
	if err != nil {
		return nil, nil, err
	}
	for _, r := range runs {
		m := r.Manifest
		state := "finished"
		switch {
		case m.Finished != nil:
		case r.Locked():
			state = "running"
		default:
			state = "unfinished"
		}
		var models []string
		for _, c := range m.Config.Models {
			models = append(models, c.Label)
		}
		rows = append(rows, []string{m.ID, state, fmt.Sprint(len(m.Config.Tasks)), strings.Join(models, ", "), m.Tag})
	}
	return rows, []string{"run", "state", "tasks", "models", "tag"}, nil
}

func printList(w io.Writer, header []string, rows [][]string, asJSON bool) error {
	if asJSON {
		objects := make([]map[string]any, 0, len(rows))
		for _, r := range rows {
			o := map[string]any{}
			for i, h := range header {
				o[h] = r[i]
				if n, err := strconv.Atoi(r[i]); err == nil && h == "tasks" { // a run's: how many
					o[h] = n
				}
			}
			objects = append(objects, o)
		}
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		return enc.Encode(objects)
	}
	// An empty last cell still belongs to its column: the blanks that pad it go
	// only when all columns have their width.
	var b strings.Builder
	tw := tabwriter.NewWriter(&b, 0, 4, 2, ' ', 0)
	for _, r := range append([][]string{header}, rows...) {
		fmt.Fprintln(tw, strings.Join(r, "\t"))
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	for line := range strings.Lines(b.String()) {
		if _, err := fmt.Fprintln(w, strings.TrimRight(line, " \n")); err != nil {
			return err
		}
	}
	return nil
}

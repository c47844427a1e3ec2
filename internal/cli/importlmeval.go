package cli

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/tasks"
)

func newImportLMEval() *cobra.Command {
	var out string
	var asJSON, force bool
	cmd := &cobra.Command{
		Use:   "lm-eval DIR|FILE.yaml",
		Short: "tasks of lm-evaluation-harness",
		Long: "Import lm-eval turns task files of lm-evaluation-harness into ours: includes, Jinja templates,\n" +
			"choices, worked examples, named filters, metrics. Of what it cannot take (Python functions above\n" +
			"all) it says file, line and key, and makes no file of that task. Data files are named where they\n" +
			"lie: in the working folder, as there, or beside the task's file or above it.",
		Example: "  git clone https://github.com/EleutherAI/lm-evaluation-harness && evalrun import lm-eval lm-evaluation-harness/lm_eval/tasks/arc\n" +
			"  printf '{task: capital, dataset_path: json, dataset_kwargs: {data_files: {test: rows.jsonl}}, test_split: test, doc_to_text: \"{{q}}\", doc_to_target: a}' > capital.yaml && evalrun import lm-eval capital.yaml",
		Args: exactlyOne("the folder or file to import", "evalrun import lm-eval my_tasks"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runImportLMEval(cmd.OutOrStdout(), args[0], out, asJSON, force)
		},
	}
	cmd.Flags().StringVar(&out, "out", "imported", "folder for the task files")
	cmd.Flags().BoolVar(&force, "force", false, "write over task files that are there")
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object with what is known of each task and group")
	return cmd
}

// lmImported is a task in --json.
type lmImported struct {
	Task     string        `json:"task"`
	From     string        `json:"from"`
	File     string        `json:"file,omitempty"`
	Tags     []string      `json:"tags,omitempty"`
	Groups   []string      `json:"groups,omitempty"`
	Notes    []string      `json:"notes"`
	Problems []problemJSON `json:"problems"`
}

// lmGroup is a group in --json.
type lmGroup struct {
	Group string   `json:"group"`
	From  string   `json:"from"`
	Tasks []string `json:"tasks"`
}

func runImportLMEval(w io.Writer, path, out string, asJSON, force bool) error {
	list, groups, err := tasks.ImportLMEval(path, tasks.LMEvalOptions{Out: out, Metrics: metricNames()})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return &core.UserError{Where: "--out " + out, Message: "making the folder", Err: err, Hint: "name a folder that can be written"}
	}
	write := writeNew
	if force {
		write = func(path string, b []byte) error { return os.WriteFile(path, b, 0o644) }
	}
	var problems tasks.Problems
	report := []lmImported{}
	made := 0
	for _, t := range list {
		im := lmImported{Task: t.Name, From: t.Path, Tags: t.Tags, Groups: t.Groups, Notes: append([]string{}, t.Notes...)}
		file, found, err := writeImported(filepath.Join(out, t.Name+".yaml"), t.YAML, write)
		if err != nil {
			return err
		}
		found = slices.Concat(t.Problems, found)
		im.File, im.Problems = file, problemsJSON(found)
		if im.File != "" {
			made++
		}
		problems = append(problems, found...)
		report = append(report, im)
	}
	if asJSON {
		all := struct {
			Tasks  []lmImported `json:"tasks"`
			Groups []lmGroup    `json:"groups"`
		}{report, []lmGroup{}}
		for _, g := range groups {
			all.Groups = append(all.Groups, lmGroup{g.Name, g.Path, g.Tasks})
		}
		return printChecked(w, all, problems)
	}
	for _, im := range report {
		where := im.File
		if where == "" {
			where = "not imported"
		}
		fmt.Fprintf(w, "%s -> %s\n", im.Task, where)
		for _, n := range im.Notes {
			fmt.Fprintf(w, "  %s\n", n)
		}
	}
	for _, g := range groups {
		fmt.Fprintf(w, "group %s: %s\n", g.Name, strings.Join(g.Tasks, ", "))
	}
	fmt.Fprintf(w, "\n%d of %d tasks written to %s\n", made, len(report), out)
	if len(problems) > 0 {
		return problems
	}
	return nil
}

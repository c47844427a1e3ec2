package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/results/reference"
	"github.com/evalrun/evalrun/tasks"
)

func newImport() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "import",
		Short: "make task files of somebody else's",
		Example: "  evalrun import lora-bakeoff --help\n" +
			"  evalrun import lora-bakeoff lora_bakeoff --out published\n" +
			"  git clone https://github.com/EleutherAI/lm-evaluation-harness && evalrun import lm-eval lm-evaluation-harness/lm_eval/tasks/arc",
	}
	var out string
	var asJSON bool
	bakeoff := &cobra.Command{
		Use:   "lora-bakeoff DIR",
		Short: "the folder published by the authors of the LoRA Land report, with their wording",
		Long: "Import lora-bakeoff turns DIR/tasks/*/metadata.yaml into a task file each, with the\n" +
			"published prompt template, and says for each whether the template is the very one of the\n" +
			"report (by its SHA-256). Data files are named where they lie; nothing is overwritten.",
		Example: "  git clone https://github.com/predibase/lora_bakeoff && evalrun import lora-bakeoff lora_bakeoff\n" +
			"  evalrun import lora-bakeoff lora_bakeoff --out published && evalrun validate published/*.yaml",
		Args: exactlyOne("the folder to import", "evalrun import lora-bakeoff lora_bakeoff"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runImport(cmd.OutOrStdout(), args[0], out, asJSON, publishedTemplate)
		},
	}
	bakeoff.Flags().StringVar(&out, "out", "published", "folder for the task files")
	bakeoff.Flags().BoolVar(&asJSON, "json", false, "one JSON array with what is known of each task")
	cmd.AddCommand(bakeoff, newImportLMEval(), newImportLudwig())
	return cmd
}

// publishedTemplate gives what the committed tables hold of a task.
func publishedTemplate(task string) (sha256, metric string, ok bool) {
	sha256, _, ok = reference.PromptHash(task)
	if t, found := reference.Lookup(task); found {
		metric = t.Metric
	}
	return sha256, metric, ok
}

// An imported task in --json.
type imported struct {
	Task       string        `json:"task"`
	From       string        `json:"from"`
	File       string        `json:"file,omitempty"`
	Template   string        `json:"template"`
	SHA256     string        `json:"prompt_sha256,omitempty"`
	Characters int           `json:"prompt_characters"`
	Notes      []string      `json:"notes"`
	Problems   []problemJSON `json:"problems"`
}

// wording says whether a template is the report's.
func wording(b tasks.Bakeoff) string {
	switch {
	case b.Published:
		return "published"
	case b.Known:
		return "other wording"
	}
	return "no task of the report"
}

func runImport(w io.Writer, dir, out string, asJSON bool, published func(string) (string, string, bool)) error {
	list, err := tasks.ImportBakeoff(dir, tasks.BakeoffOptions{Out: out, Metrics: metricNames(), Published: published})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return &core.UserError{Where: "--out " + out, Message: "making the folder", Err: err, Hint: "name a folder that can be written"}
	}
	var problems tasks.Problems
	report := []imported{}
	same := 0
	for _, b := range list {
		im := imported{Task: b.Name, From: b.Path, Template: wording(b), SHA256: b.SHA256, Characters: b.Characters, Notes: b.Notes}
		if im.Notes == nil {
			im.Notes = []string{}
		}
		file, found, err := writeImported(filepath.Join(out, b.Name+".yaml"), b.YAML, writeNew)
		if err != nil {
			return err
		}
		found = slices.Concat(b.Problems, found)
		im.File, im.Problems = file, problemsJSON(found)
		if b.Published {
			same++
		}
		problems = append(problems, found...)
		report = append(report, im)
	}
	if asJSON {
		return printChecked(w, report, problems)
	}
	made := 0
	for _, im := range report {
		if im.File != "" {
			made++
		}
		im.print(w)
	}
	fmt.Fprintf(w, "\n%d of %d tasks written to %s; %d with the published template\n", made, len(report), out, same)
	if len(problems) > 0 {
		return problems
	}
	return nil
}

// writeImported writes the file of a task that was imported, and gives its path;
// none where there is no text, or where the file cannot be written, which is a
// problem of that task alone.
func writeImported(file string, yaml []byte, write func(string, []byte) error) (string, tasks.Problems, error) {
	if yaml == nil {
		return "", nil, nil
	}
	err := write(file, yaml)
	if err == nil {
		return file, nil, nil
	}
	if !errors.As(err, new(*core.UserError)) {
		return "", nil, err
	}
	return "", problemsOf(err), nil
}

// print writes a task's line: whether its template is the published one, and
// how long it is.
func (im imported) print(w io.Writer) {
	yes := map[string]string{"published": "yes", "other wording": "no"}[im.Template]
	if yes == "" {
		yes = "not a task of the report"
	}
	where := im.File
	if where == "" {
		where = "not imported"
	}
	fmt.Fprintf(w, "%s: published template: %s (%d characters) -> %s\n", im.Task, yes, im.Characters, where)
	for _, n := range im.Notes {
		fmt.Fprintf(w, "  %s\n", n)
	}
}

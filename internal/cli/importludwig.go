package cli

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/internal/training"
	"github.com/evalrun/evalrun/tasks"
)

func newImportLudwig() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "ludwig FILE",
		Short: "a fine-tuning configuration of Ludwig, as a train: section",
		Long: "Import ludwig prints the train: section that does what a configuration of Ludwig 0.10 did, as\n" +
			"the LoRA Land report published one; put it into a task file. Keys whose effect the section does\n" +
			"not have are told with their line, on standard error, and end the command with exit code 1.",
		Example: "  evalrun import ludwig config.yaml\n" +
			"  evalrun import ludwig config.yaml --json",
		Args: exactlyOne("the configuration to import", "evalrun import ludwig config.yaml"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return importLudwig(cmd.OutOrStdout(), args[0], asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object: base, recipe, passed, lost")
	return cmd
}

func importLudwig(w io.Writer, path string, asJSON bool) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return &core.UserError{Where: path, Message: "cannot be read", Err: err, Hint: "name a configuration of Ludwig, a YAML file"}
	}
	l, err := training.ReadLudwig(text)
	if err != nil {
		return &core.UserError{Where: path, Message: err.Error(), Hint: "name a configuration of Ludwig, a YAML file"}
	}
	var problems tasks.Problems
	for _, k := range l.Lost {
		problems = append(problems, tasks.Problem{File: path, Line: k.Line, Column: k.Column, Message: k.Key + " " + k.Why, Hint: k.Hint})
	}
	if asJSON {
		return printChecked(w, map[string]any{"base": l.Base, "recipe": l.Recipe, "passed": l.Passed, "lost": problemsJSON(problems)}, problems)
	}
	section, err := l.YAML()
	if err != nil {
		return err
	}
	if _, err := fmt.Fprint(w, section); err != nil {
		return err
	}
	if l.Base != "" {
		fmt.Fprintf(os.Stderr, "base model: --model %s\n", l.Base)
	}
	for _, p := range l.Passed {
		fmt.Fprintf(os.Stderr, "passed over: %s: %s\n", p.Key, p.Why)
	}
	if len(problems) > 0 {
		return problems
	}
	return nil
}

package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/internal/training"
)

func newImportLudwig() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "ludwig FILE",
		Short: "a fine-tuning configuration of Ludwig, as a train: section",
		Long: "Import ludwig prints the train: section that does what a configuration of Ludwig 0.10 did, as\n" +
			"the LoRA Land report published one; put it into a task file. Keys that are not understood are\n" +
			"named, on standard error, and end the command with exit code 1.",
		Example: "  evalrun import ludwig config.yaml\n" +
			"  evalrun import ludwig config.yaml --json",
		Args: exactlyOne("the configuration to import", "evalrun import ludwig config.yaml"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return importLudwig(cmd.OutOrStdout(), args[0], asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object: base, recipe, passed, unknown")
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
	if asJSON {
		e := json.NewEncoder(w)
		err = e.Encode(map[string]any{"base": l.Base, "recipe": l.Recipe, "passed": l.Passed, "unknown": l.Unknown})
	} else {
		var section string
		if section, err = l.YAML(); err == nil {
			_, err = fmt.Fprint(w, section)
		}
		if l.Base != "" {
			fmt.Fprintf(os.Stderr, "base model: --model %s\n", l.Base)
		}
		for _, p := range l.Passed {
			fmt.Fprintln(os.Stderr, "passed over: "+p)
		}
	}
	if err == nil && len(l.Unknown) > 0 {
		return &core.UserError{Where: path, Message: fmt.Sprintf("%d keys are not understood: %s", len(l.Unknown), training.Some(l.Unknown)), Hint: "what they change is not in the section; docs/train.md lists what there is"}
	}
	return err
}

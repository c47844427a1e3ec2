package debug

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/evalrun/evalrun/backends/local"
	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/internal/training"
)

func newExamples() *cobra.Command {
	var model, adapter, recipe, rows, start string
	cmd := &cobra.Command{
		Use:   "examples [--model DIR] --adapter DIR",
		Short: "the examples of a training, micro-batch by micro-batch, as the model was given them",
		Long: "Examples reads what `evalrun train` left in an adapter's folder, recipe.json and\n" +
			"training/data.jsonl (or --recipe and --train), and prints each example in its order, those of a micro-batch with one step:\n" +
			"row, rate, tokens, labels (-100 is not judged), and \"window\" where an accumulation window\n" +
			"closes: \"update\", or \"drop\" where its gradients are dropped. --start writes the adapter\n" +
			"that the training began with. The lines are what `debug train` takes, where batch is 1.",
		Example: "  evalrun train glue_sst2 --data embedded --steps 8 --set recipe.accumulate=4 --quiet && evalrun debug examples --adapter adapters/glue_sst2-demo --start begin",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if adapter == "" && (recipe == "" || rows == "") {
				return &core.UserError{Where: "--adapter", Message: "is missing", Hint: "name the folder that a training left, or both --recipe and --train"}
			}
			if recipe == "" {
				recipe = filepath.Join(adapter, "recipe.json")
			}
			if rows == "" {
				rows = filepath.Join(training.Work(adapter), "data.jsonl")
			}
			text, err := os.ReadFile(recipe)
			if err != nil {
				return &core.UserError{Where: recipe, Message: "cannot be read", Hint: "evalrun train leaves it beside the adapter; another program's adapter has none", Err: err}
			}
			r, err := local.Rehearse(model, core.Job{Recipe: string(text), Data: rows})
			if err != nil {
				return err
			}
			err = printExamples(cmd, r)
			if err == nil && start != "" {
				if err = r.Start(start); err != nil {
					err = fmt.Errorf("write the adapter before its first step: %w", err)
				}
			}
			return errors.Join(err, r.Close())
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&model, "model", "", "folder or file of the base (default: the embedded demonstration model)")
	fl.StringVar(&adapter, "adapter", "", "folder that a training left")
	fl.StringVar(&recipe, "recipe", "", "recipe as JSON (default: recipe.json of the adapter)")
	fl.StringVar(&rows, "train", "", "rows as JSON lines (default: training/data.jsonl of the adapter)")
	fl.StringVar(&start, "start", "", "folder for the adapter before its first step")
	return cmd
}

func printExamples(cmd *cobra.Command, r *local.Rehearsal) error {
	w := bufio.NewWriter(cmd.OutOrStdout())
	enc := json.NewEncoder(w)
	for m := range r.MicroBatches() {
		line := struct {
			Step   int     `json:"step"`
			ID     string  `json:"id"`
			LR     float64 `json:"lr"`
			IDs    []int32 `json:"ids"`
			Labels []int32 `json:"labels"`
			Window string  `json:"window,omitempty"`
		}{Step: m.Step, ID: m.ID, LR: m.LR, IDs: m.IDs, Labels: m.Labels}
		switch {
		case m.Update:
			line.Window = "update"
		case m.Drop:
			line.Window = "drop"
		}
		if err := enc.Encode(line); err != nil {
			return err
		}
	}
	return w.Flush()
}

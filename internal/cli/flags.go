package cli

import (
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/evalrun/evalrun/backends/local/merge"
	"github.com/evalrun/evalrun/backends/local/quant"
	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/internal/nearest"
	"github.com/evalrun/evalrun/results/report"
	"github.com/evalrun/evalrun/tasks"
)

var unknownFlag = regexp.MustCompile(`unknown (?:shorthand )?flag: (?:'\w' in )?-{1,2}([\w-]+)`)

var badValue = regexp.MustCompile(`^invalid argument "(.*)" for "(?:-\w, )?(--[\w-]+)" flag: `)

// kinds are pflag's words for what a flag takes, in ours.
var kinds = map[string]string{"int": "a whole number", "uint64": "a whole number from 0 up", "float64": "a number", "bool": "true or false", "duration": "a time such as 30s"}

// flagError says what a flag takes, and names the nearest one for a mistyped one.
func flagError(cmd *cobra.Command, err error) error {
	if m := badValue.FindStringSubmatch(err.Error()); m != nil {
		if f := cmd.Flags().Lookup(strings.TrimPrefix(m[2], "--")); f != nil && kinds[f.Value.Type()] != "" {
			return &core.UserError{Where: m[2] + " " + m[1], Message: "it takes " + kinds[f.Value.Type()], Hint: f.Usage}
		}
	}
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

// defaultInWords keeps help from showing the number that stands for "not given"
// in flags whose usage tells the default.
func defaultInWords(fl *pflag.FlagSet, names ...string) {
	for _, name := range names {
		fl.Lookup(name).DefValue = "0" // the zero value is not shown
	}
}

// completeTasks offers the embedded tasks where a task may stand, besides files.
func completeTasks(_ *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	var out []string
	for _, name := range tasks.Names() {
		if strings.HasPrefix(name, word) && !slices.Contains(args, name) {
			out = append(out, name)
		}
	}
	return out, cobra.ShellCompDirectiveDefault
}

// completeFlags offers the words that a flag takes, in whatever verb it stands.
func completeFlags(cmd *cobra.Command) {
	backendWords := func() []string {
		host := newHost(true)
		defer host.Close()
		return backendNames(host)
	}
	for name, words := range map[string]func() []string{
		"backend": backendWords,
		"profile": func() []string { return []string{string(core.Strict), string(core.Bakeoff)} },
		"cache":   func() []string { return []string{"auto", "on", "off"} },
		"quant":   quant.Policies,
		"preset":  func() []string { return []string{"paper", "modern"} },
		"format":  report.Formats,
		"onto":    func() []string { return []string{merge.Stored, merge.Dequant} },
		"part":    func() []string { return []string{"auto", "train", "evaluation"} },
	} {
		if f := cmd.Flags().Lookup(name); f == nil || f.Value.Type() != "string" {
			continue
		}
		_ = cmd.RegisterFlagCompletionFunc(name, func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return words(), cobra.ShellCompDirectiveNoFileComp
		})
	}
	for _, sub := range cmd.Commands() {
		completeFlags(sub)
	}
}

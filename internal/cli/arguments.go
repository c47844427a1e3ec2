package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/internal/nearest"
)

// complete gives the commands below c what they have in common: a verb that only
// holds verbs shows its help and names the nearest for a mistyped one, and
// complaints about arguments say how the command is written.
func complete(c *cobra.Command) {
	for _, sub := range c.Commands() {
		if sub.HasSubCommands() {
			sub.Args = onlySubcommands
			sub.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
		} else if check := sub.Args; check != nil {
			sub.Args = func(cmd *cobra.Command, args []string) error { return argumentError(cmd, args, check(cmd, args)) }
		}
		complete(sub)
	}
}

// argumentError is a complaint of cobra's with what to do.
func argumentError(cmd *cobra.Command, args []string, err error) error {
	if err == nil || errors.As(err, new(*core.UserError)) {
		return err
	}
	message := err.Error()
	if strings.HasPrefix(message, "unknown command") { // what NoArgs says
		message = fmt.Sprintf("takes no argument, and got %q", args[0])
	}
	return &core.UserError{Where: cmd.CommandPath(), Message: message, Hint: "write " + cmd.UseLine()}
}

// onlySubcommands names the nearest of a verb's own verbs for a mistyped one.
func onlySubcommands(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var names []string
	for _, c := range cmd.Commands() {
		if !c.Hidden {
			names = append(names, c.Name())
		}
	}
	hint := "one of: " + strings.Join(names, ", ")
	if near := nearest.Word(args[0], names); near != "" {
		hint = fmt.Sprintf("did you mean %s %s?", cmd.CommandPath(), near)
	}
	return &core.UserError{Where: cmd.CommandPath() + " " + args[0], Message: "there is no such verb", Hint: hint}
}

// exactlyOne asks for one argument and says which.
func exactlyOne(what, example string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == 1 {
			return nil
		}
		return &core.UserError{Message: fmt.Sprintf("%s takes %s, not %d arguments", cmd.CommandPath(), what, len(args)), Hint: "for example: " + example}
	}
}

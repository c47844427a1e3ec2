// Package debug holds the windows of `evalrun debug`: one file a window. A
// window takes JSON lines, gives JSON lines (tensors as safetensors), and calls
// the code that the product runs, never a second implementation of it, so that
// every number a user must trust can be checked from outside. docs/debug.md
// describes each.
package debug

import (
	"github.com/spf13/cobra"
)

// Command is the verb `debug` with all its windows, and further ones that need
// what only the command line knows.
func Command(further ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "debug WINDOW",
		Short: "windows into every subsystem: JSON lines in, JSON lines out",
		Long: "Each window calls the code that the product runs. It reads JSON lines from standard input\n" +
			"(or --in FILE) and writes a JSON line for each; a number that JSON lacks is \"NaN\",\n" +
			"\"Infinity\" or \"-Infinity\". docs/debug.md has the shapes.",
	}
	cmd.AddCommand(windows()...)
	cmd.AddCommand(further...)
	return cmd
}

// windows lists them in the order of docs/debug.md.
func windows() []*cobra.Command {
	return []*cobra.Command{
		newLogits(),
		newGenerate(),
		newLoss(),
		newScore(),
		newExtract(),
		newStat(),
		newComplexity(),
		newTokenize(),
		newDetokenize(),
		newChat(),
		newQuantize(),
		newDequantize(),
		newHumaneval(),
		newGrad(),
		newLR(),
		newOptim(),
		newTrain(),
		newExamples(),
	}
}

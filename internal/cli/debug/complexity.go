package debug

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"

	"github.com/spf13/cobra"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/complexity"
)

func newComplexity() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "complexity",
		Short: "complexity heuristics of all rows together",
		Example: "  echo '{\"input\":\"one two\",\"output\":\"two\"}' | evalrun debug complexity\n" +
			"  printf '{\"input\":\"%s\",\"output\":\"a\"}\\n' b bb | evalrun debug complexity",
		Args: cobra.NoArgs,
	}
	in := inFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var meter complexity.Meter
		type row struct{ Input, Output *string }
		if err := takeLines(cmd, *in, func(r row) error {
			if r.Input == nil || r.Output == nil {
				return &core.UserError{Message: "a row needs input and output, both texts"}
			}
			meter.Add(*r.Input, *r.Output)
			return nil
		}); err != nil {
			return err
		}
		return json.NewEncoder(cmd.OutOrStdout()).Encode(meter.Heuristics())
	}
	return cmd
}

// takeLines is eachLine for a window that answers all lines together.
func takeLines[T any](cmd *cobra.Command, in string, take func(T) error) error {
	src, name, err := lineSource(cmd, in)
	if err != nil {
		return err
	}
	defer src.Close()
	r := bufio.NewReaderSize(src, 1<<16)
	for n := 1; ; n++ {
		line, end := readLine(r)
		if len(bytes.TrimSpace(line)) > 0 {
			var v T
			if err := json.Unmarshal(line, &v); err != nil {
				return lineError(name, n, err)
			}
			if err := take(v); err != nil {
				return lineError(name, n, err)
			}
		}
		if end == io.EOF {
			return nil
		}
		if end != nil {
			return lineError(name, n, end)
		}
	}
}

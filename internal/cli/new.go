package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/tasks"
)

func newNew() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "new",
		Short:   "write a file to start from",
		Example: "  evalrun new task sentiment\n  evalrun new decide",
	}
	cmd.AddCommand(&cobra.Command{
		Use:   "task NAME",
		Short: "write NAME.yaml, a commented task file, and NAME.jsonl, four rows for it",
		Long: "New task writes a task file with every part explained, and a few rows, so that it runs\n" +
			"as it is. NAME may hold a folder, which is made. Nothing is overwritten.",
		Example: "  evalrun new task sentiment && evalrun validate sentiment.yaml --show\n" +
			"  evalrun new task drafts/sentiment",
		Args: exactlyOne("a name for the task", "evalrun new task sentiment"),
		RunE: func(cmd *cobra.Command, args []string) error { return runNewTask(cmd.OutOrStdout(), args[0]) },
	})
	cmd.AddCommand(newDecideFile())
	return cmd
}

func runNewTask(w io.Writer, arg string) error {
	dir, base := filepath.Split(arg)
	name := strings.TrimSuffix(strings.TrimSuffix(base, ".yaml"), ".yml")
	s, err := tasks.New(name)
	if err != nil {
		return &core.UserError{Where: arg, Message: "cannot be a task's name", Err: err, Hint: "for example: evalrun new task sentiment"}
	}
	if dir != "" {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return &core.UserError{Where: dir, Message: "making the folder", Err: err, Hint: "name a place that can be written"}
		}
	}
	file, rows := filepath.Join(dir, name+".yaml"), filepath.Join(dir, s.RowsName)
	for _, path := range []string{file, rows} {
		if _, err := os.Lstat(path); err == nil {
			return taken(path)
		}
	}
	if err := writeNew(rows, s.Rows); err != nil {
		return err
	}
	if err := writeNew(file, s.YAML); err != nil {
		return err
	}
	fmt.Fprintf(w, "%s, with four rows in %s\nnext: evalrun validate %s --show\n", file, rows, file)
	return nil
}

func taken(path string) error {
	return &core.UserError{Where: path, Message: "is there already, and stays as it is", Hint: "choose another name, or move that file away"}
}

// writeNew writes a file that is not there yet.
func writeNew(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return taken(path)
	}
	if err == nil {
		_, err = f.Write(b)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return &core.UserError{Where: path, Message: "writing the file", Err: err, Hint: "name a place that can be written"}
	}
	return nil
}

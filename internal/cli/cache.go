package cli

import (
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/evalrun/evalrun/core"
)

func newCache() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cache",
		Short: "list or prune the response cache",
		Long: "The response cache keeps what services answered, so that no answer is paid for twice.\n" +
			"It is one file in the user's cache folder, or in $EVALRUN_CACHE.",
		Example: "  evalrun cache ls\n  evalrun cache prune --older 30d",
	}
	cmd.AddCommand(&cobra.Command{
		Use: "ls", Short: "answers, size and cost by model", Args: cobra.NoArgs,
		Example: "  evalrun cache ls\n  EVALRUN_CACHE=/tmp/evalrun-cache evalrun cache ls",
		RunE: func(cmd *cobra.Command, _ []string) error {
			store, err := openCache()
			if err != nil {
				return err
			}
			defer store.Close()
			uses, err := store.List()
			if err != nil {
				return err
			}
			if len(uses) == 0 {
				fmt.Fprintln(cmd.OutOrStdout(), "the response cache is empty")
				return nil
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 4, 2, ' ', 0)
			fmt.Fprintln(w, "backend\tmodel\tanswers\tMB\tUSD when made\toldest\tnewest")
			for _, u := range uses {
				fmt.Fprintf(w, "%s\t%s\t%d\t%.1f\t%.4f\t%s\t%s\n", u.Backend, u.Model, u.Answers, float64(u.Bytes)/1e6, u.CostUSD,
					u.Oldest.Format(time.DateOnly), u.Newest.Format(time.DateOnly))
			}
			return w.Flush()
		},
	})
	var model, older string
	var all bool
	prune := &cobra.Command{
		Use: "prune", Short: "delete answers, by model or age", Args: cobra.NoArgs,
		Example: "  evalrun cache prune --older 30d\n  evalrun cache prune --model 'gpt-4*'",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if model == "" && older == "" && !all {
				return &core.UserError{Message: "nothing says which answers to delete", Hint: "give --older 30d, --model NAME (or 'gpt-4*'), or --all"}
			}
			var before time.Time
			if older != "" {
				age, err := parseAge(older)
				if err != nil {
					return err
				}
				before = time.Now().Add(-age)
			}
			store, err := openCache()
			if err != nil {
				return err
			}
			defer store.Close()
			n, err := store.Prune(model, before)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%d answers deleted\n", n)
			return nil
		},
	}
	prune.Flags().StringVar(&model, "model", "", "only answers of this model; a * at the end stands for anything")
	prune.Flags().StringVar(&older, "older", "", "only answers older than this: 30d, 12h")
	prune.Flags().BoolVar(&all, "all", false, "every answer")
	cmd.AddCommand(prune)
	return cmd
}

// parseAge reads 30d, or a duration as Go writes it.
func parseAge(s string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil {
			return time.Duration(n) * 24 * time.Hour, nil
		}
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return d, nil
	}
	return 0, &core.UserError{Where: "--older " + s, Message: "not an age", Hint: "write days as 30d, or hours as 12h"}
}

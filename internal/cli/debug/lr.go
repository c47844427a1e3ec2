package debug

import (
	"bufio"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/evalrun/evalrun/backends/local/train"
	"github.com/evalrun/evalrun/core"
)

func newLR() *cobra.Command {
	var preset, schedule string
	var steps, restart int
	var lr, warmup float64
	cmd := &cobra.Command{
		Use:   "lr --preset P --steps N",
		Short: "the learning rate of every step, as CSV",
		Long: "Lr prints the rate in force during each step of a training of N steps, and what the schedule\n" +
			"ends at. A step is a micro-batch. The flags change single settings of the preset; schedules:\n" +
			strings.Join(train.Schedules(), ", ") + ".",
		Example: "  evalrun debug lr --preset paper --steps 40000\n" +
			"  evalrun debug lr --preset modern --steps 500 --schedule linear --warmup 15",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := train.Preset(preset)
			if err != nil {
				return &core.UserError{Where: "--preset " + preset, Message: err.Error(), Hint: "take one of " + strings.Join(train.Presets(), ", ")}
			}
			p.Steps = steps
			set := cmd.Flags().Changed
			if set("schedule") {
				p.Schedule = schedule
			}
			if set("lr") {
				p.LR = lr
			}
			if set("warmup") {
				p.Warmup = &warmup
			}
			if set("restart") {
				p.Restart = restart
			}
			s := p.Rates()
			if err := s.Check(); err != nil {
				return &core.UserError{Where: "debug lr", Message: err.Error(), Hint: "change the flag that gives it"}
			}
			w := bufio.NewWriter(cmd.OutOrStdout())
			fmt.Fprintln(w, "step,lr")
			for i := range steps + 1 {
				fmt.Fprintf(w, "%d,%s\n", i, strconv.FormatFloat(s.Rate(i), 'g', -1, 64))
			}
			return w.Flush()
		},
	}
	f := cmd.Flags()
	f.StringVar(&preset, "preset", "paper", strings.Join(train.Presets(), " or "))
	f.IntVar(&steps, "steps", 0, "steps of the whole training")
	f.StringVar(&schedule, "schedule", "", "another schedule than the preset's")
	f.Float64Var(&lr, "lr", 0, "another learning rate")
	f.Float64Var(&warmup, "warmup", 0, "steps of warm-up; the preset's own is 3 % of all")
	f.IntVar(&restart, "restart", 0, "another period of cosine-restarts")
	return cmd
}

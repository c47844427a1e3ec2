package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/evalrun/evalrun/backends/budget"
	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/results"
)

func newResume() *cobra.Command {
	var flags evalFlags
	cmd := &cobra.Command{
		Use:   "resume [RUN]",
		Short: "go on with a run that was interrupted, stopped at its cap, or had API errors",
		Long: "Resume asks what a run still lacks, with the run's own tasks, rows and models. What is\n" +
			"stored is not asked again. The evaluation command itself goes on with its last\n" +
			"unfinished run in the same way; resume is for going on with a certain one.",
		Example: "  evalrun resume\n" +
			"  evalrun resume runs/latest --max-cost 5usd",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return runResume(cmd, runName(args), &flags) },
		ValidArgsFunction: func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
			return completeRuns(&flags.out, 1)(cmd, args, word)
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&flags.device, "device", "", "device that computes (default: the best one found)")
	fl.IntVar(&flags.concurrency, "concurrency", 0, "requests in flight (default: what keeps the backend busy)")
	fl.StringVar(&flags.maxCost, "max-cost", "", "spending cap of the whole run, such as 5usd: stops cleanly with exit code 3")
	fl.Float64Var(&flags.rpm, "rpm", 0, "most requests a minute")
	fl.Float64Var(&flags.tpm, "tpm", 0, "most tokens a minute")
	fl.StringVar(&flags.cache, "cache", "auto", "response cache: auto (services that cost), on, off")
	fl.Float64Var(&flags.minScore, "min-score", 0, "exit code 4 when a task's first metric is below this")
	fl.Float64Var(&flags.maxErrors, "max-errors", 0.01, "share of API errors above which the exit code is 2")
	unsafeCodeFlag(fl, &flags.unsafeCode)
	fl.StringVar(&flags.out, "out", "runs", "folder that holds the run folders")
	fl.BoolVar(&flags.json, "json", false, "one JSON object on standard output at the end")
	fl.BoolVar(&flags.quiet, "quiet", false, "no progress and no table")
	return cmd
}

func runResume(cmd *cobra.Command, name string, flags *evalFlags) error {
	if !slices.Contains([]string{"auto", "on", "off"}, flags.cache) {
		return &core.UserError{Where: "--cache " + flags.cache, Message: "unknown setting", Hint: "one of: auto, on, off"}
	}
	folder, err := results.Open(flags.out, name)
	if err != nil {
		return err
	}
	m := folder.Manifest
	if m.Finished != nil {
		return &core.UserError{Where: folder.Path, Message: "the run is finished: every sample has its answer",
			Hint: "evalrun report " + m.ID + " shows it; the evaluation command starts a new run"}
	}
	s, err := newStored(cmd.Context(), folder, nil, flags.unsafeCode)
	if err != nil {
		return err
	}
	defer s.metrics.Close()
	if changed := s.changed(); len(changed) > 0 {
		return &core.UserError{Where: folder.Path, Message: "the task files have changed since the run began: " + strings.Join(changed, ", "),
			Hint: "one run must not mix two prompts: put the files back, or start a new run and keep this one (evalrun report " + m.ID + ")"}
	}
	e := &evaluation{flags: flags, files: s.files, out: cmd.OutOrStdout(), err: os.Stderr, metrics: metricMaker{unsafeCode: flags.unsafeCode}}
	defer e.metrics.Close()
	if flags.maxCost != "" {
		if e.cap, err = budget.ParseUSD(flags.maxCost); err != nil {
			return err
		}
	}
	c := m.Config
	flags.data, flags.limit, flags.seed, flags.repeat, flags.fewshot, flags.set = c.Data, c.Limit, c.Seed, max(c.Repeat, 1), c.Fewshot, c.Set
	if len(c.Models) == 0 {
		return &core.UserError{Where: filepath.Join(folder.Path, results.ManifestFile), Message: "the manifest names no model", Hint: "start a new run"}
	}
	for _, mc := range c.Models {
		e.models = append(e.models, storedModel(mc, flags.device))
	}
	if c.Judge != nil {
		judge := storedModel(*c.Judge, flags.device)
		e.judge = &judge
	}
	e.hub = hubClient(e.err, flags.quiet)
	host := newHost(flags.quiet)
	defer host.Close()
	known := backendNames(host)
	for i := range e.models {
		if err := knownBackend(e.models[i].Backend, known); err != nil {
			return fmt.Errorf("model %s of run %s: %w", e.models[i].Label, m.ID, err)
		}
	}
	if err := e.checkConfigs(); err != nil {
		return err
	}
	for i := range e.models {
		if err := localModel(cmd.Context(), e.hub, &e.models[i]); err != nil {
			return err
		}
	}
	if e.judge != nil {
		if err := localModel(cmd.Context(), e.hub, e.judge); err != nil {
			return err
		}
	}
	return e.fill(cmd.Context(), host, folder, true)
}

// storedModel makes a column from what the manifest keeps of it. The adapter's
// name is the end of the label.
func storedModel(mc results.ModelConfig, device string) modelSpec {
	m := modelSpec{Label: mc.Label, Backend: mc.Backend, Demo: mc.Backend == "local" && mc.Model == "",
		Config: core.Config{Model: mc.Model, Revision: mc.Revision, BaseURL: mc.BaseURL, Device: device, Options: mc.Options}}
	if mc.Adapter == "" {
		return m
	}
	m.Adapter = filepath.Base(filepath.Clean(mc.Adapter))
	if rest, ok := strings.CutPrefix(mc.Label, label(m)+"+"); ok {
		m.Adapter = rest
	}
	m.Config.Adapters = []core.Adapter{{Name: m.Adapter, Path: mc.Adapter}}
	return m
}

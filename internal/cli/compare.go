package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/stats"
	"github.com/evalrun/evalrun/internal/nearest"
	"github.com/evalrun/evalrun/results"
	"github.com/evalrun/evalrun/results/compare"
)

func newCompare() *cobra.Command {
	var out string
	var asJSON bool
	var maker metricMaker
	o := compare.Options{Info: metricInfo(&maker)}
	cmd := &cobra.Command{
		Use:   "compare [A [B]]",
		Short: "compare two stored runs, or the models of one, sample by sample",
		Long: "Compare matches the samples of two runs and says what got better or worse, with paired\n" +
			"intervals and tests (McNemar's exact test, else a paired bootstrap; Holm's correction\n" +
			"over the tasks). Regressions come first. A and B are run folders, ids or latest; of a\n" +
			"run with several models RUN@MODEL names one. With one run (latest when none is named)\n" +
			"its first model is compared with each of the others; where it has only one model, the\n" +
			"run before it on the same tasks is A.",
		Example: "  evalrun boolq --backend echo --data embedded --against echo; evalrun compare\n" +
			"  evalrun compare runs/latest runs/latest --json",
		Args: cobra.MaximumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			defer maker.Close()
			if o.Resamples < 1 || o.Resamples > stats.MaxResamples {
				return &core.UserError{Where: fmt.Sprintf("--resamples %d", o.Resamples), Message: fmt.Sprintf("from 1 to %d can be drawn", stats.MaxResamples), Hint: "leave it out for 10000"}
			}
			pairs, err := comparePairs(out, args)
			if err != nil {
				return err
			}
			var all []*compare.Result
			for _, p := range pairs {
				r, err := compare.Compare(cmd.Context(), p[0], p[1], o)
				if err != nil {
					return err
				}
				all = append(all, r)
			}
			w := cmd.OutOrStdout()
			if asJSON {
				enc := json.NewEncoder(w)
				enc.SetEscapeHTML(false)
				return enc.Encode(map[string]any{"comparisons": all})
			}
			for i, r := range all {
				if i > 0 {
					fmt.Fprintln(w)
				}
				if err := r.Print(w); err != nil {
					return err
				}
			}
			return nil
		},
		ValidArgsFunction: completeRuns(&out, 2),
	}
	fl := cmd.Flags()
	fl.StringVar(&out, "out", "runs", "folder that holds the run folders")
	fl.StringSliceVar(&o.Tasks, "task", nil, "compare this task only; repeatable")
	fl.IntVar(&o.Resamples, "resamples", 10000, "resamples of the paired bootstrap")
	fl.Uint64Var(&o.Seed, "seed", 0, "seed of the bootstrap")
	fl.BoolVar(&asJSON, "json", false, "one JSON object on standard output")
	_ = cmd.RegisterFlagCompletionFunc("task", completeTasks)
	return cmd
}

// metricInfo describes metrics by name; it keeps what it has made. A plugin that
// is not there any more is unknown.
func metricInfo(maker *metricMaker) func(string, core.Profile) (core.MetricInfo, bool) {
	type key struct {
		name    string
		profile core.Profile
	}
	var mu sync.Mutex
	known := map[key]core.MetricInfo{}
	return func(name string, profile core.Profile) (core.MetricInfo, bool) {
		mu.Lock()
		defer mu.Unlock()
		k := key{name, profile}
		if info, ok := known[k]; ok {
			return info, info.Name != ""
		}
		m, err := maker.metric(context.Background(), core.MetricSpec{Name: name}, profile)
		if err == nil {
			known[k] = m.Info()
		} else {
			known[k] = core.MetricInfo{}
		}
		return known[k], err == nil
	}
}

// A runRef is a run, and one of its models where the user named it.
type runRef struct {
	folder *results.Folder
	model  string
}

// openRef reads RUN or RUN@MODEL.
func openRef(root, spec string) (runRef, error) {
	folder, err := results.Open(root, spec)
	if err == nil {
		return runRef{folder: folder}, nil
	}
	name, model, ok := strings.Cut(spec, "@")
	if !ok {
		return runRef{}, err
	}
	if folder, err = results.Open(root, name); err != nil {
		return runRef{}, err
	}
	labels := runLabels(folder)
	if !slices.Contains(labels, model) {
		hint := "its models: " + strings.Join(labels, ", ")
		if near := nearest.Word(model, labels); near != "" {
			hint = "did you mean " + name + "@" + near + "?"
		}
		return runRef{}, &core.UserError{Where: spec, Message: fmt.Sprintf("the run has no model %q", model), Hint: hint}
	}
	return runRef{folder, model}, nil
}

// runLabels lists the models of a run in the order of its table.
func runLabels(f *results.Folder) []string {
	var out []string
	for _, m := range f.Manifest.Config.Models {
		out = append(out, m.Label)
	}
	return out
}

// models of the reference: the one named, or all.
func (r runRef) models() []string {
	if r.model != "" {
		return []string{r.model}
	}
	return runLabels(r.folder)
}

// comparePairs settles which models are compared.
func comparePairs(root string, args []string) ([][2]compare.Side, error) {
	a, err := openRef(root, runName(args))
	if err != nil {
		return nil, err
	}
	var pairs [][2]compare.Side
	if len(args) < 2 {
		models := runLabels(a.folder)
		base := a.model
		if base == "" && len(models) > 0 {
			base = models[0]
		}
		for _, m := range models {
			if m != base {
				pairs = append(pairs, [2]compare.Side{{Folder: a.folder, Model: base}, {Folder: a.folder, Model: m}})
			}
		}
		if len(pairs) > 0 {
			return pairs, nil
		}
		before, err := runBefore(a.folder)
		if err != nil {
			return nil, err
		}
		return matchModels(before.Manifest.ID, a.folder.Manifest.ID, runRef{folder: before}, a)
	}
	b, err := openRef(root, args[1])
	if err != nil {
		return nil, err
	}
	return matchModels(args[0], args[1], a, b)
}

// runBefore finds the newest earlier run beside f that shares a task with it.
func runBefore(f *results.Folder) (*results.Folder, error) {
	runs, err := results.List(filepath.Dir(f.Path))
	if err != nil {
		return nil, err
	}
	names := taskNames(f.Manifest.Config)
	earlier := false // the newest come first; IDs do not order runs of one second
	for _, r := range runs {
		if !earlier {
			earlier = r.Manifest.ID == f.Manifest.ID
			continue
		}
		for _, t := range taskNames(r.Manifest.Config) {
			if slices.Contains(names, t) {
				return r, nil
			}
		}
	}
	return nil, &core.UserError{Where: f.Path, Message: "one run with one model, and no earlier run on its tasks, has nothing to be compared with",
		Hint: "name a second run, or evaluate with --against; evalrun ls runs lists the runs"}
}

// matchModels pairs the one model of each side, or those that both have.
func matchModels(nameA, nameB string, a, b runRef) ([][2]compare.Side, error) {
	var pairs [][2]compare.Side
	ma, mb := a.models(), b.models()
	if len(ma) == 1 && len(mb) == 1 {
		return [][2]compare.Side{{{Folder: a.folder, Model: ma[0]}, {Folder: b.folder, Model: mb[0]}}}, nil
	}
	for _, m := range ma {
		if slices.Contains(mb, m) {
			pairs = append(pairs, [2]compare.Side{{Folder: a.folder, Model: m}, {Folder: b.folder, Model: m}})
		}
	}
	if len(pairs) == 0 {
		return nil, &core.UserError{Where: nameA + " and " + nameB, Message: "no model is in both runs",
			Hint: fmt.Sprintf("name one on each side as RUN@MODEL: %s; %s", strings.Join(ma, ", "), strings.Join(mb, ", "))}
	}
	return pairs, nil
}

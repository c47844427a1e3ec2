package cli

import (
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/evalrun/evalrun/backends"
	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/plugins"
)

// newHost makes the host of all plugin processes: the built-in backends are
// this program started again.
func newHost(quiet bool) *plugins.Host {
	var names []string
	for _, e := range backends.Builtin() {
		names = append(names, e.Name)
	}
	level := slog.LevelWarn
	if quiet {
		level = slog.LevelError
	}
	return plugins.NewHost(plugins.HostOptions{
		Backends: names,
		Env:      ownVariables,
		Logger:   slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level})),
	})
}

// ownVariables are those of our environment that belong to one plugin and to no
// other: a backend of the house names them, and other people's get those that
// begin with their name, as ACME_API_KEY for evalrun-backend-acme.
func ownVariables(kind, name string) (env []string) {
	belongs := func(string) bool { return false }
	switch entry, builtin := backends.Find(name); {
	case builtin && kind == plugins.KindBackend:
		belongs = func(variable string) bool { return slices.Contains(entry.Env, variable) }
	case !builtin:
		prefix := strings.ToUpper(strings.NewReplacer("-", "_", ".", "_").Replace(name)) + "_"
		belongs = func(variable string) bool { return strings.HasPrefix(variable, prefix) }
	}
	for _, v := range os.Environ() {
		if variable, _, ok := strings.Cut(v, "="); ok && belongs(variable) {
			env = append(env, v)
		}
	}
	return env
}

// servePlugin makes the process a built-in plugin when it was started as one:
// before flags, files or anything on standard output.
func servePlugin(args []string) (code int, served bool) {
	if len(args) != 4 || args[0] != "plugin" || args[1] != "serve" || args[2] != plugins.KindBackend {
		return 0, false
	}
	for _, e := range backends.Builtin() {
		if e.Name == args[3] {
			plugins.ServeBackend(e.Name, versions().Evalrun, func(c core.Config) (core.Backend, error) { return e.New(c) })
			return 0, true
		}
	}
	fmt.Fprintf(os.Stderr, "evalrun: no built-in backend %q\n", args[3])
	return ExitUsage, true
}

func newPlugin() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "plugin",
		Short:   "list the plugins that are found",
		Example: "  evalrun plugin list\n  EVALRUN_PLUGINS=. evalrun plugin list",
	}
	cmd.AddCommand(&cobra.Command{
		Use: "list", Short: "built-in plugins, and evalrun-backend-NAME and evalrun-metric-NAME on PATH",
		Example: "  evalrun plugin list\n  EVALRUN_PLUGINS=. evalrun plugin list",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			host := newHost(true)
			defer host.Close()
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 4, 2, ' ', 0)
			for _, p := range host.List() {
				where := p.Path
				if p.Builtin {
					where = "built in"
				}
				fmt.Fprintln(w, strings.Join([]string{p.Kind, p.Name, where}, "\t"))
			}
			return w.Flush()
		},
	})
	return cmd
}

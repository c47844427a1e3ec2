// Package plugins is the border between evalrun and the processes in which
// backends and metrics run.
//
// An author's side is one call: [ServeBackend] or [ServeMetric] in main, with a
// factory that gives the same core.Backend or core.Metric that could be used in
// process; [Simple] makes a backend of a function. The program is installed as
// evalrun-backend-NAME or evalrun-metric-NAME in a folder of PATH.
//
// The user's side is a [Host]: it finds plugins by name, starts them, gives
// them an environment without other people's secrets, starts one again that
// died, and ends them all. What it gives is a core.Backend or core.Metric like
// any other: only [core.ErrSessionLost] tells that there is a process.
//
// In between lies plugins/proto, spoken over hashicorp/go-plugin in gRPC mode;
// plugins/pb is generated from it. docs/plugins.md describes the protocol for
// authors in other languages.
package plugins

//go:generate sh -c "cd proto/gen && go run ."

package cli

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/evalrun/evalrun/backends"
	"github.com/evalrun/evalrun/backends/local/quant"
	"github.com/evalrun/evalrun/backends/openai"
	"github.com/evalrun/evalrun/backends/replay"
	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/internal/nearest"
	"github.com/evalrun/evalrun/plugins"
	"github.com/evalrun/evalrun/results"
)

// A modelSpec is one column of the table: a backend and what it runs.
type modelSpec struct {
	Label   string
	Backend string
	Config  core.Config
	// Adapter of the config that answers; empty is the base model.
	Adapter string
	// Demo says that the embedded model answers.
	Demo bool
	// Has is the model that a service says it has, where none is named.
	Has string
}

// config is what the manifest keeps of it.
func (m modelSpec) config() results.ModelConfig {
	c := results.ModelConfig{Label: m.Label, Backend: m.Backend, Model: cmp.Or(m.Config.Model, m.Has), BaseURL: m.Config.BaseURL,
		Options: m.Config.Options, Revision: m.Config.Revision}
	for _, a := range m.Config.Adapters {
		if a.Name == m.Adapter {
			c.Adapter = a.Path
		}
	}
	return c
}

// mainModels gives the columns that the flags name: the base model, or one
// column for each adapter.
func (f *evalFlags) mainModels() ([]modelSpec, error) {
	base := modelSpec{Backend: f.backend, Config: core.Config{Model: f.model, Revision: f.revision, BaseURL: f.baseURL, Device: f.device}}
	var err error
	if base.Config.Options, err = options(f.options); err != nil {
		return nil, err
	}
	if f.quant != "" {
		if f.backend != "local" {
			return nil, &core.UserError{Where: "--quant " + f.quant, Message: "only local models can be quantised, and the backend is " + f.backend, Hint: "leave --quant out, or give --backend local"}
		}
		if _, err := quant.ParsePolicy(f.quant); err != nil {
			return nil, &core.UserError{Where: "--quant " + f.quant, Message: "there is no such quantisation", Hint: "one of: " + strings.Join(quant.Policies(), ", ")}
		}
		if base.Config.Options == nil {
			base.Config.Options = map[string]string{}
		}
		base.Config.Options["quant"] = f.quant
	}
	if f.backend == replay.Name && f.model != "" {
		// By its own name: latest is another run as soon as this one begins.
		if run, err := results.Open(f.out, f.model); err == nil {
			base.Config.Model = run.Path
		}
	}
	base.Demo = f.backend == "local" && f.model == ""
	base.Label = label(base)
	if len(f.adapters) == 0 {
		return []modelSpec{base}, nil
	}
	for _, a := range f.adapters {
		path, name, ok := strings.Cut(a, "=")
		many := adaptersIn(path)
		if ok && many != nil {
			return nil, &core.UserError{Where: "--adapter " + a, Message: fmt.Sprintf("a folder of %d adapters, which have their own names", len(many)), Hint: "leave =" + name + " out, or name one of its folders"}
		}
		if !ok {
			name = filepath.Base(filepath.Clean(path))
		}
		if many == nil {
			many = []core.Adapter{{Name: name, Path: path}}
		}
		base.Config.Adapters = append(base.Config.Adapters, many...)
	}
	var out []modelSpec
	for _, a := range base.Config.Adapters {
		m := base
		m.Adapter = a.Name
		m.Label = label(base) + "+" + a.Name
		out = append(out, m)
	}
	return out, nil
}

// adaptersIn gives the adapters whose folders lie in a folder that is none itself,
// by name; nil where there are none.
func adaptersIn(dir string) (all []core.Adapter) {
	const config = "adapter_config.json"
	if _, err := os.Stat(filepath.Join(dir, config)); err == nil {
		return nil
	}
	entries, _ := os.ReadDir(dir) // a folder that is not there is told by adapterFolders
	for _, f := range entries {
		path := filepath.Join(dir, f.Name())
		if _, err := os.Stat(filepath.Join(path, config)); err == nil {
			all = append(all, core.Adapter{Name: f.Name(), Path: path})
		}
	}
	return all
}

// adapterFolders looks for the adapters, so that a mistyped one is told before
// anything is loaded.
func adapterFolders(models []modelSpec) error {
	for _, m := range models {
		for _, a := range m.Config.Adapters {
			if info, err := os.Stat(a.Path); err != nil || !info.IsDir() {
				return &core.UserError{Where: "--adapter " + a.Path, Message: "no such adapter folder", Hint: "give a folder with adapter_config.json and adapter_model.safetensors, as DIR or DIR=name"}
			}
		}
	}
	return nil
}

// checkConfigs makes the backends of the house as their processes will, which
// neither sends nor loads anything: settings that one refuses and a key that it
// lacks are told before a row is read or a file is fetched. What other people's
// backends need, they say when they are started.
func checkConfigs(models []modelSpec) error {
	for _, m := range models {
		entry, builtin := backends.Find(m.Backend)
		if !builtin {
			continue
		}
		b, err := entry.New(m.Config)
		if err == nil {
			err = b.Close()
		}
		if err != nil && len(models) > 1 {
			return fmt.Errorf("model %s: %w", m.Label, err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// againstSpec reads one --against: BACKEND:MODEL, BACKEND:DIR+ADAPTER, a
// backend's name alone, or a stored run, of several models as RUN@MODEL.
func (f *evalFlags) againstSpec(spec string, known []string) (modelSpec, error) {
	if strings.TrimSpace(spec) == "" {
		return modelSpec{}, &core.UserError{Where: "--against", Message: "names nothing", Hint: "write BACKEND:MODEL (openai:gpt-4-0613), local:DIR+ADAPTER, or the folder of a run"}
	}
	if name, _, _ := strings.Cut(spec, ":"); !slices.Contains(known, name) || spec == name && isRun(f.out, spec) {
		ref, err := openRef(f.out, spec)
		if err == nil {
			return runSpec(ref, spec)
		}
		if run, _, ok := strings.Cut(spec, "@"); ok && isRun(f.out, run) {
			return modelSpec{}, err // a run, but not one of its models
		}
	}
	name, rest, _ := strings.Cut(spec, ":")
	if !slices.Contains(known, name) {
		hint := "write BACKEND:MODEL (openai:gpt-4-0613), local:DIR+ADAPTER, or the folder of a run; evalrun ls backends lists the backends"
		if near := nearest.Word(name, known); near != "" {
			hint = fmt.Sprintf("did you mean %s:%s?", near, rest)
		}
		return modelSpec{}, &core.UserError{Where: "--against " + spec, Message: fmt.Sprintf("%q is neither a backend nor a run", name), Hint: hint}
	}
	m := modelSpec{Backend: name, Config: core.Config{Model: rest, Device: f.device}}
	if name == "local" && f.quant != "" {
		m.Config.Options = map[string]string{"quant": f.quant}
	}
	if name == f.backend || name == openai.Name && !behindService(f.backend) {
		m.Config.BaseURL = f.baseURL
	}
	if model, adapter, ok := strings.Cut(rest, "+"); ok && name == "local" {
		m.Config.Model = model
		m.Adapter = filepath.Base(filepath.Clean(adapter))
		m.Config.Adapters = []core.Adapter{{Name: m.Adapter, Path: adapter}}
	}
	m.Demo = name == "local" && m.Config.Model == ""
	m.Label = label(m)
	if m.Adapter != "" {
		m.Label += "+" + m.Adapter
	}
	return m, nil
}

// behindService tells whether a backend may ask a service; of other people's
// nothing is known.
func behindService(backend string) bool {
	return !slices.Contains([]string{"local", "echo", replay.Name}, backend)
}

// heeded refuses flags that none of the models would heed: what a user thinks to
// have said must not be passed over.
func (f *evalFlags) heeded(models ...modelSpec) error {
	if f.baseURL != "" && !slices.ContainsFunc(models, func(m modelSpec) bool { return m.Config.BaseURL != "" && behindService(m.Backend) }) {
		return &core.UserError{Where: "--base-url " + f.baseURL, Message: "no model here is asked of a service: the backend is " + f.backend, Hint: "give --backend openai, or --against openai:MODEL, or leave --base-url out"}
	}
	if f.device != "" && !slices.ContainsFunc(models, func(m modelSpec) bool {
		return !slices.Contains([]string{openai.Name, "echo", replay.Name}, m.Backend)
	}) {
		return &core.UserError{Where: "--device " + f.device, Message: "no model here computes on this machine: the backend is " + f.backend, Hint: "give --backend local, or leave --device out"}
	}
	return nil
}

func isRun(root, name string) bool {
	_, err := results.Open(root, name)
	return err == nil
}

// runSpec is a column of stored answers.
func runSpec(ref runRef, spec string) (modelSpec, error) {
	m := modelSpec{Label: "run:" + ref.folder.Manifest.ID, Backend: "replay", Config: core.Config{Model: ref.folder.Path}}
	models := ref.models()
	switch {
	case len(models) > 1:
		return m, &core.UserError{Where: "--against " + spec, Message: "the run has several models", Hint: "name one: " + spec + "@MODEL, of " + strings.Join(models, ", ")}
	case ref.model != "":
		m.Label += "@" + ref.model
		m.Config.Options = map[string]string{"label": ref.model}
	}
	return m, nil
}

// knownBackend names the nearest backend for a mistyped one.
func knownBackend(name string, known []string) error {
	if slices.Contains(known, name) {
		return nil
	}
	hint := "there are " + strings.Join(known, ", ") + "; put a plugin on PATH as evalrun-backend-NAME to use it as NAME"
	if near := nearest.Word(name, known); near != "" {
		hint = fmt.Sprintf("did you mean --backend %s?", near)
	}
	return &core.UserError{Where: "--backend " + name, Message: "no such backend", Hint: hint}
}

// label is a model's short name in tables.
func label(m modelSpec) string {
	name := cmp.Or(m.Config.Model, m.Has)
	switch {
	case m.Demo:
		name = "demo"
	case name == "":
		return m.Backend
	case strings.ContainsAny(name, `/\`) && m.Backend != "openai":
		name = filepath.Base(filepath.Clean(name))
	}
	return m.Backend + ":" + name
}

// serviceModel asks a service for its model where none is named, so that table
// and manifest name it: a run that goes on must not go on with another one.
func serviceModel(ctx context.Context, host *plugins.Host, m *modelSpec) error {
	if m.Backend != openai.Name || m.Config.Model != "" {
		return nil
	}
	b, info, err := start(ctx, host, *m)
	if err != nil {
		return err
	}
	m.Has = info.Model
	m.Label = label(*m)
	return b.Close()
}

// unique makes labels differ where two columns would share one.
func unique(models []modelSpec) {
	taken := map[string]bool{}
	for i := range models {
		label := models[i].Label
		for n := 2; taken[models[i].Label]; n++ {
			models[i].Label = fmt.Sprintf("%s#%d", label, n)
		}
		taken[models[i].Label] = true
	}
}

// options reads key=value pairs of a backend's own settings.
func options(pairs []string) (map[string]string, error) {
	if len(pairs) == 0 {
		return nil, nil
	}
	m := make(map[string]string, len(pairs))
	for _, p := range pairs {
		k, v, ok := strings.Cut(p, "=")
		if !ok || k == "" {
			return nil, &core.UserError{Where: "--opt " + p, Message: "not of the form key=value", Hint: "for example --opt api=completions"}
		}
		m[k] = v
	}
	return m, nil
}

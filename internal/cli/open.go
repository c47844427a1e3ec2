package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/evalrun/evalrun/backends/budget"
	"github.com/evalrun/evalrun/backends/cached"
	"github.com/evalrun/evalrun/backends/limit"
	"github.com/evalrun/evalrun/backends/openai"
	"github.com/evalrun/evalrun/backends/retry"
	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/plugins"
)

// opened is a backend in its decorators, from outside: cached( budget( retry(
// limit( plugin )))).
type opened struct {
	core.Backend
	info   core.Info
	retry  *retry.Backend
	budget *budget.Backend
	store  *cached.Store
}

// Close ends the plugin and then the cache.
func (o *opened) Close() error {
	err := o.Backend.Close()
	if o.store != nil {
		err = errors.Join(err, o.store.Close())
	}
	return err
}

// openOptions say which decorators a backend gets.
type openOptions struct {
	rpm, tpm float64
	// cache is auto, on or off.
	cache string
	// cap in USD, 0 is none; spent is what the run had cost before.
	cap, spent float64
	// with shares its account, where there is one.
	with *budget.Backend
}

// yardstick is the model that the report compares with.
const yardstick = "gpt-4-0613"

// open starts a backend's plugin and wraps it. Closing what it gives closes
// everything.
func open(ctx context.Context, host *plugins.Host, spec modelSpec, o openOptions) (*opened, error) {
	b, info, err := start(ctx, host, spec)
	if err != nil {
		return nil, err
	}
	if o.cap > 0 && spec.Backend == openai.Name && info.Prices != nil && !info.Prices.Known {
		// A cap needs prices. Those of the report's yardstick are far above what
		// self-served models cost: the cap then stops too early, not too late.
		b.Close()
		assumed := openai.Prices(yardstick)
		fmt.Fprintf(os.Stderr, "the prices of %s are not known: --max-cost reckons with those of %s, $%g in and $%g out a million tokens; --opt price_in=… --opt price_out=… give the right ones\n",
			info.Model, yardstick, assumed.Input, assumed.Output)
		spec.Config.Options = maps.Clone(spec.Config.Options)
		if spec.Config.Options == nil {
			spec.Config.Options = map[string]string{}
		}
		spec.Config.Options["price_in"], spec.Config.Options["price_out"] = fmt.Sprint(assumed.Input), fmt.Sprint(assumed.Output)
		if b, info, err = start(ctx, host, spec); err != nil {
			return nil, err
		}
	}
	out := &opened{info: info}
	out.retry = retry.Wrap(limit.Wrap(b, limit.Options{RequestsPerMinute: o.rpm, TokensPerMinute: o.tpm}), retry.Options{})
	b = out.retry
	if o.cap > 0 {
		if out.budget, err = budget.Wrap(ctx, b, budget.Options{CapUSD: o.cap, Before: o.spent, With: o.with}); err != nil {
			b.Close()
			return nil, err
		}
		b = out.budget
	}
	if o.cache == "on" || o.cache == "auto" && info.Prices != nil {
		store, err := openCache()
		if err != nil {
			b.Close()
			return nil, err
		}
		out.store = store
		b = cached.Wrap(b, store, cached.Options{Scope: scope(spec)})
	}
	out.Backend = b
	return out, nil
}

// start starts a backend's process and asks what it is.
func start(ctx context.Context, host *plugins.Host, spec modelSpec) (core.Backend, core.Info, error) {
	b, err := host.Backend(ctx, spec.Backend, spec.Config)
	if err != nil {
		return nil, core.Info{}, err
	}
	info, err := b.Info(ctx)
	if err != nil {
		b.Close()
		return nil, core.Info{}, err
	}
	return b, info, nil
}

// scope is what a cached answer depends on beside what the backend's Info
// tells: the service's address and the backend's settings.
func scope(spec modelSpec) string {
	var b strings.Builder
	b.WriteString(spec.Config.BaseURL)
	for _, k := range slices.Sorted(maps.Keys(spec.Config.Options)) {
		switch k {
		case "price_in", "price_out", "timeout", "concurrency", "threads":
			continue // these change no answer
		}
		fmt.Fprintf(&b, "\x00%s=%s", k, spec.Config.Options[k])
	}
	return b.String()
}

func openCache() (*cached.Store, error) {
	path, err := cachePath()
	if err != nil {
		return nil, err
	}
	store, err := cached.OpenStore(path, func(s string) { fmt.Fprintln(os.Stderr, "warning: "+s) })
	if err != nil {
		return nil, &core.UserError{Message: "the response cache cannot be used", Err: err, Hint: "EVALRUN_CACHE names another folder; an evaluation does without it with --cache off"}
	}
	return store, nil
}

// cachePath is the file of the response cache: $EVALRUN_CACHE, or a file in
// the user's cache folder.
func cachePath() (string, error) {
	dir := os.Getenv("EVALRUN_CACHE")
	if dir == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			return "", &core.UserError{Message: "no folder for the response cache", Err: err, Hint: "set EVALRUN_CACHE to one, or give --cache off"}
		}
		dir = filepath.Join(base, "evalrun")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", &core.UserError{Where: dir, Message: "making the cache folder", Err: err, Hint: "set EVALRUN_CACHE to a folder that can be written, or give --cache off"}
	}
	return filepath.Join(dir, "responses.sqlite"), nil
}

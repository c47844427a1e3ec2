package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/dataset/hub"
)

// downloadEvery is the time between two lines about one download.
const downloadEvery = 2 * time.Second

// hubClient is the environment's client of the hub, with a line every now and
// then about what is fetched. It is nil where the environment allows none: what
// needs it says why.
func hubClient(out io.Writer, quiet bool) *hub.Client {
	c, err := hub.FromEnvironment()
	if err != nil {
		return nil
	}
	if !quiet {
		d := &downloads{out: out}
		c.OnProgress = d.show
	}
	return c
}

// downloads writes plain lines: they stay readable between other output.
type downloads struct {
	mu   sync.Mutex
	out  io.Writer
	file string
	last time.Time
}

func (d *downloads) show(p hub.Progress) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if p.Note != "" {
		fmt.Fprintln(d.out, p.Note)
		return
	}
	file, now := p.Repo+"/"+p.Path, time.Now()
	ended := p.Total > 0 && p.Done >= p.Total
	if file == d.file && !ended && now.Sub(d.last) < downloadEvery {
		return
	}
	d.file, d.last = file, now
	if p.Total > 0 {
		fmt.Fprintf(d.out, "fetching %s: %s of %s\n", file, megabytes(p.Done), megabytes(p.Total))
	} else {
		fmt.Fprintf(d.out, "fetching %s: %s\n", file, megabytes(p.Done))
	}
}

func megabytes(n int64) string {
	if n < 1e5 {
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	}
	return fmt.Sprintf("%.1f MB", float64(n)/1e6)
}

// localModel turns a hub id into the folder of its snapshot; what is there
// already stays as it is.
func localModel(ctx context.Context, client *hub.Client, spec *modelSpec) error {
	model := spec.Config.Model
	if spec.Backend != "local" || model == "" {
		return nil
	}
	if _, err := os.Stat(model); err == nil {
		return nil
	}
	if !hub.IsID(model) {
		return &core.UserError{Where: "model " + model, Message: "no such model folder or file",
			Hint: "give a Hugging Face folder (config.json, *.safetensors, tokenizer.json), a .gguf file, or an id of the hub such as org/name"}
	}
	if client == nil {
		var err error
		if client, err = hub.FromEnvironment(); err != nil {
			return err
		}
	}
	dir, err := client.Snapshot(ctx, hub.Model, model, spec.Config.Revision, hub.ModelFiles)
	if err != nil {
		return err
	}
	spec.Config.Model = dir
	return nil
}

package dataset

import (
	"context"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"strings"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/dataset/hub"
)

// Where says from where the rows of tasks are read.
type Where struct {
	// Dir, when not empty, is a folder laid out as [Folder] has it, which stands
	// in for every task's own source.
	Dir string
	// Hub serves sources that begin with hf://; nil means that of the environment.
	Hub *hub.Client
}

// Part is one of the splits that a task names.
type Part int

// The parts.
const (
	Evaluation Part = iota
	Training        // for few-shot examples and fine-tuning
)

// Open gives the source of one part of a task's data set, without its filter and
// derived columns. Files of the hub are fetched here; ctx is for that.
//
// A task's own source is hf://owner/name, or a path or pattern of files, in which
// {split} stands for the split's name, or a folder with one file a split or laid
// out as a repository of the hub. Relative paths are looked for beside the task's file.
func Open(ctx context.Context, t *core.Task, part Part, w Where) (Source, error) {
	if t.Fewshot.Split != "" && part == Training {
		one := *t
		one.Dataset.TrainSplit, one.Dataset.Local.TrainSplit, one.Fewshot.Split = t.Fewshot.Split, "", ""
		return Open(ctx, &one, part, w)
	}
	d := t.Dataset
	split, local, key := d.Split, d.Local.Split, "split"
	if part == Training {
		split, local, key = d.TrainSplit, d.Local.TrainSplit, "train_split"
	}
	if w.Dir != "" {
		folder := d.Local.Folder
		if folder == "" {
			folder = t.Name
		}
		if local == "" {
			local = split
		}
		if local == "" {
			return nil, noSplit(t, key)
		}
		return Folder(w.Dir, folder, local)
	}
	scheme, _, remote := strings.Cut(d.Source, "://")
	switch {
	case remote && scheme == "hf":
		if split == "" {
			return nil, noSplit(t, key)
		}
		client := w.Hub
		if client == nil {
			var err error
			if client, err = hub.FromEnvironment(); err != nil {
				return nil, err
			}
		}
		return Hub(ctx, client, hub.Split{ID: d.Source, Config: d.Config, Name: split, Revision: d.Revision})
	case remote:
		return nil, &core.UserError{Where: d.Source, Message: fmt.Sprintf("rows cannot be fetched from %s://", scheme),
			Hint: "fetch them yourself and use --data DIR, or use --data embedded"}
	case d.Files != nil:
		if split == "" {
			return nil, noSplit(t, key)
		}
		paths := make([]string, len(d.Files[split]))
		for i, p := range d.Files[split] {
			paths[i] = beside(t, p)
		}
		if len(paths) == 0 {
			return nil, &core.UserError{Where: t.Path, Message: fmt.Sprintf("dataset.files has no split %q", split), Hint: "name its files there"}
		}
		return Files(paths, FileOptions{})
	case d.Source == "":
		return nil, &core.UserError{Where: t.Path, Message: fmt.Sprintf("the task %s names no source of rows", t.Name),
			Hint: "write dataset.source, or use --data embedded or --data DIR"}
	}
	path := d.Source
	if strings.Contains(path, "{split}") {
		if split == "" {
			return nil, noSplit(t, key)
		}
		path = strings.ReplaceAll(path, "{split}", split)
	}
	path = beside(t, path)
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		if split == "" {
			return nil, noSplit(t, key)
		}
		path = filepath.Clean(path)
		if s, err := Folder(filepath.Dir(path), filepath.Base(path), split); err == nil && d.Config == "" {
			return s, nil
		}
		paths, err := hub.Local(path, d.Config, split)
		if err != nil {
			return nil, err
		}
		return Files(paths, FileOptions{})
	}
	return Files([]string{path}, FileOptions{})
}

// beside looks for a relative path where the task's file is.
func beside(t *core.Task, path string) string {
	if filepath.IsAbs(path) || t.Path == "" || strings.HasPrefix(t.Path, "embedded:") {
		return path
	}
	return filepath.Join(filepath.Dir(t.Path), path)
}

func noSplit(t *core.Task, key string) error {
	return &core.UserError{Where: t.Path, Message: fmt.Sprintf("the task %s names no %s", t.Name, key), Hint: "write dataset." + key}
}

// Hub is a source over one split of a data set on the hub, whose files are fetched
// here unless the cache has them.
func Hub(ctx context.Context, c *hub.Client, s hub.Split) (Source, error) {
	found, err := c.DataFiles(ctx, s)
	if err != nil {
		return nil, err
	}
	inner, err := Files(found.Paths, FileOptions{})
	if err != nil {
		return nil, err
	}
	name := "hf://" + strings.TrimPrefix(s.ID, "hf://")
	if s.Config != "" {
		name += "/" + s.Config
	}
	return &hubSource{inner: inner, name: fmt.Sprintf("%s/%s@%.12s", name, s.Name, found.Commit), files: found}, nil
}

type hubSource struct {
	inner Source
	name  string
	files hub.Files
}

func (h *hubSource) Name() string                                   { return h.name }
func (h *hubSource) Paths() []string                                { return Paths(h.inner) }
func (h *hubSource) Rows(ctx context.Context) iter.Seq2[Row, error] { return h.inner.Rows(ctx) }

// Commit gives the commit of the hub that a source's files belong to; empty for
// other sources. It goes into the manifest.
func Commit(s Source) string {
	if h, ok := s.(*hubSource); ok {
		return h.files.Commit
	}
	return ""
}

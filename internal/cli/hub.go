package cli

import (
	"context"
	"os"
	"strings"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/dataset"
	"github.com/evalrun/evalrun/core/dataset/hub"
	"github.com/evalrun/evalrun/tasks"
)

// hubSource finds a task's own rows on the Hugging Face hub, or in its cache.
func hubSource(ctx context.Context, file *tasks.File, split string) (dataset.Source, error) {
	ds := file.Task.Dataset
	id, isHub := strings.CutPrefix(ds.Source, "hf://")
	if !isHub {
		return nil, &core.UserError{Where: file.Where("dataset.source"), Message: ds.Source + " cannot be fetched by a program",
			Hint: "download it, and give --data DIR with DIR/" + file.Task.Name + "/" + split + ".jsonl (or .csv); --data embedded needs no download"}
	}
	client, err := hub.FromEnvironment()
	if err != nil {
		return nil, err
	}
	files, err := client.DataFiles(ctx, hub.Split{ID: id, Config: ds.Config, Name: split, Revision: ds.Revision})
	if err != nil {
		return nil, at(file, "dataset.source", err)
	}
	return dataset.Files(files.Paths, dataset.FileOptions{})
}

// localModel turns a hub id into the folder of its snapshot; anything that is
// there already stays as it is.
func localModel(ctx context.Context, spec *modelSpec) error {
	model := spec.Config.Model
	if spec.Backend != "local" || model == "" || !hub.IsID(model) {
		return nil
	}
	if _, err := os.Stat(model); err == nil {
		return nil
	}
	client, err := hub.FromEnvironment()
	if err != nil {
		return err
	}
	dir, err := client.Snapshot(ctx, hub.Model, model, spec.Config.Revision, hub.ModelFiles)
	if err != nil {
		return err
	}
	spec.Config.Model = dir
	return nil
}

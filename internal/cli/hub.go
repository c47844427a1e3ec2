package cli

import (
	"context"
	"os"

	"github.com/evalrun/evalrun/core/dataset/hub"
)

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

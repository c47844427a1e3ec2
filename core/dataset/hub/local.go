package hub

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/evalrun/evalrun/core"
)

// Local finds the files of a split in a folder that holds a data set as a
// repository of the hub does: a download or a clone of one. config is as in
// [Split].
func Local(dir, config, split string) ([]string, error) {
	var names []string
	arrow := false
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() {
			if path != dir && strings.HasPrefix(e.Name(), ".") {
				return fs.SkipDir // .git, and .cache of a download
			}
			return nil
		}
		arrow = arrow || strings.HasSuffix(e.Name(), ".arrow")
		name, err := filepath.Rel(dir, path)
		names = append(names, filepath.ToSlash(name))
		return err
	})
	if err != nil {
		return nil, &core.UserError{Where: dir, Message: "the folder cannot be read", Err: err, Hint: "name a folder that can be read"}
	}
	var paths []string
	for _, config := range strings.Split(config, "+") {
		some, err := pick(names, config, split, false)
		var gone *absent
		switch {
		case err == nil:
			for _, name := range some {
				paths = append(paths, filepath.Join(dir, filepath.FromSlash(name)))
			}
		case errors.As(err, &gone) && len(gone.there) == 0 && arrow:
			return nil, &core.UserError{Where: dir, Message: "the folder holds Arrow files, as save_to_disk of the datasets library writes them, and these are not read",
				Hint: "write Parquet with it: load_from_disk(DIR)[SPLIT].to_parquet(FILE)"}
		case errors.As(err, &gone) && len(gone.there) == 0:
			return nil, &core.UserError{Where: dir, Message: "the folder has no data files that can be read", Hint: "put rows into it, one file a split, as .jsonl, .csv or .parquet"}
		case errors.As(err, &gone):
			hint := "there are: " + strings.Join(gone.there, ", ")
			if gone.what == "configuration" {
				hint += "; name one under dataset.config"
			}
			return nil, &core.UserError{Where: dir, Message: gone.Error(), Hint: hint}
		default:
			return nil, &core.UserError{Where: dir, Message: strings.TrimPrefix(err.Error(), errRefused.Error()+": "), Hint: "fetch the missing files, or name them under dataset.files"}
		}
	}
	return paths, nil
}

// Package results is the run folder: its format, its writer and its reader.
//
//	runs/<time>-<id>/manifest.json   what was run, on what, with what
//	                 samples.jsonl   one finished sample a line (core/record)
//	                 scores.json     the table, once the run has ended
//	                 report.md, report.html, junit.xml
//	runs/latest                      points at the last one
//
// samples.jsonl is only ever appended to; everything else can be made again
// from it and the manifest.
package results

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/evalrun/evalrun/core"
)

// The names of the files in a run folder.
const (
	ManifestFile = "manifest.json"
	SamplesFile  = "samples.jsonl"
	ScoresFile   = "scores.json"
	lockFile     = ".lock"
	latestLink   = "latest"
)

// A Folder is a run on disk.
type Folder struct {
	Path     string
	Manifest Manifest

	before string // what latest named when this was made
}

// Samples is the path of the samples file.
func (f *Folder) Samples() string { return filepath.Join(f.Path, SamplesFile) }

// Create makes a new run folder under root and points latest at it.
func Create(root string, m Manifest) (*Folder, error) {
	if err := os.MkdirAll(root, 0o755); err != nil {
		return nil, folderError(root, err)
	}
	var id [3]byte
	if _, err := rand.Read(id[:]); err != nil {
		return nil, err
	}
	m.Format, m.ID = ManifestFormat, m.Created.UTC().Format("20060102-150405")+"-"+hex.EncodeToString(id[:])
	f := &Folder{Path: filepath.Join(root, m.ID), Manifest: m, before: latest(root)}
	if err := os.Mkdir(f.Path, 0o755); err != nil {
		return nil, folderError(root, err)
	}
	if err := f.SaveManifest(); err != nil {
		return nil, err
	}
	pointLatest(root, m.ID)
	return f, nil
}

// folderError explains why runs cannot be kept under root.
func folderError(root string, err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		err = path.Err
	}
	u := &core.UserError{Where: root, Message: "the folder for runs cannot be used", Err: err, Hint: "--out names another folder"}
	if info, serr := os.Stat(root); serr == nil && !info.IsDir() {
		u.Message, u.Err = "is a file, not a folder for runs", nil
	}
	return u
}

// Discard removes a run that [Create] made and that came to nothing; latest names
// the one before again.
func (f *Folder) Discard() error {
	root := filepath.Dir(f.Path)
	if latest(root) == f.Manifest.ID {
		if f.before != "" {
			pointLatest(root, f.before)
		} else {
			os.Remove(filepath.Join(root, latestLink))
		}
	}
	return os.RemoveAll(f.Path)
}

// latest is the run that was begun last, empty where there is none.
func latest(root string) string {
	link := filepath.Join(root, latestLink)
	if id, err := os.Readlink(link); err == nil {
		return filepath.Base(id)
	}
	b, err := os.ReadFile(link)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// pointLatest moves the link; a file system without links has a text file of
// that name instead, which Open reads the same way.
func pointLatest(root, id string) {
	link := filepath.Join(root, latestLink)
	temp := link + ".new"
	os.Remove(temp)
	if err := os.Symlink(id, temp); err != nil {
		if os.WriteFile(temp, []byte(id+"\n"), 0o644) != nil {
			return
		}
	}
	if os.Rename(temp, link) != nil {
		os.Remove(temp)
	}
}

// Open reads a run: a folder, a run id, or latest, looked for as given and
// then under root. Where what latest points at is gone, or latest itself, it is
// the newest of the runs that are there.
func Open(root, name string) (*Folder, error) {
	places := []string{name, filepath.Join(root, name)}
	for _, p := range places {
		if b, err := os.ReadFile(p); err == nil && len(b) < 200 { // latest without links
			p = filepath.Join(filepath.Dir(p), strings.TrimSpace(string(b)))
		}
		if _, err := os.Stat(filepath.Join(p, ManifestFile)); err != nil {
			continue
		}
		if real, err := filepath.EvalSymlinks(p); err == nil {
			p = real
		}
		return open(p)
	}
	for _, p := range places {
		if filepath.Base(p) != latestLink {
			continue
		}
		if runs, err := List(filepath.Dir(p)); err == nil && len(runs) > 0 {
			return runs[0], nil
		}
	}
	return nil, &core.UserError{Where: name, Message: "no run of that name", Hint: "evalrun ls runs lists them; --out names another folder"}
}

func open(path string) (*Folder, error) {
	file := filepath.Join(path, ManifestFile)
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	f := &Folder{Path: path}
	if err := json.Unmarshal(b, &f.Manifest); err != nil {
		return nil, &core.UserError{Where: file, Message: "the manifest is damaged", Err: err, Hint: "the samples beside it are still good; run the command again for a new run"}
	}
	if f.Manifest.Format > ManifestFormat {
		return nil, &core.UserError{Where: file, Message: fmt.Sprintf("run format %d is newer than this evalrun reads (%d)", f.Manifest.Format, ManifestFormat),
			Hint: "use the evalrun that wrote it, or a newer one"}
	}
	return f, nil
}

// List gives all readable runs under root, newest first.
func List(root string) ([]*Folder, error) {
	entries, err := os.ReadDir(root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, folderError(root, err)
	}
	var out []*Folder
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		if f, err := open(filepath.Join(root, e.Name())); err == nil {
			out = append(out, f)
		}
	}
	slices.SortFunc(out, func(a, b *Folder) int {
		return cmp.Or(b.Manifest.Created.Compare(a.Manifest.Created), cmp.Compare(b.Manifest.ID, a.Manifest.ID))
	})
	return out, nil
}

// Unfinished finds the newest run under root with the same effective config
// that has not ended, and that no one is writing to. Where there is none,
// running is one that another process is writing to.
func Unfinished(root, configHash string) (last, running *Folder, err error) {
	runs, err := List(root)
	if err != nil {
		return nil, nil, err
	}
	for _, f := range runs {
		switch {
		case f.Manifest.ConfigHash != configHash || f.Manifest.Finished != nil:
		case !f.Locked():
			return f, nil, nil
		case running == nil:
			running = f
		}
	}
	return nil, running, nil
}

// SaveManifest writes the manifest in one step.
func (f *Folder) SaveManifest() error {
	return writeJSON(filepath.Join(f.Path, ManifestFile), f.Manifest)
}

// Finish marks the run as ended.
func (f *Folder) Finish(now time.Time) error {
	now = now.UTC()
	f.Manifest.Finished = &now
	return f.SaveManifest()
}

// writeJSON writes a file in one step: readers see the old one or the new one.
func writeJSON(path string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return WriteFile(path, append(b, '\n'))
}

// WriteFile writes a file in one step: to a temporary name, then renamed.
func WriteFile(path string, b []byte) error {
	temp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name())
	if _, err := temp.Write(b); err != nil {
		temp.Close()
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := temp.Chmod(0o644); err != nil {
		temp.Close()
		return err
	}
	if err := temp.Close(); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return os.Rename(temp.Name(), path)
}

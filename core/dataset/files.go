package dataset

import (
	"compress/bzip2"
	"context"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/evalrun/evalrun/core"
)

type kind int

const (
	kindUnknown kind = iota
	kindLines
	kindJSON
	kindCSV
	kindTSV
	kindParquet
)

type packing int

const (
	packNone packing = iota
	packGzip
	packZstd
	packBzip2
)

// Extensions lists the endings of file names that can be read, each also with a
// further .gz, .zst or .bz2, in the order in which a folder is searched.
func Extensions() []string {
	return []string{".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet"}
}

func formatOf(name string) (kind, packing) {
	name = strings.ToLower(name)
	pack := packNone
	switch filepath.Ext(name) {
	case ".gz":
		pack = packGzip
	case ".zst":
		pack = packZstd
	case ".bz2":
		pack = packBzip2
	}
	if pack != packNone {
		name = strings.TrimSuffix(name, filepath.Ext(name))
	}
	switch filepath.Ext(name) {
	case ".jsonl", ".ndjson":
		return kindLines, pack
	case ".json":
		return kindJSON, pack
	case ".csv":
		return kindCSV, pack
	case ".tsv":
		return kindTSV, pack
	case ".parquet":
		return kindParquet, pack
	}
	return kindUnknown, pack
}

func unknownFormat(name string) error {
	return &core.UserError{
		Where:   name,
		Message: "the name does not say how to read the file",
		Hint:    "known endings: " + strings.Join(Extensions(), ", ") + ", each also with .gz, .zst or .bz2",
	}
}

// FileOptions say how files are read where their names leave it open.
type FileOptions struct {
	CSV CSVOptions
}

// Files is a source over local files: paths, or patterns as in path/filepath.
// The files of one pattern are read in the order of their names; a file that
// several patterns name is read once, at its first place. Which files there are
// is settled here; each must be there and have a known ending.
func Files(patterns []string, o FileOptions) (Source, error) {
	var paths []string
	for _, pattern := range patterns {
		found, err := expand(pattern)
		if err != nil {
			return nil, err
		}
		for _, path := range found {
			if !slices.Contains(paths, path) {
				paths = append(paths, path)
			}
		}
	}
	if len(paths) == 0 {
		return nil, &core.UserError{Message: "no file of rows is named", Hint: "name a .jsonl, .csv or .parquet file"}
	}
	for _, path := range paths {
		if k, _ := formatOf(path); k == kindUnknown {
			return nil, unknownFormat(path)
		}
		info, err := os.Stat(path)
		if err != nil {
			return nil, &core.UserError{Where: path, Message: "opening the rows", Hint: "check the path", Err: plain(err)}
		}
		if info.IsDir() {
			return nil, &core.UserError{Where: path, Message: "this is a folder, not a file of rows",
				Hint: "a folder with one folder a data set is given by --data DIR; files by a pattern such as " + filepath.Join(path, "*.jsonl")}
		}
	}
	return &files{name: strings.Join(patterns, ", "), paths: paths, options: o}, nil
}

// expand gives the files of one pattern. A path that exists stands for itself,
// even when it holds characters of a pattern.
func expand(pattern string) ([]string, error) {
	if _, err := os.Stat(pattern); err == nil || !strings.ContainsAny(pattern, "*?[") {
		return []string{pattern}, nil
	}
	found, err := filepath.Glob(pattern)
	if err != nil {
		return nil, &core.UserError{Where: pattern, Message: "the pattern is not well formed", Hint: "use *, ? and [a-z] inside a file's name", Err: err}
	}
	if len(found) == 0 {
		return nil, &core.UserError{Where: pattern, Message: "no file matches the pattern", Hint: "check the folder, and quote the pattern so that the shell leaves it alone"}
	}
	slices.Sort(found)
	return found, nil
}

// plain drops the operation and the path from an error of the file system, which
// the message around it names already.
func plain(err error) error {
	if pe, ok := err.(*os.PathError); ok {
		return pe.Err
	}
	return err
}

type files struct {
	name    string
	paths   []string
	options FileOptions
}

func (f *files) Name() string { return f.name }

// Paths lists the files in the order in which they are read.
func (f *files) Paths() []string { return slices.Clone(f.paths) }

func (f *files) Rows(ctx context.Context) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		for _, path := range f.paths {
			for row, err := range pass(ctx, func() (reader, error) { return openFile(path, f.options) }) {
				if !yield(row, err) || err != nil {
					return
				}
			}
		}
	}
}

// Paths lists the local files behind a source, in reading order; nil where there
// are none.
func Paths(s Source) []string {
	if f, ok := s.(interface{ Paths() []string }); ok {
		return f.Paths()
	}
	return nil
}

func openFile(path string, o FileOptions) (reader, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, &core.UserError{Where: path, Message: "opening the rows", Hint: "check the path and its permissions", Err: plain(err)}
	}
	k, pack := formatOf(path)
	if k == kindParquet {
		return openParquet(path, f, pack)
	}
	rc, err := unpack(f, pack)
	if err != nil {
		f.Close()
		return nil, &core.UserError{Where: path, Message: "the compressed file cannot be read", Hint: "check that the file is whole and its ending right", Err: err}
	}
	r, err := newStreamReader(path, k, rc, o.CSV)
	if err != nil {
		rc.Close()
		return nil, err
	}
	return r, nil
}

// newStreamReader reads text in one of the formats; it does not close rc when it
// fails.
func newStreamReader(name string, k kind, rc io.ReadCloser, o CSVOptions) (reader, error) {
	in := newInput(name, rc)
	switch k {
	case kindLines:
		return &linesReader{input: in}, nil
	case kindJSON:
		return newJSONReader(in)
	case kindCSV, kindTSV:
		return newCSVReader(in, k == kindTSV, o)
	}
	return nil, unknownFormat(name)
}

// unpack undoes the compression of f; closing the result closes f.
func unpack(f io.ReadCloser, pack packing) (io.ReadCloser, error) {
	switch pack {
	case packGzip:
		z, err := gzip.NewReader(f)
		if err != nil {
			return nil, err
		}
		return stacked{z, func() { z.Close(); f.Close() }}, nil
	case packZstd:
		// The window is what a stream may ask us to hold in memory.
		z, err := zstd.NewReader(f, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(256<<20))
		if err != nil {
			return nil, err
		}
		return stacked{z, func() { z.Close(); f.Close() }}, nil
	case packBzip2:
		return stacked{bzip2.NewReader(f), func() { f.Close() }}, nil
	}
	return f, nil
}

type stacked struct {
	io.Reader
	shut func()
}

func (s stacked) Close() error { s.shut(); return nil }

func itoa(n int) string { return strconv.Itoa(n) }

// Folder is a source in a folder that holds one folder a data set and in it one
// file a split: DIR/<folder>/<split>.jsonl, or with another of the endings of
// [Extensions]. When a split is stored in several formats, the first in the order
// of Extensions is read, uncompressed before compressed.
func Folder(dir, folder, split string) (Source, error) {
	path, err := FolderFile(dir, folder, split)
	if err != nil {
		return nil, err
	}
	return Files([]string{path}, FileOptions{})
}

// FolderFile finds the file that [Folder] reads.
func FolderFile(dir, folder, split string) (string, error) {
	if !localName(folder) || !localName(split) {
		return "", &core.UserError{Where: dir, Message: fmt.Sprintf("%q and %q must be names within the data folder", folder, split),
			Hint: "a folder and a split are plain names without .. in them"}
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		what := "the data folder is not there"
		if err == nil {
			what = "is a file, not a data folder"
		}
		return "", &core.UserError{Where: dir, Message: what,
			Hint: "--data DIR wants a folder that holds DIR/<data set>/<split>.jsonl; --data embedded needs none"}
	}
	base := filepath.Join(dir, folder)
	entries, err := os.ReadDir(base)
	if err != nil {
		return "", &core.UserError{Where: dir, Message: fmt.Sprintf("the data folder has no folder %q", folder),
			Hint: "there are: " + list(folderNames(dir)) + "; or use --data embedded"}
	}
	var splits []string
	found := make(map[string]string) // ending -> path
	for _, e := range entries {
		stem, ending, ok := cutEnding(e.Name())
		if !ok || e.IsDir() {
			continue
		}
		if !slices.Contains(splits, stem) {
			splits = append(splits, stem)
		}
		if stem == split {
			found[ending] = filepath.Join(base, e.Name())
		}
	}
	for _, ending := range Extensions() {
		for _, packed := range []string{"", ".gz", ".zst", ".bz2"} {
			if path, ok := found[ending+packed]; ok {
				return path, nil
			}
		}
	}
	slices.Sort(splits)
	return "", &core.UserError{Where: base, Message: fmt.Sprintf("there is no split %q", split),
		Hint: "there are: " + list(splits)}
}

func localName(s string) bool { return s != "" && filepath.IsLocal(s) }

// cutEnding divides a file's name into split and ending.
func cutEnding(name string) (stem, ending string, ok bool) {
	for _, ext := range Extensions() {
		for _, packed := range []string{"", ".gz", ".zst", ".bz2"} {
			if stem, ok := strings.CutSuffix(name, ext+packed); ok && stem != "" {
				return stem, ext + packed, true
			}
		}
	}
	return "", "", false
}

func folderNames(dir string) []string {
	entries, _ := os.ReadDir(dir)
	var names []string
	for _, e := range entries {
		if info, err := os.Stat(filepath.Join(dir, e.Name())); err == nil && info.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names
}

// list names things in a sentence.
func list(names []string) string {
	switch {
	case len(names) == 0:
		return "none"
	case len(names) > 12:
		return strings.Join(names[:12], ", ") + fmt.Sprintf(" and %d more", len(names)-12)
	}
	return strings.Join(names, ", ")
}

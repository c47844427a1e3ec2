// Package weights reads and writes the two kinds of checkpoint files:
// safetensors (one file, or shards with an index) and GGUF.
//
// Law of the house: the file's own layout is the only truth and stays
// memory-mapped; nothing is copied, repacked or converted here. Every number
// in a header is checked against the size of the file before it is used, and
// a file that is wrong gives an error that names file, tensor, what was wanted
// and what was found, never a panic.
//
// First call: Open.
package weights

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strings"

	"github.com/evalrun/evalrun/kernels/format"
)

// Tensor is one named array of values as it lies in a file.
type Tensor struct {
	Name string

	// Type is the kernels' name of the element format, or format.Invalid where
	// no kernel knows it (integers, formats that are not read yet).
	Type format.Type

	// Stored is the file's own name of the element type: "F32", "U8", "Q4_K".
	Stored string

	// Shape is row-major, the dimension that runs fastest last, in both kinds
	// of file. An empty shape is a single value.
	Shape []int

	// Data are the bytes of the file: read-only, and gone after File.Close.
	Data []byte
}

// Len is the number of values.
func (t Tensor) Len() int {
	n := 1
	for _, d := range t.Shape {
		n *= d
	}
	return n
}

// Floats decodes all values to float32, into memory of its own. It is meant
// for small tensors and tests; kernels read Data in panels.
func (t Tensor) Floats() ([]float32, error) {
	if t.Type == format.Invalid {
		return nil, fmt.Errorf("tensor %q: no kernel reads %s", t.Name, t.Stored)
	}
	dst := make([]float32, t.Len())
	t.Type.Decode(dst, t.Data)
	return dst, nil
}

// ErrNoTensor is what Tensor's error wraps when the checkpoint lacks the name.
var ErrNoTensor = errors.New("no such tensor")

// File is an open checkpoint: one file, or all shards of one. It may be read
// by many goroutines at once; Close must come after the last use of any Data.
type File struct {
	path     string
	files    []string
	maps     []*mapping
	names    []string
	tensors  map[string]Tensor
	metadata map[string]string
	meta     *Meta
}

// Open maps the checkpoint at path: a .safetensors file, a .gguf file, an index
// (model.safetensors.index.json), or a Hugging Face model or adapter folder
// that holds one of them.
func Open(path string) (*File, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("open weights: %w", err)
	}
	if st.IsDir() {
		found, err := find(path)
		if err != nil {
			return nil, fmt.Errorf("open weights: %w", err)
		}
		path = found
	}
	f := &File{path: path, tensors: map[string]Tensor{}}
	switch {
	case strings.HasSuffix(path, ".index.json"):
		err = f.openIndex(path)
	case strings.HasSuffix(path, ".json"):
		err = fmt.Errorf("%s: not a checkpoint: want a folder, a .safetensors or a .gguf file", path)
	default:
		err = f.openFile(path, nil)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open weights: %w", err), f.Close())
	}
	return f, nil
}

// Parse is Open of a safetensors file that was read into memory. path is for
// messages. What becomes of the file on the disk does not matter any more.
func Parse(path string, data []byte) (*File, error) {
	f := &File{path: path, files: []string{path}, tensors: map[string]Tensor{}}
	tensors, metadata, err := parseSafetensors(data)
	if err == nil {
		f.metadata = metadata
		err = f.add(path, tensors)
	}
	if err != nil {
		return nil, fmt.Errorf("open weights: %s: %w", path, err)
	}
	return f, nil
}

// find picks the checkpoint of a folder, in the order in which Hugging Face's
// libraries look: the whole file before the shards, a model before an adapter.
func find(dir string) (string, error) {
	for _, name := range []string{"model.safetensors", "model.safetensors.index.json", "adapter_model.safetensors"} {
		p := filepath.Join(dir, name)
		if _, err := os.Stat(p); err == nil {
			return p, nil
		} else if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	for _, ext := range []string{".safetensors", ".gguf"} {
		var found []string
		for _, e := range entries {
			// Of a model in several parts the first stands for all.
			if !e.IsDir() && strings.HasSuffix(e.Name(), ext) && (!isSplit(e.Name()) || strings.Contains(e.Name(), "-00001-of-")) {
				found = append(found, e.Name())
			}
		}
		if len(found) == 1 {
			return filepath.Join(dir, found[0]), nil
		}
		if len(found) > 1 {
			return "", fmt.Errorf("%s: %d %s files (%s): name one of them", dir, len(found), ext, strings.Join(found[:2], ", "))
		}
	}
	for _, e := range entries {
		if n := e.Name(); strings.HasSuffix(n, ".bin") || strings.HasSuffix(n, ".pth") || strings.HasSuffix(n, ".pt") {
			return "", fmt.Errorf("%s: only PyTorch pickles (%s), which are not read: save the model with safe_serialization=True", dir, n)
		}
	}
	return "", fmt.Errorf("%s: no model.safetensors, model.safetensors.index.json or .gguf file in the folder", dir)
}

var splitName = regexp.MustCompile(`-\d{5}-of-\d{5}\.gguf$`)

func isSplit(name string) bool { return splitName.MatchString(name) }

// openFile maps one file and adds its tensors: those in want, or all where want
// is nil.
func (f *File) openFile(path string, want []string) error {
	m, err := mapPath(path)
	if err != nil {
		return err
	}
	f.maps = append(f.maps, m)
	f.files = append(f.files, path)
	var tensors []Tensor
	var metadata map[string]string
	var meta *Meta
	if len(m.data) >= 4 && string(m.data[:4]) == ggufMagic || strings.HasSuffix(path, ".gguf") {
		tensors, meta, err = parseGGUF(m.data)
	} else {
		tensors, metadata, err = parseSafetensors(m.data)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if want == nil {
		f.metadata, f.meta = metadata, meta
		if err := f.add(path, tensors); err != nil {
			return err
		}
		return f.openSplits(path)
	}
	if meta != nil {
		return fmt.Errorf("%s: a GGUF file as a safetensors shard", path)
	}
	have := make(map[string]Tensor, len(tensors))
	for _, t := range tensors {
		have[t.Name] = t
	}
	sort.Strings(want)
	for _, name := range want {
		t, ok := have[name]
		if !ok {
			return fmt.Errorf("%s: tensor %q, which the index puts here, is not in it", path, name)
		}
		f.names = append(f.names, name)
		f.tensors[name] = t
	}
	return nil
}

// add enters all tensors of one file.
func (f *File) add(path string, tensors []Tensor) error {
	for _, t := range tensors {
		if f.Has(t.Name) {
			return fmt.Errorf("%s: tensor %q stands in another file of the model too", path, t.Name)
		}
		f.names = append(f.names, t.Name)
		f.tensors[t.Name] = t
	}
	return nil
}

// openSplits adds the other files of a GGUF model that was cut into several:
// NAME-00001-of-00003.gguf and on, of which the first holds the metadata.
func (f *File) openSplits(path string) error {
	if f.meta == nil || !f.meta.Has("split.count") {
		return nil
	}
	count, ok := f.meta.Uint("split.count")
	if !ok || count > 99999 {
		return fmt.Errorf("%s: split.count is %v", path, f.meta.Value("split.count"))
	}
	if count <= 1 {
		return nil
	}
	prefix, ok := strings.CutSuffix(path, fmt.Sprintf("-00001-of-%05d.gguf", count))
	if !ok {
		return fmt.Errorf("%s: a part of a model of %d files: open the one whose name ends in -00001-of-%05d.gguf", path, count, count)
	}
	for n := uint64(2); n <= count; n++ {
		part := fmt.Sprintf("%s-%05d-of-%05d.gguf", prefix, n, count)
		m, err := mapPath(part)
		if err != nil {
			return err
		}
		f.maps, f.files = append(f.maps, m), append(f.files, part)
		tensors, _, err := parseGGUF(m.data)
		if err != nil {
			return fmt.Errorf("%s: %w", part, err)
		}
		if err := f.add(part, tensors); err != nil {
			return err
		}
	}
	return nil
}

func (f *File) openIndex(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	byFile, err := shards(text)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	var files []string
	for file := range byFile {
		files = append(files, file)
	}
	sort.Strings(files)
	for _, file := range files {
		if err := f.openFile(filepath.Join(filepath.Dir(path), file), byFile[file]); err != nil {
			return fmt.Errorf("%s: shard %w", path, err)
		}
	}
	return nil
}

func mapPath(path string) (*mapping, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	st, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a regular file", path)
	}
	if int64(int(st.Size())) != st.Size() {
		return nil, fmt.Errorf("%s: %d bytes, more than this machine can address", path, st.Size())
	}
	m, err := mapFile(file, int(st.Size()))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return m, nil
}

// Path is the file or index that was opened (for a folder, what was found in it).
func (f *File) Path() string { return f.path }

// Files lists the files that are mapped, shards in the order of their names.
func (f *File) Files() []string { return slices.Clone(f.files) }

// Names lists the tensors in the order of the file (of the names, within a
// shard of several).
func (f *File) Names() []string { return slices.Clone(f.names) }

// Has tells whether the checkpoint has a tensor of that name.
func (f *File) Has(name string) bool {
	_, ok := f.tensors[name]
	return ok
}

// Tensor gives one tensor by its name in the file. The error wraps ErrNoTensor
// where there is none.
func (f *File) Tensor(name string) (Tensor, error) {
	t, ok := f.tensors[name]
	if !ok {
		return Tensor{}, fmt.Errorf("%s: tensor %q: %w", f.path, name, ErrNoTensor)
	}
	t.Shape = slices.Clone(t.Shape)
	return t, nil
}

// Metadata is the __metadata__ of a single safetensors file; nil elsewhere.
func (f *File) Metadata() map[string]string { return f.metadata }

// Meta is the metadata of a GGUF file, and nil for safetensors: which of the
// two kinds a File is can be told from it.
func (f *File) Meta() *Meta { return f.meta }

// Release gives the memory of the mapped pages back to the system, for use once
// the weights were copied elsewhere. All Data stay valid and are read from the
// file again when they are touched.
func (f *File) Release() error {
	var errs []error
	for _, m := range f.maps {
		errs = append(errs, m.release())
	}
	return errors.Join(errs...)
}

// Close unmaps the files. All Data handed out become invalid.
func (f *File) Close() error {
	var errs []error
	for _, m := range f.maps {
		errs = append(errs, m.unmap())
	}
	f.maps, f.tensors, f.names = nil, nil, nil
	return errors.Join(errs...)
}

// Hash is the SHA-256 of a file's bytes in hexadecimal.
func Hash(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("hash weights: %w", err)
	}
	defer file.Close()
	h := sha256.New()
	if _, err := io.Copy(h, file); err != nil {
		return "", fmt.Errorf("hash weights: %s: %w", path, err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// overlap looks for two spans that share a byte. It gives their indices, the
// one that begins first as a.
func overlap(spans []span) (a, b int, bad bool) {
	order := make([]int, 0, len(spans))
	for i, s := range spans {
		if s.end > s.begin {
			order = append(order, i)
		}
	}
	sort.Slice(order, func(x, y int) bool { return spans[order[x]].begin < spans[order[y]].begin })
	for i := 1; i < len(order); i++ {
		if spans[order[i]].begin < spans[order[i-1]].end {
			return order[i-1], order[i], true
		}
	}
	return 0, 0, false
}

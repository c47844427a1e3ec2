package weights

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"sort"
	"unicode/utf8"

	"github.com/evalrun/evalrun/kernels/format"
)

// Float32s makes a tensor of float32 values, for writing.
func Float32s(name string, values []float32, shape ...int) Tensor {
	data := make([]byte, 4*len(values))
	for i, v := range values {
		binary.LittleEndian.PutUint32(data[4*i:], math.Float32bits(v))
	}
	return Tensor{Name: name, Type: format.F32, Stored: "F32", Shape: shape, Data: data}
}

// WriteSafetensors writes the tensors and the metadata to path, whole or not
// at all: into a file beside it that is synced and then renamed. The order of
// tensors is the reference implementation's (widest element type first, then
// by name), so the same tensors give the same bytes as there.
func WriteSafetensors(path string, tensors []Tensor, metadata map[string]string) error {
	sorted := make([]Tensor, len(tensors))
	copy(sorted, tensors)
	for i := range sorted {
		if sorted[i].Stored == "" {
			sorted[i].Stored = sorted[i].Type.String()
		}
	}
	sort.SliceStable(sorted, func(a, b int) bool {
		x, y := safetensorsOrder[sorted[a].Stored], safetensorsOrder[sorted[b].Stored]
		return x > y || x == y && sorted[a].Name < sorted[b].Name
	})
	header, err := safetensorsHeader(sorted, metadata)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return WriteFile(path, func(w io.Writer) error {
		if _, err := w.Write(header); err != nil {
			return err
		}
		for _, t := range sorted {
			if _, err := w.Write(t.Data); err != nil {
				return err
			}
		}
		return nil
	})
}

// safetensorsHeader is the length and the JSON, padded to 8 bytes with spaces.
func safetensorsHeader(tensors []Tensor, metadata map[string]string) ([]byte, error) {
	var b bytes.Buffer
	b.Write(make([]byte, 8))
	b.WriteByte('{')
	if metadata != nil {
		text, err := plainJSON(metadata)
		if err != nil {
			return nil, fmt.Errorf("metadata: %w", err)
		}
		fmt.Fprintf(&b, `"__metadata__":%s`, text)
	}
	seen := map[string]bool{"__metadata__": true}
	at := 0
	for _, t := range tensors {
		if seen[t.Name] {
			return nil, fmt.Errorf("tensor %q stands there twice or is a reserved name", t.Name)
		}
		seen[t.Name] = true
		e, ok := safetensorsElements[t.Stored]
		if !ok {
			return nil, fmt.Errorf("tensor %q: safetensors has no element type %q", t.Name, t.Stored)
		}
		if err := checkSize(t, e); err != nil {
			return nil, err
		}
		name, err := plainJSON(t.Name)
		if err != nil {
			return nil, fmt.Errorf("tensor %q: %w", t.Name, err)
		}
		if b.Len() > 9 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `%s:{"dtype":"%s","shape":[`, name, e.name)
		for i, d := range t.Shape {
			if i > 0 {
				b.WriteByte(',')
			}
			fmt.Fprint(&b, d)
		}
		fmt.Fprintf(&b, `],"data_offsets":[%d,%d]}`, at, at+len(t.Data))
		at += len(t.Data)
	}
	b.WriteByte('}')
	for b.Len()%8 != 0 {
		b.WriteByte(' ')
	}
	header := b.Bytes()
	if len(header)-8 > maxHeader {
		return nil, fmt.Errorf("header of %d bytes, limit %d", len(header)-8, maxHeader)
	}
	binary.LittleEndian.PutUint64(header, uint64(len(header)-8))
	return header, nil
}

// plainJSON is JSON without HTML escapes, as other languages write it.
func plainJSON(v any) ([]byte, error) {
	if s, ok := v.(string); ok && !utf8.ValidString(s) {
		return nil, errors.New("not UTF-8")
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}

// WriteGGUF writes a GGUF version 3 file, whole or not at all. The tensors
// keep their order. Where meta sets general.alignment, it is kept.
func WriteGGUF(path string, tensors []Tensor, meta *Meta) error {
	var b bytes.Buffer
	le := binary.LittleEndian
	align := uint64(ggufAlignment)
	if meta == nil {
		meta = NewMeta()
	}
	if a, ok := meta.Uint("general.alignment"); ok {
		if a == 0 || a&(a-1) != 0 {
			return fmt.Errorf("write %s: general.alignment %d is not a power of two", path, a)
		}
		align = a
	}
	b.WriteString(ggufMagic)
	b.Write(le.AppendUint32(nil, 3))
	b.Write(le.AppendUint64(nil, uint64(len(tensors))))
	b.Write(le.AppendUint64(nil, uint64(len(meta.keys))))
	for _, key := range meta.keys {
		putString(&b, key)
		if err := putValue(&b, meta.values[key], true); err != nil {
			return fmt.Errorf("write %s: metadata %q: %w", path, key, err)
		}
	}
	offset := uint64(0)
	seen := map[string]bool{}
	for _, t := range tensors {
		if t.Stored == "" {
			t.Stored = t.Type.String()
		}
		if seen[t.Name] {
			return fmt.Errorf("write %s: tensor %q stands there twice", path, t.Name)
		}
		seen[t.Name] = true
		id, ok := ggmlNumbers[t.Stored]
		if !ok {
			return fmt.Errorf("write %s: tensor %q: GGUF has no element type %q", path, t.Name, t.Stored)
		}
		if err := checkSize(t, ggmlElements[id]); err != nil {
			return fmt.Errorf("write %s: %w", path, err)
		}
		if len(t.Shape) > ggufMaxDims {
			return fmt.Errorf("write %s: tensor %q: %d dimensions, want at most %d", path, t.Name, len(t.Shape), ggufMaxDims)
		}
		putString(&b, t.Name)
		b.Write(le.AppendUint32(nil, uint32(len(t.Shape))))
		for i := len(t.Shape) - 1; i >= 0; i-- {
			b.Write(le.AppendUint64(nil, uint64(t.Shape[i])))
		}
		b.Write(le.AppendUint32(nil, id))
		b.Write(le.AppendUint64(nil, offset))
		offset = roundUp(offset+uint64(len(t.Data)), align)
	}
	return WriteFile(path, func(w io.Writer) error {
		at := uint64(b.Len())
		if _, err := w.Write(b.Bytes()); err != nil {
			return err
		}
		for _, t := range tensors {
			// The values begin, and each tensor begins, on a multiple of the alignment.
			if _, err := w.Write(make([]byte, roundUp(at, align)-at)); err != nil {
				return err
			}
			if _, err := w.Write(t.Data); err != nil {
				return err
			}
			at = roundUp(at, align) + uint64(len(t.Data))
		}
		_, err := w.Write(make([]byte, roundUp(at, align)-at))
		return err
	})
}

func roundUp(n, to uint64) uint64 { return (n + to - 1) / to * to }

func putString(b *bytes.Buffer, s string) {
	b.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(s))))
	b.WriteString(s)
}

// putValue writes a metadata value, with its type before it where typed.
func putValue(b *bytes.Buffer, v any, typed bool) error {
	kind := func(t uint32) {
		if typed {
			b.Write(binary.LittleEndian.AppendUint32(nil, t))
		}
	}
	switch v := v.(type) {
	case string:
		kind(ggufString)
		putString(b, v)
		return nil
	case bool:
		kind(ggufBool)
		if v {
			b.WriteByte(1)
		} else {
			b.WriteByte(0)
		}
		return nil
	case uint8:
		kind(ggufU8)
	case int8:
		kind(ggufI8)
	case uint16:
		kind(ggufU16)
	case int16:
		kind(ggufI16)
	case uint32:
		kind(ggufU32)
	case int32:
		kind(ggufI32)
	case float32:
		kind(ggufF32)
	case uint64:
		kind(ggufU64)
	case int64:
		kind(ggufI64)
	case float64:
		kind(ggufF64)
	case []string:
		return putArray(b, kind, ggufString, v)
	case []bool:
		return putArray(b, kind, ggufBool, v)
	case []uint8:
		return putArray(b, kind, ggufU8, v)
	case []int8:
		return putArray(b, kind, ggufI8, v)
	case []uint16:
		return putArray(b, kind, ggufU16, v)
	case []int16:
		return putArray(b, kind, ggufI16, v)
	case []uint32:
		return putArray(b, kind, ggufU32, v)
	case []int32:
		return putArray(b, kind, ggufI32, v)
	case []float32:
		return putArray(b, kind, ggufF32, v)
	case []uint64:
		return putArray(b, kind, ggufU64, v)
	case []int64:
		return putArray(b, kind, ggufI64, v)
	case []float64:
		return putArray(b, kind, ggufF64, v)
	case []any:
		return putArray(b, kind, ggufArray, v)
	default:
		return fmt.Errorf("a value of type %T", v)
	}
	return binary.Write(b, binary.LittleEndian, v)
}

func putArray[T any](b *bytes.Buffer, kind func(uint32), typ uint32, list []T) error {
	kind(ggufArray)
	b.Write(binary.LittleEndian.AppendUint32(nil, typ))
	b.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(list))))
	for _, v := range list {
		if err := putValue(b, v, false); err != nil {
			return err
		}
	}
	return nil
}

func checkSize(t Tensor, e element) error {
	dims := make([]uint64, len(t.Shape))
	for i, d := range t.Shape {
		if d < 0 {
			return fmt.Errorf("tensor %q: shape %v has a negative dimension", t.Name, t.Shape)
		}
		dims[i] = uint64(d)
	}
	_, size, err := e.size(dims)
	if err != nil {
		return fmt.Errorf("tensor %q: %w", t.Name, err)
	}
	if size != len(t.Data) {
		return fmt.Errorf("tensor %q: %d bytes, want %d for %s %v", t.Name, len(t.Data), size, e.name, t.Shape)
	}
	return nil
}

// WriteFile lets write fill a temporary file beside path, syncs it and renames
// it, so that a reader sees the old file or the new one and nothing between.
func WriteFile(path string, write func(io.Writer) error) (err error) {
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("write %s: %w", path, err), ignoreClosed(tmp.Close()), os.Remove(tmp.Name()))
		}
	}()
	w := bufio.NewWriterSize(tmp, 1<<20)
	if err := write(w); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if err := tmp.Chmod(0o644); err != nil {
		return err
	}
	if err := tmp.Sync(); err != nil {
		return err
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	return Rename(tmp.Name(), path)
}

// Rename gives a file another name, and sees to it that the name is on the disk.
func Rename(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	// The name is on the disk when the folder is. Not every system can sync one.
	if dir, err := os.Open(filepath.Dir(to)); err == nil {
		_ = dir.Sync()
		_ = dir.Close()
	}
	return nil
}

// RemoveUnfinished removes what WriteFile left beside path where its process
// was killed; the last element of path may be a pattern of filepath.Match. It
// is for whoever knows that nobody else writes there.
func RemoveUnfinished(path string) error {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if ok, _ := filepath.Match("."+filepath.Base(path)+".*", e.Name()); ok {
			err = errors.Join(err, os.Remove(filepath.Join(filepath.Dir(path), e.Name())))
		}
	}
	return err
}

func ignoreClosed(err error) error {
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}

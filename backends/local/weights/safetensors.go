package weights

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"sort"
	"strings"
	"unicode/utf8"
)

// The safetensors format (github.com/huggingface/safetensors, README "Format"):
//
//	8 bytes    N, little-endian: the header's length
//	N bytes    a JSON object: name -> {dtype, shape, data_offsets}, and
//	           "__metadata__" -> {string: string}; may be padded with spaces
//	the rest   the values; data_offsets count from here, and the tensors
//	           cover it without overlap and without holes
//
// maxHeader is the limit that the reference implementation sets.
const maxHeader = 100_000_000

// tensorInfo is one entry of the header as it stands in the JSON.
type tensorInfo struct {
	DType   *string   `json:"dtype"`
	Shape   *[]uint64 `json:"shape"`
	Offsets *[]uint64 `json:"data_offsets"`
}

// parseSafetensors reads the header in data, checks every number in it against
// len(data), and returns the tensors in the order of their bytes. Their Data
// are slices of data.
func parseSafetensors(data []byte) ([]Tensor, map[string]string, error) {
	if len(data) < 8 {
		return nil, nil, fmt.Errorf("not a safetensors file: %d bytes, want at least 8", len(data))
	}
	n := binary.LittleEndian.Uint64(data)
	if n > maxHeader {
		return nil, nil, fmt.Errorf("not a safetensors file: header length %d, limit %d", n, maxHeader)
	}
	if n > uint64(len(data)-8) {
		return nil, nil, fmt.Errorf("header length %d, but the file has %d bytes after it: truncated", n, len(data)-8)
	}
	header, values := data[8:8+n], data[8+n:]
	if len(header) == 0 || header[0] != '{' {
		return nil, nil, errors.New("not a safetensors file: the header does not begin with {")
	}
	if !utf8.Valid(header) {
		return nil, nil, errors.New("header: not UTF-8")
	}

	var tensors []Tensor
	var ends []span
	var metadata map[string]string
	seen := map[string]bool{}
	dec := json.NewDecoder(bytes.NewReader(header))
	if _, err := dec.Token(); err != nil { // the opening brace
		return nil, nil, fmt.Errorf("header: %w", err)
	}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil, nil, fmt.Errorf("header: %w", err)
		}
		name := key.(string) // the decoder allows nothing else in a key's place
		if seen[name] {
			return nil, nil, fmt.Errorf("header: tensor %q stands there twice", name)
		}
		seen[name] = true
		if name == "__metadata__" {
			if err := dec.Decode(&metadata); err != nil {
				return nil, nil, fmt.Errorf("header: __metadata__: %w", err)
			}
			continue
		}
		var info tensorInfo
		if err := dec.Decode(&info); err != nil {
			return nil, nil, fmt.Errorf("header: tensor %q: %w", name, err)
		}
		t, s, err := info.tensor(name, values)
		if err != nil {
			return nil, nil, fmt.Errorf("tensor %q: %w", name, err)
		}
		tensors, ends = append(tensors, t), append(ends, s)
	}
	if _, err := dec.Token(); err != nil { // the closing brace
		return nil, nil, fmt.Errorf("header: %w", err)
	}
	if rest := strings.TrimLeft(string(header[dec.InputOffset():]), " \t\r\n\x00"); rest != "" {
		return nil, nil, fmt.Errorf("header: %d bytes after its closing brace", len(rest))
	}

	order := make([]int, len(tensors))
	for i := range order {
		order[i] = i
	}
	sort.SliceStable(order, func(a, b int) bool {
		x, y := ends[order[a]], ends[order[b]]
		return x.begin < y.begin || x.begin == y.begin && x.end < y.end
	})
	sorted := make([]Tensor, 0, len(tensors))
	var at uint64
	for _, i := range order {
		switch s := ends[i]; {
		case s.begin < at:
			return nil, nil, fmt.Errorf("tensor %q: bytes %d to %d overlap the tensor before it, which ends at %d", tensors[i].Name, s.begin, s.end, at)
		case s.begin > at:
			return nil, nil, fmt.Errorf("tensor %q: begins at byte %d, want %d: a hole that no tensor covers", tensors[i].Name, s.begin, at)
		default:
			at = s.end
		}
		sorted = append(sorted, tensors[i])
	}
	if at != uint64(len(values)) {
		return nil, nil, fmt.Errorf("tensors end at byte %d of the values, but the file has %d", at, len(values))
	}
	return sorted, metadata, nil
}

// span is a tensor's place in the values, begin inclusive, end exclusive.
type span struct{ begin, end uint64 }

// tensor checks one header entry against the values that the file really has.
func (info *tensorInfo) tensor(name string, values []byte) (Tensor, span, error) {
	switch {
	case info.DType == nil:
		return Tensor{}, span{}, errors.New("no dtype")
	case info.Shape == nil:
		return Tensor{}, span{}, errors.New("no shape")
	case info.Offsets == nil || len(*info.Offsets) != 2:
		return Tensor{}, span{}, errors.New("data_offsets: want two numbers")
	}
	e, ok := safetensorsElements[*info.DType]
	if !ok {
		return Tensor{}, span{}, fmt.Errorf("dtype %q is not one of %s", *info.DType, strings.Join(safetensorsNames(), " "))
	}
	shape, size, err := e.size(*info.Shape)
	if err != nil {
		return Tensor{}, span{}, err
	}
	s := span{(*info.Offsets)[0], (*info.Offsets)[1]}
	switch {
	case s.begin > s.end:
		return Tensor{}, span{}, fmt.Errorf("data_offsets %d to %d run backwards", s.begin, s.end)
	case s.end > uint64(len(values)):
		return Tensor{}, span{}, fmt.Errorf("data_offsets end at byte %d, but the file has %d bytes of values: truncated", s.end, len(values))
	case s.end-s.begin != uint64(size):
		return Tensor{}, span{}, fmt.Errorf("data_offsets hold %d bytes, want %d for %s %v", s.end-s.begin, size, *info.DType, shape)
	}
	return Tensor{Name: name, Type: e.typ(), Stored: e.name, Shape: shape, Data: values[s.begin:s.end:s.end]}, s, nil
}

// index is model.safetensors.index.json.
type index struct {
	Metadata  map[string]any    `json:"metadata"`
	WeightMap map[string]string `json:"weight_map"`
}

// shards reads an index file's text: the tensors' names by the name of the file
// that holds them. A shard lies beside its index; a name that leads elsewhere
// is refused.
func shards(text []byte) (map[string][]string, error) {
	if !utf8.Valid(text) {
		return nil, errors.New("not UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	var ix index
	if err := dec.Decode(&ix); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errors.New("more text after the object")
	}
	if len(ix.WeightMap) == 0 {
		return nil, errors.New("no weight_map")
	}
	byFile := map[string][]string{}
	for name, file := range ix.WeightMap {
		if file == "" || file != filepath.Base(file) || !filepath.IsLocal(file) || strings.ContainsAny(file, `/\`) {
			return nil, fmt.Errorf("tensor %q: shard %q is not a file name beside the index", name, file)
		}
		byFile[file] = append(byFile[file], name)
	}
	return byFile, nil
}

// size multiplies a shape out. The product is checked, so that a header cannot
// ask for more bytes than an int can count.
func (e element) size(dims []uint64) (shape []int, bytes int, err error) {
	count := uint64(1)
	zero := false
	shape = make([]int, len(dims))
	for i, d := range dims {
		if d > math.MaxInt {
			return nil, 0, fmt.Errorf("shape %v: dimension %d is too large", dims, d)
		}
		shape[i] = int(d)
		if d == 0 {
			zero = true
		} else if count > math.MaxInt/d {
			return nil, 0, fmt.Errorf("shape %v: more values than can be counted", dims)
		} else {
			count *= d
		}
	}
	if zero {
		return shape, 0, nil
	}
	if last := dims; len(last) > 0 && last[len(last)-1]%uint64(e.block) != 0 || len(last) == 0 && e.block != 1 {
		return nil, 0, fmt.Errorf("shape %v: rows are not whole blocks of %d values, which %s needs", dims, e.block, e.name)
	}
	blocks := count / uint64(e.block)
	if blocks > math.MaxInt/uint64(e.bytes) {
		return nil, 0, fmt.Errorf("shape %v: more bytes than can be counted", dims)
	}
	return shape, int(blocks) * e.bytes, nil
}

package tasks

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// dataset writes where rows come from.
func (t *lmTask) dataset() {
	d := &yaml.Node{Kind: yaml.MappingNode}
	path, ok := t.text("dataset_path")
	if !ok {
		if t.c.keys["custom_dataset"].node == nil {
			t.complain("dataset_path", "add dataset_path:", "the task names no dataset_path")
		}
		return
	}
	local := slices.Contains([]string{"json", "csv", "parquet"}, path)
	var files *yaml.Node
	if kwargs := t.node("dataset_kwargs"); kwargs != nil {
		for i := 0; i+1 < len(kwargs.Content); i += 2 {
			key, value := kwargs.Content[i], kwargs.Content[i+1]
			switch key.Value {
			case "data_files":
				files = value
			case "trust_remote_code", "download_mode":
			case "revision":
				t.add(d, "revision", textNode(value.Value))
			default:
				t.complainAt("dataset_kwargs", key, "known: data_files, revision", "dataset_kwargs.%s has no meaning here", key.Value)
			}
		}
	}
	switch {
	case files != nil && !local:
		t.complainAt("dataset_kwargs", files, "data_files belong to the dataset_path json, csv or parquet", "data_files of the data set %s of the hub", path)
	case files != nil:
		t.add(d, "files", t.files(files))
	case local:
		t.complain("dataset_path", "add dataset_kwargs: {data_files: …}", "dataset_path %s names no data_files", path)
	default:
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			t.add(d, "source", textNode(t.relative(path)))
		} else {
			t.add(d, "source", textNode("hf://"+path))
		}
		if name, ok := t.text("dataset_name"); ok {
			t.add(d, "config", textNode(name))
		}
	}
	split := ""
	for _, key := range []string{"test_split", "validation_split"} {
		if s, ok := t.text(key); ok && split == "" {
			split = s
		}
	}
	if split == "" {
		t.complain("test_split", "add test_split: or validation_split:", "the task names no split to evaluate")
	} else {
		t.add(d, "split", textNode(split))
	}
	if train := t.shotSplit(); train != "" {
		t.add(d, "train_split", textNode(train))
	}
	t.add(d, "limit", numberNode(1_000_000_000)) // all rows, as there
	t.add(t.top, "dataset", d)
}

// shotSplit is where worked examples come from.
func (t *lmTask) shotSplit() string {
	for _, key := range []string{"fewshot_split", "training_split", "validation_split", "test_split"} {
		if s, ok := t.text(key); ok {
			return s
		}
	}
	return ""
}

// files writes data_files by split. Where there is one list, it is the split
// train, as in Hugging Face's datasets.
func (t *lmTask) files(n *yaml.Node) *yaml.Node {
	out := &yaml.Node{Kind: yaml.MappingNode}
	list := func(n *yaml.Node) *yaml.Node {
		seq := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
		items := []*yaml.Node{n}
		if n.Kind == yaml.SequenceNode {
			items = n.Content
		}
		for _, item := range items {
			seq.Content = append(seq.Content, textNode(t.dataFile(item)))
		}
		return seq
	}
	if n.Kind != yaml.MappingNode {
		t.add(out, "train", list(n))
		return out
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		t.add(out, n.Content[i].Value, list(n.Content[i+1]))
	}
	return out
}

// dataFile finds a file where lm-evaluation-harness does, in the working folder,
// and else beside the task's file or above it.
func (t *lmTask) dataFile(n *yaml.Node) string {
	if strings.Contains(n.Value, "://") {
		t.complainAt("dataset_kwargs", n, "fetch the file and name its place", "data_files name the address %s", n.Value)
		return n.Value
	}
	if filepath.IsAbs(n.Value) {
		return n.Value
	}
	tried := []string{"."}
	for dir, level := filepath.Dir(t.c.path), 0; level < 4; level++ {
		tried = append(tried, dir)
		dir = filepath.Join(dir, "..")
	}
	for _, dir := range tried {
		at := filepath.Join(dir, n.Value)
		if found, err := filepath.Glob(at); err == nil && len(found) > 0 {
			return t.relative(at)
		}
	}
	t.note("there is no file %s in the working folder, beside the task's file or above it", n.Value)
	return t.relative(n.Value)
}

// relative writes a path as one from the folder of the task files.
func (t *lmTask) relative(path string) string {
	out, err1 := filepath.Abs(t.o.Out)
	abs, err2 := filepath.Abs(path)
	if err1 != nil || err2 != nil {
		return path
	}
	if rel, err := filepath.Rel(out, abs); err == nil {
		return filepath.ToSlash(rel)
	}
	return abs
}

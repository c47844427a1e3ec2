package hub

import (
	"context"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/evalrun/evalrun/core"
)

// ConvertRevision is the branch on which the hub keeps every data set converted
// to Parquet: <config>/<split>/0000.parquet and so on.
const ConvertRevision = "refs/convert/parquet"

// Split says which rows of a data set are wanted.
type Split struct {
	ID string // owner/name, or hf://owner/name
	// Config is one of the data set's configurations; empty means the only one, or
	// the one called default. Several joined by + are read one after the other.
	Config string
	Name   string // train, validation, test, …
	// Revision is a branch, tag or commit; empty means main.
	Revision string
}

// Files are the local files of a split in the order of its rows.
type Files struct {
	Commit string // of the revision that holds the files
	// Revision is where the files lie: the one asked for, or ConvertRevision.
	Revision string
	Names    []string // within the repository
	Paths    []string // on this machine
}

// DataFiles finds the files of a split and fetches them. It looks for Parquet
// files that the repository itself keeps, then, unless a revision is asked for,
// for the hub's conversion, then for the repository's files of other formats.
func (c *Client) DataFiles(ctx context.Context, s Split) (Files, error) {
	r, err := ParseRepo(Dataset, s.ID)
	if err != nil {
		return Files{}, err
	}
	if s.Name == "" {
		return Files{}, &core.UserError{Where: "hf://" + r.ID, Message: "no split is named", Hint: "name one under dataset.split"}
	}
	f, err := c.dataFiles(ctx, r, s)
	if err != nil {
		return Files{}, c.explain(r, s.Revision, err, "or use --data embedded, or --data DIR with rows of your own")
	}
	return f, nil
}

func (c *Client) dataFiles(ctx context.Context, r Repo, s Split) (Files, error) {
	type place struct {
		revision string
		parquet  bool // whether only Parquet files count
	}
	places := []place{{s.Revision, false}}
	switch s.Revision {
	case "", "main":
		places = []place{{"main", true}, {ConvertRevision, true}, {"main", false}}
	case ConvertRevision:
		places = []place{{ConvertRevision, true}}
	}
	var problem error // the most telling one
	for _, p := range places {
		commit, err := c.Resolve(ctx, r, p.revision)
		if err != nil {
			if p.revision == ConvertRevision && isNotFound(err) {
				continue // not every data set is converted
			}
			if c.Offline && errors.Is(err, errNotCached) {
				problem = telling(problem, err)
				continue
			}
			return Files{}, err
		}
		tree, complete, err := c.Tree(ctx, r, commit)
		if err != nil {
			return Files{}, err
		}
		var names []string
		for _, config := range strings.Split(s.Config, "+") {
			var some []string
			if some, err = pick(tree.Paths(), config, s.Name, p.parquet); err != nil {
				break
			}
			names = append(names, some...)
		}
		if err != nil {
			if !complete {
				err = fmt.Errorf("%w; %w", err, errNotCached)
			}
			problem = telling(problem, err)
			continue
		}
		paths, err := c.Fetch(ctx, r, commit, tree, names)
		if err != nil {
			return Files{}, err
		}
		if err := c.remember(r, p.revision, commit); err != nil {
			return Files{}, err
		}
		return Files{Commit: commit, Revision: p.revision, Names: names, Paths: paths}, nil
	}
	return Files{}, problem
}

// telling keeps the problem that helps more: one that is about the split itself,
// or lists what is there.
func telling(old, new error) error {
	rank := func(err error) int {
		var a *absent
		switch {
		case err == nil:
			return 0
		case errors.Is(err, errRefused):
			return 4
		case errors.As(err, &a) && len(a.there) > 0:
			return 3
		case errors.Is(err, errNotCached):
			return 2
		}
		return 1
	}
	if rank(new) > rank(old) {
		return new
	}
	return old
}

// absent says that a repository has no files for what is asked.
type absent struct {
	what  string   // "split" or "configuration"
	name  string   // what was asked for
	there []string // what there is
}

func (a *absent) Error() string {
	if len(a.there) == 0 {
		return "the repository has no data files that can be read"
	}
	if a.name == "" {
		return "the data set has several configurations, and none is named"
	}
	return fmt.Sprintf("the data set has no %s %q", a.what, a.name)
}

// formats in the order of preference: Parquet holds the types of the columns.
var formats = []string{".parquet", ".jsonl", ".ndjson", ".json", ".csv", ".tsv"}

// dataFile is what the path of a data file says about it.
type dataFile struct {
	path, config, split string
	format              int // index into formats
	shard, shards       int // shard of shards; shards 0 where the name does not say
}

var (
	shardForm  = regexp.MustCompile(`^(.+)-(\d{5})-of-(\d{5})(?:-[0-9a-f]{16})?$`)
	numberForm = regexp.MustCompile(`^(?:\d+|part-?\d+)$`)
)

// classify reads the layouts in use on the hub, with or without a leading data/:
// <config>/<split>-NNNNN-of-NNNNN.parquet, <config>/<split>/NNNN.parquet,
// <config>/<split>.jsonl, and the same without <config>/.
func classify(name string) (dataFile, bool) {
	f := dataFile{path: name, format: -1}
	stem := path.Base(name)
	for _, packed := range []string{".gz", ".zst", ".bz2"} {
		stem = strings.TrimSuffix(stem, packed)
	}
	for i, ext := range formats {
		if s, ok := strings.CutSuffix(stem, ext); ok {
			f.format, stem = i, s
		}
	}
	if f.format < 0 || stem == "" {
		return f, false
	}
	var dirs []string
	if dir := path.Dir(name); dir != "." {
		dirs = strings.Split(dir, "/")
	}
	if len(dirs) > 0 && dirs[0] == "data" {
		dirs = dirs[1:]
	}
	f.split = stem
	if m := shardForm.FindStringSubmatch(stem); m != nil {
		f.split = m[1]
		f.shard, _ = strconv.Atoi(m[2])
		f.shards, _ = strconv.Atoi(m[3])
	} else if numberForm.MatchString(stem) {
		if len(dirs) == 0 {
			return f, false
		}
		f.split, dirs = dirs[len(dirs)-1], dirs[:len(dirs)-1]
	}
	switch len(dirs) {
	case 0:
		f.config = "default"
	case 1:
		f.config = dirs[0]
	default:
		return f, false
	}
	return f, true
}

// synonyms of the names of splits, as the datasets library knows them.
var synonyms = [][]string{
	{"train", "training"},
	{"validation", "valid", "val", "dev"},
	{"test", "testing", "eval"},
}

func sameSplit(wanted, have string) bool {
	for _, s := range synonyms {
		if slices.Contains(s, wanted) && slices.Contains(s, have) {
			return true
		}
	}
	return false
}

// pick chooses the files of one split among the files of a commit, in the order of
// their shards. It fails when shards are missing: rows would be lost in silence.
func pick(paths []string, config, split string, parquetOnly bool) ([]string, error) {
	var files []dataFile
	var configs []string
	for _, p := range paths {
		f, ok := classify(p)
		if !ok || parquetOnly && f.format != 0 {
			continue
		}
		files = append(files, f)
		if !slices.Contains(configs, f.config) {
			configs = append(configs, f.config)
		}
	}
	if len(files) == 0 {
		return nil, &absent{what: "split", name: split}
	}
	slices.Sort(configs)
	switch {
	case config != "" && slices.Contains(configs, config):
	case slices.Contains(configs, "default") && (config == "" || len(configs) == 1):
		// A repository without folders has one configuration, whatever its name.
		config = "default"
	case config == "" && len(configs) == 1:
		config = configs[0]
	default:
		return nil, &absent{what: "configuration", name: config, there: configs}
	}
	var splits []string
	best := -1 // the preferred format that has the split
	for _, exact := range []bool{true, false} {
		for _, f := range files {
			if f.config != config {
				continue
			}
			if !slices.Contains(splits, f.split) {
				splits = append(splits, f.split)
			}
			if (exact && f.split == split || !exact && sameSplit(split, f.split)) && (best < 0 || f.format < best) {
				best = f.format
			}
		}
		if best < 0 {
			continue
		}
		var chosen []dataFile
		for _, f := range files {
			if f.config == config && f.format == best && (exact && f.split == split || !exact && sameSplit(split, f.split)) {
				chosen = append(chosen, f)
			}
		}
		return ordered(chosen)
	}
	if slices.Contains(splits, "partial-"+split) {
		return nil, fmt.Errorf("%w: the hub has converted only the beginning of the split %q, which is too large", errRefused, split)
	}
	slices.Sort(splits)
	return nil, &absent{what: "split", name: split, there: splits}
}

// ordered sorts shards and makes sure that all are there.
func ordered(files []dataFile) ([]string, error) {
	slices.SortFunc(files, func(a, b dataFile) int { return natural(a.path, b.path) })
	out := make([]string, len(files))
	for i, f := range files {
		out[i] = f.path
		if f.split != files[0].split {
			return nil, fmt.Errorf("%w: both %q and %q could be meant", errRefused, files[0].path, f.path)
		}
		if f.shards != files[0].shards || f.shards > 0 && (f.shard != i || f.shards != len(files)) {
			return nil, fmt.Errorf("%w: the shards of the split %q are not complete: %d files, %q among them", errRefused, f.split, len(files), f.path)
		}
	}
	return out, nil
}

// natural compares names with runs of digits by their number: 10 follows 9.
func natural(a, b string) int {
	digits := func(s string) int {
		n := 0
		for n < len(s) && s[n] >= '0' && s[n] <= '9' {
			n++
		}
		return n
	}
	for a != "" && b != "" {
		n, m := digits(a), digits(b)
		if n > 0 && m > 0 {
			x, y := strings.TrimLeft(a[:n], "0"), strings.TrimLeft(b[:m], "0")
			if len(x) != len(y) {
				return len(x) - len(y)
			}
			if d := strings.Compare(x, y); d != 0 {
				return d
			}
			a, b = a[n:], b[m:]
			continue
		}
		if a[0] != b[0] {
			return int(a[0]) - int(b[0])
		}
		a, b = a[1:], b[1:]
	}
	return len(a) - len(b)
}

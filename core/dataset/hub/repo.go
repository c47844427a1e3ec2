package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/evalrun/evalrun/core"
)

// Type of a repository.
type Type string

// The types.
const (
	Dataset Type = "dataset"
	Model   Type = "model"
)

// Repo names a repository.
type Repo struct {
	Type Type
	ID   string // owner/name, or name alone
}

var (
	idForm     = regexp.MustCompile(`^[A-Za-z0-9][\w.\-]*(/[A-Za-z0-9_][\w.\-]*)?$`)
	commitForm = regexp.MustCompile(`^[0-9a-f]{40}$`)
	hashForm   = regexp.MustCompile(`^[0-9a-f]{40}$|^[0-9a-f]{64}$`)
)

// ParseRepo checks an ID, which may begin with hf://.
func ParseRepo(t Type, id string) (Repo, error) {
	id = strings.TrimPrefix(id, "hf://")
	if !idForm.MatchString(id) || strings.Contains(id, "..") || strings.Contains(id, "--") || len(id) > 200 {
		return Repo{}, &core.UserError{Where: id, Message: "not the name of a " + string(t) + " on the hub", Hint: "write it owner/name"}
	}
	return Repo{t, id}, nil
}

// IsID tells whether s can be the name of a repository with its owner.
func IsID(s string) bool {
	_, err := ParseRepo(Model, s)
	return err == nil && strings.Contains(s, "/")
}

// folder is the repository's folder in the cache.
func (c *Client) folder(r Repo) string {
	return filepath.Join(c.Cache, r.folderName())
}

func (r Repo) folderName() string {
	return string(r.Type) + "s--" + strings.ReplaceAll(r.ID, "/", "--")
}

func (c *Client) api(r Repo) string {
	return c.Endpoint + "/api/" + string(r.Type) + "s/" + r.ID
}

// file is the address of a file's content.
func (c *Client) file(r Repo, commit, name string) string {
	base := c.Endpoint + "/"
	if r.Type != Model {
		base += string(r.Type) + "s/"
	}
	parts := strings.Split(name, "/")
	for i := range parts {
		parts[i] = url.PathEscape(parts[i])
	}
	return base + r.ID + "/resolve/" + commit + "/" + strings.Join(parts, "/")
}

// File is one file of a commit, as the cache's tree lists have it.
type File struct {
	Size int64 `json:"size"`
	// BlobID is git's hash of the file, or of its pointer when it is a large one.
	BlobID    string `json:"blob_id"`
	LFSSHA256 string `json:"lfs_sha256,omitempty"`
	LFSSize   int64  `json:"lfs_size,omitempty"`
	XetHash   string `json:"xet_hash,omitempty"`
}

// Hash names the content in blobs.
func (f File) Hash() string {
	if f.LFSSHA256 != "" {
		return f.LFSSHA256
	}
	return f.BlobID
}

func (f File) size() int64 {
	if f.LFSSHA256 != "" {
		return f.LFSSize
	}
	return f.Size
}

// Tree is the list of the files of a commit by path.
type Tree map[string]File

// Paths lists the files in order.
func (t Tree) Paths() []string {
	out := make([]string, 0, len(t))
	for p := range t {
		out = append(out, p)
	}
	slices.Sort(out)
	return out
}

// errNotCached says that the cache alone cannot answer.
var errNotCached = errors.New("not in the cache")

func checkRevision(revision string) error {
	if revision == "" || len(revision) > 200 || !filepath.IsLocal(filepath.FromSlash(revision)) ||
		path.Clean(revision) != revision || strings.ContainsFunc(revision, func(r rune) bool { return r < 0x21 || r == '\\' || r == ':' || r == 0x7f }) {
		return &core.UserError{Where: revision, Message: "not a revision", Hint: "a revision is a branch, a tag or a commit"}
	}
	return nil
}

// Resolve gives the commit that a revision stands for; empty means main. When the
// hub cannot be reached, the commit that it stood for last is given.
func (c *Client) Resolve(ctx context.Context, r Repo, revision string) (string, error) {
	if revision == "" {
		revision = "main"
	}
	if err := checkRevision(revision); err != nil {
		return "", err
	}
	if commitForm.MatchString(revision) {
		return revision, nil
	}
	cached := func() string {
		text, err := os.ReadFile(c.ref(r, revision))
		if commit := strings.TrimSpace(string(text)); err == nil && commitForm.MatchString(commit) {
			return commit
		}
		return ""
	}
	if c.Offline {
		if commit := cached(); commit != "" {
			return commit, nil
		}
		return "", fmt.Errorf("revision %q of %s: %w", revision, r.ID, errNotCached)
	}
	var info revisionInfo
	if _, err := c.ask(ctx, c.api(r)+"/revision/"+url.PathEscape(revision), &info); err != nil {
		if commit := cached(); commit != "" && unreachable(err) && ctx.Err() == nil {
			c.note(r, fmt.Sprintf("the hub cannot be reached: the cached state of %s is used", revision))
			return commit, nil
		}
		return "", fmt.Errorf("revision %q of %s: %w", revision, r.ID, err)
	}
	if !commitForm.MatchString(info.SHA) {
		return "", fmt.Errorf("revision %q of %s: %w: the hub named no commit", revision, r.ID, errRefused)
	}
	return info.SHA, nil
}

func (c *Client) ref(r Repo, revision string) string {
	return filepath.Join(c.folder(r), "refs", filepath.FromSlash(revision))
}

// remember notes the commit that a revision stands for, once files of it are in
// the cache: a note without them is a fault to huggingface_hub.
func (c *Client) remember(r Repo, revision, commit string) error {
	if revision == "" {
		revision = "main"
	}
	if c.Offline || commitForm.MatchString(revision) {
		return nil
	}
	if old, err := os.ReadFile(c.ref(r, revision)); err == nil && string(old) == commit {
		return nil
	}
	if err := writeFile(c.ref(r, revision), []byte(commit)); err != nil {
		return cacheError(err)
	}
	return nil
}

type revisionInfo struct {
	SHA string `json:"sha"`
}

func (c *Client) note(r Repo, sentence string) {
	if c.OnProgress != nil {
		c.OnProgress(Progress{Repo: r.ID, Note: sentence})
	}
}

// treeEntry is an element of the answer to /api/…/tree/<commit>?recursive=true.
type treeEntry struct {
	Type string `json:"type"`
	OID  string `json:"oid"`
	Size int64  `json:"size"`
	Path string `json:"path"`
	LFS  *struct {
		OID  string `json:"oid"`
		Size int64  `json:"size"`
	} `json:"lfs"`
	XetHash string `json:"xetHash"`
}

const maxFiles = 1 << 20

// add checks the entries and takes the files among them over. Paths come from the
// server and become paths here: none may lead out of the snapshot.
func (t Tree) add(entries []treeEntry) error {
	for _, e := range entries {
		if e.Type != "file" {
			continue
		}
		f := File{Size: e.Size, BlobID: e.OID, XetHash: e.XetHash}
		if e.LFS != nil {
			f.LFSSHA256, f.LFSSize = strings.TrimPrefix(e.LFS.OID, "sha256:"), e.LFS.Size
		}
		if err := f.check(e.Path); err != nil {
			return err
		}
		if t[e.Path] = f; len(t) > maxFiles {
			return fmt.Errorf("%w: the repository has more than %d files", errRefused, maxFiles)
		}
	}
	return nil
}

func (f File) check(name string) error {
	if !hashForm.MatchString(f.Hash()) || f.size() < 0 || f.LFSSHA256 != "" && len(f.LFSSHA256) != 64 {
		return fmt.Errorf("%w: the hub's entry for the file %q is malformed", errRefused, name)
	}
	if !filepath.IsLocal(filepath.FromSlash(name)) || path.Clean(name) != name || strings.ContainsAny(name, "\\\x00") {
		return fmt.Errorf("%w: the hub lists the file %q, which is no path within a folder", errRefused, name)
	}
	return nil
}

// treeFile is the form of trees/<commit>.json.
type treeFile struct {
	FormatVersion int  `json:"format_version"`
	Files         Tree `json:"files"`
}

// parseTree reads trees/<commit>.json; it gives nil for what it does not know.
func parseTree(text []byte) Tree {
	var t treeFile
	if json.Unmarshal(text, &t) != nil || t.FormatVersion != 1 {
		return nil
	}
	for name, f := range t.Files {
		if f.check(name) != nil {
			return nil
		}
	}
	return t.Files
}

// Tree lists the files of a commit. A commit never changes, so a list in the cache
// is as good as the hub's. Offline and without a list, the files of the snapshot
// are listed, and complete is false: there may be more.
func (c *Client) Tree(ctx context.Context, r Repo, commit string) (tree Tree, complete bool, err error) {
	stored := filepath.Join(c.folder(r), "trees", commit+".json")
	if text, err := os.ReadFile(stored); err == nil {
		if t := parseTree(text); t != nil {
			return t, true, nil
		}
	}
	if c.Offline {
		t, err := c.snapshotTree(r, commit)
		return t, false, err
	}
	tree = make(Tree)
	for next := c.api(r) + "/tree/" + commit + "?recursive=true"; next != ""; {
		var page []treeEntry
		if next, err = c.ask(ctx, next, &page); err == nil {
			err = tree.add(page)
		}
		if err != nil {
			if t, e := c.snapshotTree(r, commit); e == nil && unreachable(err) && ctx.Err() == nil {
				c.note(r, "the hub cannot be reached: the files in the cache are used")
				return t, false, nil
			}
			return nil, false, fmt.Errorf("listing the files of %s: %w", r.ID, err)
		}
	}
	text, err := json.MarshalIndent(treeFile{1, tree}, "", " ")
	if err != nil {
		return nil, false, err
	}
	if err := writeFile(stored, text); err != nil {
		return nil, false, cacheError(err)
	}
	return tree, true, nil
}

// snapshotTree lists what an older huggingface_hub, which kept no lists, has left.
func (c *Client) snapshotTree(r Repo, commit string) (Tree, error) {
	root := filepath.Join(c.folder(r), "snapshots", commit)
	tree := make(Tree)
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := os.Stat(p)
		if err != nil {
			return nil // a link whose blob is gone
		}
		name, err := filepath.Rel(root, p)
		if err == nil {
			tree[filepath.ToSlash(name)] = File{Size: info.Size()}
		}
		return err
	})
	if err != nil || len(tree) == 0 {
		return nil, fmt.Errorf("commit %.12s of %s: %w", commit, r.ID, errNotCached)
	}
	return tree, nil
}

func cacheError(err error) error {
	return &core.UserError{Message: "writing into the cache of the hub", Hint: "set HF_HOME to a folder with room that you may write to", Err: err}
}

// writeFile writes a small file whole or not at all.
func writeFile(name string, text []byte) error {
	dir := filepath.Dir(name)
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	temp, err := os.CreateTemp(dir, "."+filepath.Base(name)+".*.tmp")
	if err != nil {
		return err
	}
	_, err = temp.Write(text)
	if e := temp.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Chmod(temp.Name(), 0o644)
	}
	if err == nil {
		err = os.Rename(temp.Name(), name)
	}
	if err != nil {
		os.Remove(temp.Name())
	}
	return err
}

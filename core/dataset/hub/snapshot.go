package hub

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/evalrun/evalrun/core"
)

// ModelFiles are the patterns of what a model's folder must hold to be run:
// weights, configuration, tokenizer. Weights go by their usual names only: some
// publishers keep a second copy of all of them as consolidated*.safetensors.
var ModelFiles = []string{"model*.safetensors", "model*.safetensors.index.json", "adapter_model.safetensors",
	"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "*.model", "*.model.v3",
	"vocab.json", "merges.txt", "chat_template.jinja", "adapter_config.json"}

// Snapshot fetches the files of a repository whose path matches one of the
// patterns, or all when there are none, and gives the folder that holds them. A
// pattern without a slash is for the top folder's files, and otherwise as in
// path.Match for whole paths; a pattern that ends in /** stands for all below a
// folder. Offline, or when the hub cannot be reached, the cached folder is given
// if it is complete.
func (c *Client) Snapshot(ctx context.Context, t Type, id, revision string, patterns []string) (dir string, err error) {
	r, err := ParseRepo(t, id)
	if err != nil {
		return "", err
	}
	for _, p := range patterns {
		if _, err := path.Match(p, ""); err != nil {
			return "", &core.UserError{Where: p, Message: "the pattern is not well formed", Hint: "use *, ? and [a-z]", Err: err}
		}
	}
	dir, err = c.snapshot(ctx, r, revision, patterns)
	if err != nil {
		hint := "or name a folder that holds the model: --model DIR"
		if t == Dataset {
			hint = "or use --data embedded, or --data DIR with rows of your own"
		}
		return "", c.explain(r, revision, err, hint)
	}
	return dir, nil
}

func (c *Client) snapshot(ctx context.Context, r Repo, revision string, patterns []string) (string, error) {
	commit, err := c.Resolve(ctx, r, revision)
	if err != nil {
		return "", err
	}
	tree, complete, err := c.Tree(ctx, r, commit)
	if err != nil {
		return "", err
	}
	var names []string
	for _, name := range tree.Paths() {
		if len(patterns) == 0 || slices.ContainsFunc(patterns, func(p string) bool { return matches(p, name) }) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		if !complete {
			return "", fmt.Errorf("the files of %s: %w", r.ID, errNotCached)
		}
		return "", fmt.Errorf("%s: %w: no file matches %s", r.ID, errRefused, strings.Join(patterns, ", "))
	}
	if _, err := c.Fetch(ctx, r, commit, tree, names); err != nil {
		return "", err
	}
	if err := c.remember(r, revision, commit); err != nil {
		return "", err
	}
	return filepath.Join(c.folder(r), "snapshots", commit), nil
}

func matches(pattern, name string) bool {
	if folder, ok := strings.CutSuffix(pattern, "/**"); ok {
		return strings.HasPrefix(name, folder+"/")
	}
	ok, err := path.Match(pattern, name)
	return err == nil && ok
}

func isNotFound(err error) bool {
	var status *statusError
	return errors.As(err, &status) && status.status == http.StatusNotFound
}

// explain makes the two lines of an error: what happened and where; what to do,
// of which instead is the last resort.
func (c *Client) explain(r Repo, revision string, err error, instead string) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	var user *core.UserError
	if errors.As(err, &user) {
		return err
	}
	out := &core.UserError{Where: "hf://" + r.ID, Message: err.Error(), Err: nil}
	var status *statusError
	var gone *absent
	switch {
	case c.Offline:
		out.Hint = "the network is switched off by HF_HUB_OFFLINE; unset it to fetch the files once, " + instead
	case errors.As(err, &gone) && len(gone.there) > 0:
		out.Hint = "there are: " + strings.Join(gone.there[:min(len(gone.there), 20)], ", ")
	case errors.As(err, &gone):
		out.Hint = "name another revision, " + instead
	case errors.As(err, &status) && (status.status == 401 || status.status == 403):
		out.Hint = "check the name; a private or gated repository wants a token in HF_TOKEN that was given access, " + instead
	case isNotFound(err) && revision != "" && revision != "main":
		out.Hint = "check the name and the revision, " + instead
	case isNotFound(err):
		out.Hint = "check the name, " + instead
	case errors.Is(err, errRefused):
		out.Hint = "try another revision, " + instead
	default:
		out.Hint = "check the network and HF_ENDPOINT, " + instead
	}
	return out
}

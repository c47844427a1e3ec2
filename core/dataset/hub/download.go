package hub

import (
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Fetch makes sure that the files are in the snapshot of the commit, and gives
// their paths there, in the order asked for. Offline, a missing file is an error.
func (c *Client) Fetch(ctx context.Context, r Repo, commit string, tree Tree, names []string) ([]string, error) {
	var out []string
	for _, name := range names {
		f, ok := tree[name]
		if !ok {
			return nil, fmt.Errorf("file %q of %s: %w: there is no such file", name, r.ID, errRefused)
		}
		local := filepath.Join(c.folder(r), "snapshots", commit, filepath.FromSlash(name))
		if info, err := os.Stat(local); err != nil || info.Size() != f.size() {
			if c.Offline || f.Hash() == "" {
				return nil, fmt.Errorf("file %q of %s: %w", name, r.ID, errNotCached)
			}
			if err := c.fetch(ctx, r, commit, name, f, local); err != nil {
				return nil, fmt.Errorf("file %q of %s: %w", name, r.ID, err)
			}
		}
		out = append(out, local)
	}
	return out, nil
}

// fetch brings one file into blobs, unless it is there, and links it.
func (c *Client) fetch(ctx context.Context, r Repo, commit, name string, f File, local string) error {
	blob := filepath.Join(c.folder(r), "blobs", f.Hash())
	if err := os.MkdirAll(filepath.Dir(blob), 0o777); err != nil {
		return cacheError(err)
	}
	unlock, err := lock(ctx, filepath.Join(c.Cache, ".locks", r.folderName(), f.Hash()+".lock"))
	if err != nil {
		if ctx.Err() != nil {
			return err
		}
		return cacheError(err)
	}
	defer unlock()
	if info, err := os.Stat(blob); err != nil || info.Size() != f.size() {
		err := c.retried(ctx, func() error { return c.download(ctx, r, commit, name, f, blob) })
		if err != nil {
			return err
		}
	}
	if err := link(blob, local); err != nil {
		return cacheError(err)
	}
	return nil
}

// errContent says that what came is not what the hub lists; the next try starts
// from nothing.
var errContent = errors.New("the content differs from the hash that the hub lists")

// download makes one try, going on where the last one broke off.
func (c *Client) download(ctx context.Context, r Repo, commit, name string, f File, blob string) (err error) {
	part, err := os.OpenFile(blob+".incomplete", os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return cacheError(err)
	}
	defer part.Close()
	have, err := part.Seek(0, io.SeekEnd)
	if err != nil {
		return cacheError(err)
	}
	if have > f.size() {
		have = 0
	}
	if have < f.size() || f.size() == 0 {
		if err := c.receive(ctx, r, commit, name, f, part, have); err != nil {
			return err
		}
	}
	if err := verify(part, f); err != nil {
		part.Truncate(0)
		return err
	}
	if err := part.Sync(); err != nil {
		return cacheError(err)
	}
	if err := part.Close(); err != nil {
		return cacheError(err)
	}
	if err := os.Rename(blob+".incomplete", blob); err != nil {
		return cacheError(err)
	}
	return nil
}

// receive appends the rest of the file from byte have on.
func (c *Client) receive(ctx context.Context, r Repo, commit, name string, f File, part *os.File, have int64) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stall := time.AfterFunc(c.Stall, func() { cancel(errStalled) })
	defer stall.Stop()
	// Compressed in transit, neither sizes nor ranges would mean the file's own.
	header := http.Header{"Accept-Encoding": {"identity"}}
	if have > 0 {
		header.Set("Range", "bytes="+strconv.FormatInt(have, 10)+"-")
	}
	resp, err := c.get(ctx, c.file(r, commit, name), header)
	if err != nil {
		return cause(ctx, err)
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusPartialContent:
		if !rangeBegins(resp.Header.Get("Content-Range"), have) {
			part.Truncate(0)
			return errors.New("the server sent another part of the file than was asked for")
		}
	case http.StatusRequestedRangeNotSatisfiable:
		part.Truncate(0)
		return errors.New("the server has a shorter file than was begun")
	default:
		have = 0 // the server sends the whole file again
	}
	if err := part.Truncate(have); err != nil {
		return cacheError(err)
	}
	if _, err := part.Seek(have, io.SeekStart); err != nil {
		return cacheError(err)
	}
	done, shown := have, time.Time{}
	buf := make([]byte, 128<<10)
	for {
		n, err := resp.Body.Read(buf)
		if n > 0 {
			stall.Reset(c.Stall)
			if done += int64(n); done > f.size() {
				part.Truncate(0)
				return errContent
			}
			if _, err := part.Write(buf[:n]); err != nil {
				return cacheError(err)
			}
			if now := time.Now(); c.OnProgress != nil && now.Sub(shown) > 200*time.Millisecond {
				shown = now
				c.OnProgress(Progress{Repo: r.ID, Path: name, Done: done, Total: f.size()})
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return cause(ctx, err)
		}
	}
	if done != f.size() {
		return fmt.Errorf("%d of %d bytes came: %w", done, f.size(), io.ErrUnexpectedEOF)
	}
	if c.OnProgress != nil {
		c.OnProgress(Progress{Repo: r.ID, Path: name, Done: done, Total: f.size()})
	}
	return nil
}

// cause prefers the reason for which we ended a request ourselves.
func cause(ctx context.Context, err error) error {
	if c := context.Cause(ctx); c == errStalled {
		return errStalled
	}
	return hide(err)
}

// rangeBegins tells whether a Content-Range header begins at the byte.
func rangeBegins(header string, at int64) bool {
	rest, ok := strings.CutPrefix(header, "bytes ")
	from, _, dash := strings.Cut(rest, "-")
	n, err := strconv.ParseInt(from, 10, 64)
	return ok && dash && err == nil && n == at
}

// verify compares the content with the hash that the hub lists: SHA-256 of a large
// file, or SHA-1 of git's blob header and a small one.
func verify(part *os.File, f File) error {
	if _, err := part.Seek(0, io.SeekStart); err != nil {
		return cacheError(err)
	}
	var h hash.Hash
	if len(f.Hash()) == 64 {
		h = sha256.New()
	} else {
		h = sha1.New()
		fmt.Fprintf(h, "blob %d\x00", f.size())
	}
	if _, err := io.Copy(h, part); err != nil {
		return cacheError(err)
	}
	if hex.EncodeToString(h.Sum(nil)) != f.Hash() {
		return errContent
	}
	return nil
}

// link makes local a relative link to blob, or a copy where links are not to be
// had.
func link(blob, local string) error {
	dir := filepath.Dir(local)
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	target, err := filepath.Rel(dir, blob)
	if err != nil {
		return err
	}
	temp := local + "." + strconv.Itoa(os.Getpid()) + ".tmp"
	os.Remove(temp)
	if err := os.Symlink(target, temp); err != nil {
		if err := copyFile(blob, temp); err != nil {
			os.Remove(temp)
			return err
		}
	}
	if err := os.Rename(temp, local); err != nil {
		os.Remove(temp)
		return err
	}
	return nil
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if e := out.Close(); err == nil {
		err = e
	}
	return err
}

package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/evalrun/evalrun/core"
)

// Client reaches one hub and its cache. Its methods may be called from several
// goroutines once the fields are set.
type Client struct {
	// Endpoint is the hub's address, https://huggingface.co by default.
	Endpoint string
	// Cache is the folder that holds the repositories' folders.
	Cache string
	// Offline keeps the client from the network: only the cache is read.
	Offline bool
	// OnProgress, when set, is called while a file is fetched, at most a few
	// times a second and from one goroutine at a time for each call of a method.
	OnProgress func(Progress)
	// Tries for one request or download before it counts as failed; 5 by default.
	Tries int
	// Stall ends a try when nothing arrives for so long; one minute by default.
	Stall time.Duration
	// Wait before the second try, doubled for each further one; half a second by
	// default.
	Wait time.Duration

	token string
	http  *http.Client
}

// Progress tells how far a file has come.
type Progress struct {
	Repo, Path  string
	Done, Total int64
	// Note, when not empty, is a sentence about the cache instead.
	Note string
}

// FromEnvironment reads HF_ENDPOINT, HF_HOME, HF_HUB_CACHE (or
// HUGGINGFACE_HUB_CACHE), HF_TOKEN (or HUGGING_FACE_HUB_TOKEN, or the file
// HF_TOKEN_PATH, by default $HF_HOME/token; none with HF_HUB_DISABLE_IMPLICIT_TOKEN)
// and HF_HUB_OFFLINE (or TRANSFORMERS_OFFLINE) as huggingface_hub does.
func FromEnvironment() (*Client, error) {
	home := os.Getenv("HF_HOME")
	if home == "" {
		base := os.Getenv("XDG_CACHE_HOME")
		if base == "" {
			user, err := os.UserHomeDir()
			if err != nil {
				return nil, &core.UserError{Message: "no folder for the cache of data sets is known", Hint: "set HF_HOME to a folder", Err: err}
			}
			base = filepath.Join(user, ".cache")
		}
		home = filepath.Join(base, "huggingface")
	}
	home = expand(home)
	cache := first(os.Getenv("HF_HUB_CACHE"), os.Getenv("HUGGINGFACE_HUB_CACHE"))
	if cache == "" {
		cache = filepath.Join(home, "hub")
	}
	token := first(os.Getenv("HF_TOKEN"), os.Getenv("HUGGING_FACE_HUB_TOKEN"))
	if strings.TrimSpace(token) == "" {
		file := os.Getenv("HF_TOKEN_PATH")
		if file == "" {
			file = filepath.Join(home, "token")
		}
		if text, err := os.ReadFile(expand(file)); err == nil {
			token = string(text)
		}
	}
	if isTrue(os.Getenv("HF_HUB_DISABLE_IMPLICIT_TOKEN")) {
		token = ""
	}
	return New(os.Getenv("HF_ENDPOINT"), expand(cache), token, isTrue(os.Getenv("HF_HUB_OFFLINE")) || isTrue(os.Getenv("TRANSFORMERS_OFFLINE")))
}

// New makes a client. An empty endpoint means the public hub; an empty token, none.
func New(endpoint, cache, token string, offline bool) (*Client, error) {
	if endpoint == "" {
		endpoint = "https://huggingface.co"
	}
	u, err := url.Parse(strings.TrimRight(endpoint, "/"))
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.RawQuery != "" {
		// The address is not repeated: it may hold a password.
		return nil, &core.UserError{Where: "HF_ENDPOINT", Message: "not the address of a hub", Hint: "write it like https://huggingface.co; the token belongs into HF_TOKEN"}
	}
	token = strings.TrimSpace(token)
	if strings.ContainsFunc(token, func(r rune) bool { return r < 0x21 || r > 0x7e }) {
		return nil, &core.UserError{Where: "HF_TOKEN", Message: "the token holds characters that no token has", Hint: "copy it again from the hub's settings"}
	}
	c := &Client{Endpoint: u.String(), Cache: cache, Offline: offline, Tries: 5, Stall: time.Minute, Wait: 500 * time.Millisecond, token: token}
	c.http = &http.Client{
		Transport: &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			DialContext:           (&net.Dialer{Timeout: 15 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
			TLSHandshakeTimeout:   15 * time.Second,
			ResponseHeaderTimeout: time.Minute,
			ForceAttemptHTTP2:     true,
			MaxIdleConnsPerHost:   4,
			IdleConnTimeout:       30 * time.Second,
		},
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			if len(via) >= 10 {
				return errors.New("too many redirections")
			}
			c.sign(req)
			return nil
		},
	}
	return c, nil
}

func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

func isTrue(s string) bool {
	switch strings.ToUpper(s) {
	case "1", "ON", "YES", "TRUE":
		return true
	}
	return false
}

// expand replaces variables and a leading ~, as huggingface_hub does.
func expand(path string) string {
	path = os.ExpandEnv(path)
	if rest, ok := strings.CutPrefix(path, "~"); ok && (rest == "" || rest[0] == '/' || rest[0] == filepath.Separator) {
		if home, err := os.UserHomeDir(); err == nil {
			return home + rest
		}
	}
	return path
}

// sign puts the token on a request to the hub itself, and takes it off any other:
// downloads are redirected to storage servers that must not see it.
func (c *Client) sign(req *http.Request) {
	req.Header.Del("Authorization")
	home, err := url.Parse(c.Endpoint)
	if err == nil && c.token != "" && req.URL.Scheme == home.Scheme && strings.EqualFold(req.URL.Host, home.Host) {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
}

// statusError is an answer of the hub that is not the wanted one.
type statusError struct {
	status int
	code   string // of the header X-Error-Code
	after  time.Duration
}

func (e *statusError) Error() string {
	s := fmt.Sprintf("the hub answered %d %s", e.status, http.StatusText(e.status))
	if e.code != "" {
		s += " (" + e.code + ")"
	}
	return s
}

// temporary tells whether the same request may succeed later.
func temporary(err error) bool {
	var user *core.UserError // our own disk, say
	if errors.As(err, &user) {
		return false
	}
	var status *statusError
	if errors.As(err, &status) {
		return status.status == 408 || status.status == 429 || status.status >= 500
	}
	return !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, errRefused)
}

// errRefused marks answers that another try will not change.
var errRefused = errors.New("refused")

// unreachable tells whether err says that there is no usable hub at present, so
// that what is cached may stand in for it.
func unreachable(err error) bool {
	var status *statusError
	if errors.As(err, &status) {
		return status.status >= 500
	}
	var network net.Error
	var dns *net.DNSError
	return errors.As(err, &network) || errors.As(err, &dns) || errors.Is(err, errStalled) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// noWay tells whether there seems to be no network or no server at all: waiting
// long for it would only delay the advice to do without.
func noWay(err error) bool {
	var dns *net.DNSError
	return errors.As(err, &dns) && dns.IsNotFound || errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ENETUNREACH)
}

var errStalled = errors.New("nothing arrived for a while")

// get makes one request and hands over the body of a good answer; the caller
// closes it. Errors never hold addresses, which can carry signatures.
func (c *Client) get(ctx context.Context, address string, header http.Header) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, errors.New("the address cannot be formed")
	}
	for k, v := range header {
		req.Header[k] = v
	}
	req.Header.Set("User-Agent", "evalrun")
	c.sign(req)
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, hide(err)
	}
	if resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusPartialContent || resp.StatusCode == http.StatusRequestedRangeNotSatisfiable {
		return resp, nil
	}
	io.CopyN(io.Discard, resp.Body, 4096)
	resp.Body.Close()
	e := &statusError{status: resp.StatusCode, code: word(resp.Header.Get("X-Error-Code"))}
	if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && s >= 0 {
		e.after = min(time.Duration(s)*time.Second, 2*time.Minute)
	}
	return nil, e
}

// hide takes the address out of an error of net/http.
func hide(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// word keeps what is harmless of a word that a server chose.
func word(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return -1
	}, s[:min(len(s), 40)])
}

// retried runs f until it succeeds, fails for good, or the tries are used up.
func (c *Client) retried(ctx context.Context, f func() error) error {
	wait := c.Wait
	for try := 1; ; try++ {
		err := f()
		if err == nil || try >= c.Tries || !temporary(err) || ctx.Err() != nil || try >= 2 && noWay(err) {
			return err
		}
		pause := wait + rand.N(wait/4+1)
		var status *statusError
		if errors.As(err, &status) && status.after > 0 {
			pause = status.after
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
		wait *= 2
	}
}

// maxAnswer bounds one page of the hub's API.
const maxAnswer = 64 << 20

// ask gets one JSON answer of the API, and the address of the next page.
func (c *Client) ask(ctx context.Context, address string, into any) (next string, err error) {
	err = c.retried(ctx, func() error {
		ctx, cancel := context.WithTimeout(ctx, 2*c.Stall)
		defer cancel()
		resp, err := c.get(ctx, address, http.Header{"Accept": {"application/json"}})
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return &statusError{status: resp.StatusCode}
		}
		text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
		if err != nil {
			return hide(err)
		}
		if len(text) > maxAnswer {
			return fmt.Errorf("%w: the answer is longer than %d MiB", errRefused, maxAnswer>>20)
		}
		if err := json.Unmarshal(text, into); err != nil {
			return fmt.Errorf("%w: the answer is not the JSON of a hub", errRefused)
		}
		next = nextPage(resp.Header.Get("Link"))
		return nil
	})
	if err != nil || next == "" {
		return "", err
	}
	// Only the hub itself may say where its list goes on.
	home, _ := url.Parse(c.Endpoint)
	u, err := url.Parse(next)
	if err != nil {
		return "", fmt.Errorf("%w: the address of the next page is malformed", errRefused)
	}
	u = home.ResolveReference(u)
	if u.Scheme != home.Scheme || u.Host != home.Host {
		return "", fmt.Errorf("%w: the next page lies on another server", errRefused)
	}
	return u.String(), nil
}

// nextPage finds the address marked rel="next" in a Link header (RFC 8288).
func nextPage(header string) string {
	for _, link := range strings.Split(header, ",") {
		target, rest, ok := strings.Cut(link, ">")
		target, begins := strings.CutPrefix(strings.TrimSpace(target), "<")
		if !ok || !begins {
			continue
		}
		for _, parameter := range strings.Split(rest, ";") {
			name, value, _ := strings.Cut(strings.TrimSpace(parameter), "=")
			if strings.EqualFold(name, "rel") && strings.Trim(value, `"`) == "next" {
				return target
			}
		}
	}
	return ""
}

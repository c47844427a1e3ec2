package openai

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/evalrun/evalrun/core"
)

const (
	// maxBody bounds an answer, maxErrorBody what is read of a refusal.
	maxBody      = 100 << 20
	maxErrorBody = 64 << 10
)

// A call is one HTTP exchange, carried to the transport by its context: what to
// change in the body that the library wrote, and what the transport learned.
type call struct {
	// patch holds members to add to the JSON body: those that the library
	// leaves out when they are zero.
	patch []member
	// empties are messages without content, which the library leaves out too.
	empties bool
	stream  bool
	// raw is the whole body of the answer, unless it is a stream.
	raw []byte
	// body is the stream's, which knows how it ended.
	body *watched
}

type member struct {
	name  string
	value any
}

type callKey struct{}

// transport is the library's HTTP client. It closes what the library leaves
// open: parameters at zero, headers of errors, bodies without end, answers that
// are no JSON, redirects.
type transport struct {
	client *http.Client
	key    string
	base   *url.URL
}

// newTransport makes a transport whose connections are kept for most requests
// in flight.
func newTransport(base *url.URL, key string, most int) *transport {
	rt := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 15 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout:   15 * time.Second,
		MaxIdleConns:          0,
		MaxIdleConnsPerHost:   most,
		IdleConnTimeout:       90 * time.Second,
		ForceAttemptHTTP2:     true,
		ExpectContinueTimeout: time.Second,
		ReadBufferSize:        8 << 10,
		WriteBufferSize:       8 << 10,
	}
	return &transport{key: key, base: base, client: &http.Client{
		Transport: rt,
		// A redirect within the server is followed; one to another place would
		// carry prompts, and perhaps the key, to somebody nobody named.
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			first := via[0]
			if req.URL.Host != first.URL.Host || req.URL.Scheme != first.URL.Scheme || req.Method != first.Method || len(via) > 4 {
				return http.ErrUseLastResponse
			}
			return nil
		},
	}}
}

func (t *transport) close() { t.client.CloseIdleConnections() }

// Do sends a request of the library's. Its error is a *core.Error, or the end
// of the context.
func (t *transport) Do(req *http.Request) (*http.Response, error) {
	c, _ := req.Context().Value(callKey{}).(*call)
	if c == nil {
		c = &call{}
	}
	if err := c.apply(req); err != nil {
		return nil, &core.Error{Code: core.CodeInternal, Message: "writing the request: " + err.Error()}
	}
	resp, err := t.client.Do(req)
	if err != nil {
		return nil, t.failure(req.Context(), err, false)
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		defer resp.Body.Close()
		body, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
		return nil, t.refusal(resp, body)
	}
	if c.stream {
		if kind := resp.Header.Get("Content-Type"); !strings.HasPrefix(kind, "text/event-stream") {
			defer resp.Body.Close()
			body, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
			return nil, t.badAnswer("it is no event stream", kind, body)
		}
		c.body = &watched{r: resp.Body, left: maxBody}
		resp.Body = c.body
		return resp, nil
	}
	defer resp.Body.Close()
	c.raw, err = readAll(resp)
	if err != nil {
		return nil, t.failure(req.Context(), err, true)
	}
	if trimmed := bytes.TrimLeft(c.raw, " \t\r\n"); len(trimmed) == 0 || trimmed[0] != '{' {
		return nil, t.badAnswer("it is no JSON object", resp.Header.Get("Content-Type"), c.raw)
	}
	resp.Body = io.NopCloser(bytes.NewReader(c.raw))
	return resp, nil
}

var errTooLong = fmt.Errorf("the answer is longer than %d MB", maxBody>>20)

// readAll reads the body in one piece where its length is told.
func readAll(resp *http.Response) ([]byte, error) {
	if resp.ContentLength > maxBody {
		return nil, errTooLong
	}
	var buf bytes.Buffer
	if n := resp.ContentLength; n > 0 {
		buf.Grow(int(min(n, 1<<20)) + bytes.MinRead)
	}
	n, err := buf.ReadFrom(io.LimitReader(resp.Body, maxBody+1))
	if err == nil && n > maxBody {
		err = errTooLong
	}
	return buf.Bytes(), err
}

// apply writes the call's changes into the body.
func (c *call) apply(req *http.Request) error {
	if req.Body == nil || len(c.patch) == 0 && !c.empties {
		return nil
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return err
	}
	if c.empties {
		// Within JSON no text can hold these bytes: its quotes are escaped.
		for _, role := range []string{"system", "user", "assistant", "developer", "tool"} {
			body = bytes.ReplaceAll(body, []byte(`{"role":"`+role+`"}`), []byte(`{"role":"`+role+`","content":""}`))
		}
	}
	body = bytes.TrimRight(body, " \r\n\t")
	if len(body) < 2 || body[len(body)-1] != '}' {
		return errors.New("the library's body is no JSON object")
	}
	body = body[:len(body)-1]
	for _, m := range c.patch {
		value, err := json.Marshal(m.value)
		if err != nil {
			return err
		}
		if len(body) > 1 {
			body = append(body, ',')
		}
		body = strconv.AppendQuote(body, m.name)
		body = append(body, ':')
		body = append(body, value...)
	}
	body = append(body, '}')
	req.ContentLength = int64(len(body))
	req.Body = io.NopCloser(bytes.NewReader(body))
	req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	return nil
}

// watched is a stream's body: bounded, and it knows how it ended.
type watched struct {
	r    io.ReadCloser
	left int
	tail []byte // the last bytes
	err  error  // what ended it, io.EOF included
}

func (w *watched) Read(p []byte) (int, error) {
	if w.left <= 0 {
		w.err = errTooLong
		return 0, w.err
	}
	n, err := w.r.Read(p[:min(len(p), w.left)])
	w.left -= n
	w.tail = append(w.tail, p[:n]...)
	if len(w.tail) > 64 {
		w.tail = append(w.tail[:0], w.tail[len(w.tail)-64:]...)
	}
	if err != nil {
		w.err = err
	}
	return n, err
}

func (w *watched) Close() error { return w.r.Close() }

// done tells whether the stream said that it was complete.
func (w *watched) done() bool { return bytes.Contains(w.tail, []byte("[DONE]")) }

// failure classes what the network did. within says that an answer had begun.
func (t *transport) failure(ctx context.Context, err error, within bool) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var e *core.Error
	if errors.As(err, &e) {
		return e
	}
	if errors.Is(err, errTooLong) {
		return &core.Error{Code: core.CodeBadAnswer, Message: err.Error()}
	}
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err // without the address, which may hold a secret
	}
	message := t.clean(err.Error())
	var cert *tls.CertificateVerificationError
	var dns *net.DNSError
	var timeout net.Error
	switch {
	case errors.As(err, &cert):
		return &core.Error{Code: core.CodeAuth, Message: message, Hint: "the server's certificate is not trusted: check --base-url, or set SSL_CERT_FILE"}
	case within:
		return &core.Error{Code: core.CodeCut, Message: "the connection broke within the answer: " + message}
	case errors.As(err, &dns) && dns.IsNotFound:
		return &core.Error{Code: core.CodeUnavailable, Message: message, Hint: "check --base-url and the network"}
	case errors.As(err, &timeout) && timeout.Timeout():
		return &core.Error{Code: core.CodeUnavailable, Message: "no connection to " + t.base.Host + ": " + message}
	}
	return &core.Error{Code: core.CodeUnavailable, Message: "no answer from " + t.base.Host + ": " + message, Hint: "is the server running at " + t.base.Host + "?"}
}

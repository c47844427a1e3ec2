package openai

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/evalrun/evalrun/core"
)

// refusal makes an error of an answer with another status than 2xx.
func (t *transport) refusal(resp *http.Response, body []byte) *core.Error {
	said, code := t.said(body)
	e := &core.Error{Status: resp.StatusCode, Message: fmt.Sprintf("status %d", resp.StatusCode)}
	if said != "" {
		e.Message += ": " + said
	}
	switch s := resp.StatusCode; {
	case s >= 300 && s < 400:
		e.Code = core.CodeNotFound
		e.Message = fmt.Sprintf("status %d: the server redirects", s)
		if to, err := url.Parse(resp.Header.Get("Location")); err == nil && to.Host != "" {
			e.Message += " to " + to.Host
			e.Hint = "redirects to another place are not followed: give that address as --base-url if you trust it"
		}
	case s == http.StatusUnauthorized, s == http.StatusForbidden:
		e.Code = core.CodeAuth
		e.Hint = "check OPENAI_API_KEY"
		if t.key == "" {
			e.Hint = "the service wants a key: set OPENAI_API_KEY"
		}
	case s == http.StatusPaymentRequired, code == "insufficient_quota":
		e.Code = core.CodeAuth
		e.Hint = "the account's quota is used up: check its plan and billing"
	case s == http.StatusNotFound:
		e.Code = core.CodeNotFound
		e.Hint = "check --model and --base-url (it usually ends with /v1)"
	case s == http.StatusTooManyRequests:
		e.Code = core.CodeRateLimit
		e.RetryAfter = retryAfter(resp.Header, time.Now())
	case s == http.StatusRequestTimeout:
		e.Code = core.CodeTimeout
	case s == http.StatusConflict, s == http.StatusTooEarly:
		e.Code = core.CodeUnavailable
		e.RetryAfter = retryAfter(resp.Header, time.Now())
	case s == http.StatusRequestEntityTooLarge, code == "context_length_exceeded", tooLong(said):
		e.Code = core.CodeContextLength
	case s == http.StatusNotImplemented:
		e.Code = core.CodeInvalid
	case s >= 500:
		e.Code = core.CodeUnavailable
		e.RetryAfter = retryAfter(resp.Header, time.Now())
	default:
		e.Code = core.CodeInvalid
	}
	return e
}

// tooLong knows the ways in which servers say that the input is longer than
// the context.
func tooLong(said string) bool {
	s := strings.ToLower(said)
	for _, sign := range []string{
		"maximum context length", "context length", "context window", "context size", "exceeds the available context",
		"prompt is too long", "reduce the length",
	} {
		if strings.Contains(s, sign) {
			return true
		}
	}
	return false
}

// said takes message and code out of an error body in any of the usual forms:
// {"error": {"message", "code"}}, {"error": "text"}, {"message"}, {"detail"},
// or plain text.
func (t *transport) said(body []byte) (message, code string) {
	var outer struct {
		Error   json.RawMessage `json:"error"`
		Message json.RawMessage `json:"message"`
		Detail  json.RawMessage `json:"detail"`
		Code    any             `json:"code"`
	}
	if json.Unmarshal(body, &outer) != nil {
		return t.excerpt(body), ""
	}
	var inner struct {
		Message string `json:"message"`
		Code    any    `json:"code"`
		Type    string `json:"type"`
	}
	if json.Unmarshal(outer.Error, &inner) == nil && (inner.Message != "" || inner.Code != nil || inner.Type != "") {
		if code, _ = inner.Code.(string); code == "" {
			code = inner.Type
		}
		return t.excerpt([]byte(inner.Message)), code
	}
	code, _ = outer.Code.(string)
	for _, raw := range []json.RawMessage{outer.Error, outer.Message, outer.Detail} {
		var text string
		if json.Unmarshal(raw, &text) == nil && text != "" {
			return t.excerpt([]byte(text)), code
		}
	}
	return t.excerpt(body), code
}

func (t *transport) badAnswer(what, kind string, body []byte) *core.Error {
	m := "the server sent something that is no answer: " + what
	if kind != "" {
		m += " (" + t.excerpt([]byte(kind)) + ")"
	}
	if x := t.excerpt(body); x != "" {
		m += ", it begins with " + strconv.Quote(x)
	}
	return &core.Error{Code: core.CodeBadAnswer, Message: m, Hint: "check --base-url (it usually ends with /v1)"}
}

// excerpt gives the beginning of a foreign text in one line, without secrets.
func (t *transport) excerpt(b []byte) string {
	const most = 160
	b = b[:min(len(b), 4096)]
	s := strings.Map(func(c rune) rune {
		if unicode.IsControl(c) || c == unicode.ReplacementChar || c == '\u2028' || c == '\u2029' {
			return ' '
		}
		return c
	}, strings.ToValidUTF8(string(b), " "))
	s = t.clean(strings.Join(strings.Fields(s), " "))
	if r := []rune(s); len(r) > most {
		s = string(r[:most]) + "…"
	}
	return s
}

// keyLike are texts that look like a key, also one that a service has masked.
var keyLike = regexp.MustCompile(`(?i)\b(sk|pk|hf|gsk|xai)[-_][a-z0-9_*.\-]{6,}|bearer\s+[^\s"']{6,}`)

// clean takes the key out of a text, and whatever looks like one.
func (t *transport) clean(s string) string {
	if len(t.key) > 3 {
		s = strings.ReplaceAll(s, t.key, "[key]")
	}
	return keyLike.ReplaceAllString(s, "[key]")
}

// retryAfter reads how long a service asks to wait: retry-after-ms,
// Retry-After in seconds or as a date, or the reset of a rate limit that is
// used up. 0 is not told.
func retryAfter(h http.Header, now time.Time) time.Duration {
	if ms, err := strconv.ParseFloat(h.Get("Retry-After-Ms"), 64); err == nil && ms > 0 {
		return span(ms / 1000)
	}
	if v := strings.TrimSpace(h.Get("Retry-After")); v != "" {
		if s, err := strconv.ParseFloat(v, 64); err == nil {
			return span(s)
		}
		if at, err := http.ParseTime(v); err == nil {
			return max(0, at.Sub(now))
		}
	}
	var wait time.Duration
	for _, what := range []string{"Requests", "Tokens"} {
		if h.Get("X-Ratelimit-Remaining-"+what) == "0" {
			if d, err := time.ParseDuration(h.Get("X-Ratelimit-Reset-" + what)); err == nil {
				wait = max(wait, d)
			}
		}
	}
	return wait
}

// span is a number of seconds as a time, at most a day.
func span(s float64) time.Duration {
	if math.IsNaN(s) || s <= 0 {
		return 0
	}
	return time.Duration(min(s, 86400) * float64(time.Second))
}

package session

import (
	"fmt"
	"math"
	"slices"
	"unicode/utf8"

	"github.com/evalrun/evalrun/core"
)

// Check gives the reason for which a request can never be answered by a
// backend of these kinds, or nil. Every text must be valid UTF-8: what a
// service or a wire would silently replace is not what was asked.
func Check(r *core.Request, kinds []core.Kind) *core.Error {
	switch {
	case r.ID == "":
		return invalid("the request has no id")
	case !slices.Contains(kinds, r.Kind):
		if r.Kind.String() == "unknown" {
			return invalid("request kind %d is unknown", r.Kind)
		}
		e := invalid("this backend does not do %s", r.Kind)
		e.Hint = "it does " + kindList(kinds)
		return e
	}
	if r.Messages != nil {
		if len(r.Messages) == 0 {
			return invalid("messages is an empty list")
		}
		for i, m := range r.Messages {
			if m.Role == "" {
				return invalid("message %d has no role", i)
			}
			if e := checkText(m.Content, "message %d", i); e != nil {
				return e
			}
		}
	} else if e := checkText(r.Prompt, "the prompt"); e != nil {
		return e
	}
	if r.Kind == core.ScoreText {
		if len(r.Continuations) == 0 {
			return invalid("score needs at least one continuation")
		}
		for i, c := range r.Continuations {
			if c == "" {
				return invalid("continuation %d is empty", i)
			}
			if e := checkText(c, "continuation %d", i); e != nil {
				return e
			}
		}
	}
	return checkGeneration(&r.Generation)
}

func checkGeneration(g *core.Generation) *core.Error {
	if g.MaxTokens < 0 {
		return invalid("max_tokens is %d", g.MaxTokens)
	}
	if g.TopK < 0 {
		return invalid("top_k is %d", g.TopK)
	}
	for _, p := range []struct {
		name      string
		v         float64
		low, high float64
	}{
		{"temperature", g.Temperature, 0, math.MaxFloat32},
		{"top_p", g.TopP, 0, 1},
		{"min_p", g.MinP, 0, 1},
		{"repetition_penalty", g.RepetitionPenalty, 0, math.MaxFloat32},
		{"frequency_penalty", g.FrequencyPenalty, -math.MaxFloat32, math.MaxFloat32},
		{"presence_penalty", g.PresencePenalty, -math.MaxFloat32, math.MaxFloat32},
	} {
		if !(p.v >= p.low && p.v <= p.high) { // also NaN
			return invalid("%s is %v", p.name, p.v)
		}
	}
	for i, s := range g.Stop {
		if s == "" {
			return invalid("stop text %d is empty", i)
		}
		if e := checkText(s, "stop text %d", i); e != nil {
			return e
		}
	}
	return nil
}

func checkText(s, where string, args ...any) *core.Error {
	if utf8.ValidString(s) {
		return nil
	}
	at := 0
	for at < len(s) {
		c, n := utf8.DecodeRuneInString(s[at:])
		if c == utf8.RuneError && n == 1 {
			break
		}
		at += n
	}
	e := invalid("%s is not valid UTF-8 at byte %d", fmt.Sprintf(where, args...), at)
	e.Hint = "mend the row's encoding in the data"
	return e
}

func kindList(kinds []core.Kind) string {
	s := ""
	for i, k := range kinds {
		if i > 0 {
			s += ", "
		}
		s += k.String()
	}
	return s
}

func invalid(format string, args ...any) *core.Error {
	return &core.Error{Code: core.CodeInvalid, Message: fmt.Sprintf(format, args...)}
}

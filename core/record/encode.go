package record

import (
	"bytes"
	"encoding/json"
	"maps"
	"math"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/evalrun/evalrun/core"
)

// Append writes a record as one line, its newline included, behind dst: the
// bytes that encoding/json would write without escaping HTML, at a fraction of
// the time. The error is that of a number that JSON lacks.
func Append(dst []byte, r *Record) ([]byte, error) {
	e := encoder{b: append(dst, '{')}
	e.int("v", r.V)
	e.text("task", r.Task)
	e.text("model", r.Model)
	e.text("sample", r.Sample)
	e.int("index", r.Index)
	e.intUnless0("repeat", r.Repeat)
	e.textUnlessEmpty("cluster", r.Cluster)
	e.textUnlessEmpty("prompt", r.Prompt)
	if len(r.Messages) > 0 {
		e.key("messages")
		list(&e, r.Messages, func(m core.Message) {
			e.b = append(e.b, '{')
			e.text("role", m.Role)
			e.text("content", m.Content)
			e.b = append(e.b, '}')
		})
	}
	if len(r.Continuations) > 0 {
		e.texts("continuations", r.Continuations)
	}
	if r.Generation != nil {
		e.key("generation")
		e.generation(r.Generation)
	}
	e.intUnless0("prompt_cut", r.PromptCut)
	e.texts("targets", r.Targets)
	if len(r.Gold) > 0 {
		e.key("gold")
		list(&e, r.Gold, func(n int) { e.b = strconv.AppendInt(e.b, int64(n), 10) })
	}
	if len(r.Fields) > 0 {
		e.other("fields", r.Fields)
	}
	e.text("response", r.Response)
	e.textUnlessEmpty("finish", string(r.Finish))
	if len(r.Likelihoods) > 0 {
		e.other("likelihoods", r.Likelihoods)
	}
	if r.Extracted != nil {
		e.text("extracted", *r.Extracted)
	}
	e.ifTrue("extract_failed", r.ExtractFailed)
	e.textUnlessEmpty("extract_error", r.ExtractError)
	if len(r.Scores) > 0 {
		e.key("scores")
		list(&e, r.Scores, e.score)
	}
	e.key("usage")
	e.b = append(e.b, '{')
	e.int("prompt", r.Usage.Prompt)
	e.int("completion", r.Usage.Completion)
	e.intUnless0("shared", r.Usage.Shared)
	e.b = append(e.b, '}')
	e.intUnless0("truncated", r.Truncated)
	e.float("seconds", r.Seconds)
	e.floatUnless0("cost_usd", r.CostUSD)
	e.ifTrue("cached", r.Cached)
	e.intUnless0("attempts", r.Attempts)
	if r.Error != nil {
		e.other("error", r.Error)
	}
	return append(e.b, '}', '\n'), e.err
}

type encoder struct {
	b   []byte
	err error
}

// key writes a key of the object whose fields are being written.
func (e *encoder) key(name string) {
	if e.b[len(e.b)-1] != '{' {
		e.b = append(e.b, ',')
	}
	e.b = append(e.b, '"')
	e.b = append(e.b, name...)
	e.b = append(e.b, '"', ':')
}

func (e *encoder) int(name string, n int) {
	e.key(name)
	e.b = strconv.AppendInt(e.b, int64(n), 10)
}

func (e *encoder) intUnless0(name string, n int) {
	if n != 0 {
		e.int(name, n)
	}
}

func (e *encoder) ifTrue(name string, v bool) {
	if v {
		e.key(name)
		e.b = append(e.b, "true"...)
	}
}

func (e *encoder) text(name, s string) {
	e.key(name)
	e.b = appendText(e.b, s)
}

func (e *encoder) textUnlessEmpty(name, s string) {
	if s != "" {
		e.text(name, s)
	}
}

func (e *encoder) texts(name string, all []string) {
	e.key(name)
	if all == nil {
		e.b = append(e.b, "null"...)
		return
	}
	list(e, all, func(s string) { e.b = appendText(e.b, s) })
}

func list[T any](e *encoder, all []T, write func(T)) {
	e.b = append(e.b, '[')
	for i, v := range all {
		if i > 0 {
			e.b = append(e.b, ',')
		}
		write(v)
	}
	e.b = append(e.b, ']')
}

// float writes a number as encoding/json does: the shortest digits that read
// back the same, an exponent below 1e-6 and from 1e21 on.
func (e *encoder) float(name string, f float64) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		e.other(name, f) // for its error
		return
	}
	e.key(name)
	e.b = appendFloat(e.b, f)
}

func (e *encoder) floatUnless0(name string, f float64) {
	if f != 0 {
		e.float(name, f)
	}
}

func appendFloat(b []byte, f float64) []byte {
	if abs := math.Abs(f); abs == 0 || abs >= 1e-6 && abs < 1e21 {
		return strconv.AppendFloat(b, f, 'f', -1, 64)
	}
	b = strconv.AppendFloat(b, f, 'e', -1, 64)
	if n := len(b); b[n-4] == 'e' && b[n-3] == '-' && b[n-2] == '0' { // e-09 is e-9
		b = append(b[:n-2], b[n-1])
	}
	return b
}

// other writes what is rare by encoding/json.
func (e *encoder) other(name string, v any) {
	var b bytes.Buffer
	slow := json.NewEncoder(&b)
	slow.SetEscapeHTML(false)
	if err := slow.Encode(v); err != nil {
		e.err = err
	}
	e.key(name)
	e.b = append(e.b, bytes.TrimSuffix(b.Bytes(), []byte("\n"))...)
}

func (e *encoder) score(s Score) {
	e.b = append(e.b, '{')
	e.text("metric", s.Metric)
	e.text("profile", string(s.Profile))
	if v := float64(s.Value); math.IsNaN(v) || math.IsInf(v, 0) {
		e.other("value", s.Value)
	} else {
		e.float("value", v)
	}
	e.textUnlessEmpty("extracted", s.Extracted)
	e.ifTrue("failed", s.Failed)
	e.ifTrue("dropped", s.Dropped)
	e.textUnlessEmpty("skipped", s.Skipped)
	e.textUnlessEmpty("warning", s.Warning)
	e.textUnlessEmpty("note", s.Note)
	if len(s.Parts) > 0 {
		e.key("parts")
		e.b = append(e.b, '{')
		for _, name := range slices.Sorted(maps.Keys(s.Parts)) {
			if e.b[len(e.b)-1] != '{' {
				e.b = append(e.b, ',')
			}
			e.b = append(appendText(e.b, name), ':')
			v := s.Parts[name]
			if math.IsNaN(v) || math.IsInf(v, 0) {
				_, e.err = json.Marshal(v)
				v = 0
			}
			e.b = appendFloat(e.b, v)
		}
		e.b = append(e.b, '}')
	}
	e.textUnlessEmpty("vote", s.Vote)
	e.b = append(e.b, '}')
}

func (e *encoder) generation(g *Generation) {
	e.b = append(e.b, '{')
	e.int("max_tokens", g.MaxTokens)
	e.float("temperature", g.Temperature)
	e.floatUnless0("top_p", g.TopP)
	e.intUnless0("top_k", g.TopK)
	e.floatUnless0("min_p", g.MinP)
	e.floatUnless0("repetition_penalty", g.RepetitionPenalty)
	e.floatUnless0("frequency_penalty", g.FrequencyPenalty)
	e.floatUnless0("presence_penalty", g.PresencePenalty)
	if g.Seed != 0 {
		e.key("seed")
		e.b = strconv.AppendUint(e.b, g.Seed, 10)
	}
	if len(g.Stop) > 0 {
		e.texts("stop", g.Stop)
	}
	e.b = append(e.b, '}')
}

// unescaped finds the first byte from i on that is not written as it is: what
// special finds, and all that is not ASCII.
func unescaped(s string, i int) int {
	for ; i+8 <= len(s); i += 8 {
		if x := word8(s, i); x&highs|zeros(x^(lows*'"'))|zeros(x^(lows*'\\'))|zeros(x&(lows*0xe0)) != 0 {
			break
		}
	}
	for i < len(s) && s[i] >= 0x20 && s[i] < utf8.RuneSelf && s[i] != '"' && s[i] != '\\' {
		i++
	}
	return i
}

// appendText writes a JSON string: quotes, backslashes and control characters
// escaped, U+2028 and U+2029 too, bytes that are no UTF-8 as U+FFFD.
func appendText(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for i := 0; i < len(s); {
		at := unescaped(s, i)
		b = append(b, s[i:at]...)
		if i = at; i == len(s) {
			break
		}
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c == '\n':
			b = append(b, '\\', 'n')
		case c == '\r':
			b = append(b, '\\', 'r')
		case c == '\t':
			b = append(b, '\\', 't')
		case c == '\b':
			b = append(b, '\\', 'b')
		case c == '\f':
			b = append(b, '\\', 'f')
		case c < utf8.RuneSelf:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			// All of a run of other scripts at once.
			for i < len(s) && s[i] >= utf8.RuneSelf {
				r, width := utf8.DecodeRuneInString(s[i:])
				switch {
				case r == utf8.RuneError && width == 1:
					b = append(b, `\ufffd`...)
				case r == 0x2028 || r == 0x2029:
					b = append(b, `\u202`...)
					b = append(b, hex[r&15])
				default:
					b = append(b, s[i:i+width]...)
				}
				i += width
			}
			continue
		}
		i++
	}
	return append(b, '"')
}

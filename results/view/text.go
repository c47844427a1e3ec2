package view

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/record"
	plaintext "github.com/evalrun/evalrun/core/text"
)

// How much of a text is shown without Full: a prompt's end matters more than
// its beginning, an answer's beginning more than its end.
const (
	promptHead, promptTail = 200, 500
	answerHead, answerTail = 800, 200
)

// sampleText is one record in lines.
func sampleText(rec *record.Record, place string, o Options) string {
	var b strings.Builder
	heading(&b, rec, place, true)
	asked(&b, rec, o)
	field(&b, "target", targets(rec.Targets), o.Full, answerHead, answerTail)
	answered(&b, rec, o)
	b.WriteByte('\n')
	return b.String()
}

func heading(b *strings.Builder, rec *record.Record, place string, model bool) {
	fmt.Fprintf(b, "── %s, sample %s", Escape(rec.Task), Escape(rec.Sample))
	if rec.Repeat > 0 {
		fmt.Fprintf(b, ", repeat %d", rec.Repeat)
	}
	if model {
		fmt.Fprintf(b, ", %s", Escape(rec.Model))
	}
	fmt.Fprintf(b, "  (%s)\n", place)
}

func asked(b *strings.Builder, rec *record.Record, o Options) {
	for _, m := range rec.Messages {
		field(b, m.Role, m.Content, o.Full, promptHead, promptTail)
	}
	if rec.Messages == nil {
		field(b, "prompt", rec.Prompt, o.Full, promptHead, promptTail)
	}
}

// answered shows what came back and what it scored.
func answered(b *strings.Builder, rec *record.Record, o Options) {
	if e := rec.Error; e != nil {
		field(b, "error", string(e.Code)+": "+e.Message, o.Full, answerHead, answerTail)
		if e.Hint != "" {
			field(b, "hint", e.Hint, o.Full, answerHead, answerTail)
		}
		return
	}
	if len(rec.Likelihoods) > 0 {
		var parts []string
		for i, l := range rec.Likelihoods {
			name := strconv.Itoa(i)
			if i < len(rec.Continuations) {
				name = strings.TrimSpace(rec.Continuations[i])
			}
			parts = append(parts, fmt.Sprintf("%s %.3f (%d tokens)", name, l.LogProb, l.Tokens))
		}
		field(b, "likelihood", strings.Join(parts, ", "), o.Full, answerHead, answerTail)
	} else {
		field(b, "answer", rec.Response, o.Full, answerHead, answerTail)
	}
	switch {
	case rec.Extracted != nil && *rec.Extracted != rec.Response:
		field(b, "extracted", *rec.Extracted, o.Full, answerHead, answerTail)
	case rec.ExtractFailed:
		field(b, "extracted", "("+cmp.Or(rec.ExtractError, "nothing found")+")", true, 0, 0)
	}
	for _, s := range rec.Scores {
		field(b, "score", scoreText(s), o.Full, answerHead, answerTail)
	}
	if f := flags(rec); f != "" {
		field(b, "flags", f, true, 0, 0)
	}
	cost := fmt.Sprintf("%d + %d tokens, %.2f s", rec.Usage.Prompt, rec.Usage.Completion, rec.Seconds)
	if rec.CostUSD > 0 {
		cost += fmt.Sprintf(", $%.6f", rec.CostUSD)
	}
	field(b, "cost", cost, true, 0, 0)
}

func targets(list []string) string {
	if len(list) == 1 {
		return list[0]
	}
	quoted := make([]string, len(list))
	for i, t := range list {
		quoted[i] = strconv.Quote(t)
	}
	return strings.Join(quoted, " or ")
}

func scoreText(s record.Score) string {
	t := fmt.Sprintf("%s %s", s.Metric, s.Profile)
	if s.Skipped != "" {
		return t + " skipped: " + s.Skipped
	}
	t += " " + strconv.FormatFloat(float64(s.Value), 'g', 4, 64)
	if s.Extracted != "" {
		t += fmt.Sprintf(" (took %q)", s.Extracted)
	}
	if s.Failed {
		t += ", no answer found"
	}
	if s.Dropped {
		t += ", left out of the mean"
	}
	if s.Note != "" {
		t += ", " + s.Note
	}
	return t
}

func flags(rec *record.Record) string {
	var out []string
	if rec.Finish == core.FinishLength {
		out = append(out, "cut at the token limit")
	}
	if rec.Finish == core.FinishFilter {
		out = append(out, "withheld by the service")
	}
	if rec.Truncated > 0 {
		out = append(out, fmt.Sprintf("%d tokens of the prompt dropped", rec.Truncated))
	}
	if rec.Cached {
		out = append(out, "from the cache")
	}
	if rec.Attempts > 1 {
		out = append(out, fmt.Sprintf("%d attempts", rec.Attempts))
	}
	return strings.Join(out, ", ")
}

// nameWidth is the width of the names on the left.
const nameWidth = 12

// field writes a name and a text; further lines are indented under it, so that
// no text can pose as a field.
func field(b *strings.Builder, name, text string, full bool, head, tail int) {
	if !full {
		text = shorten(text, head, tail)
	}
	name = Escape(name)
	if pad := nameWidth - utf8.RuneCountInString(name); pad > 0 {
		name += strings.Repeat(" ", pad)
	}
	b.WriteString(name)
	b.WriteString(strings.ReplaceAll(Escape(strings.TrimRight(text, "\n")), "\n", "\n"+strings.Repeat(" ", nameWidth)))
	b.WriteByte('\n')
}

// shorten keeps head and tail characters of a long text and says how many are
// between. It reads no more of the text than it must.
func shorten(s string, head, tail int) string {
	if len(s) <= head+tail {
		return s
	}
	n := utf8.RuneCountInString(s)
	if n <= head+tail+20 {
		return s
	}
	i := 0
	for range head {
		_, w := utf8.DecodeRuneInString(s[i:])
		i += w
	}
	j := len(s)
	for range tail {
		_, w := utf8.DecodeLastRuneInString(s[:j])
		j -= w
	}
	return s[:i] + fmt.Sprintf(" … (%d characters) … ", n-head-tail) + s[j:]
}

// Escape writes control characters, signs that turn the direction of text, and
// bytes that are no UTF-8 as Go escapes; line ends and tabs stay.
func Escape(s string) string {
	clean := true
	for i := 0; i < len(s) && clean; i++ {
		clean = s[i] >= 0x20 && s[i] < 0x7f || s[i] == '\n' || s[i] == '\t'
	}
	if clean {
		return s
	}
	var b strings.Builder
	b.Grow(len(s) + 16)
	for i := 0; i < len(s); {
		r, w := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && w == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case r == '\n' || r == '\t':
			b.WriteRune(r)
		case r == '\r':
			b.WriteString(`\r`)
		case unicode.IsControl(r) && r < 0x80:
			fmt.Fprintf(&b, `\x%02x`, r)
		case plaintext.Controls(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteString(s[i : i+w])
		}
		i += w
	}
	return b.String()
}

func join(names []string) string { return strings.Join(names, ", ") }

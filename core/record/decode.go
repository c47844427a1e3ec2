package record

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/evalrun/evalrun/core"
)

// decode reads one line into an empty record. A line as this package writes it
// is read by hand, several times faster than encoding/json; for anything else
// (other keys, null, escapes of surrogates, damage) encoding/json has the word.
func decode(line []byte, rec *Record) error {
	d := decoder{s: string(line)}
	if d.record(rec) {
		return nil
	}
	*rec = Record{}
	return json.Unmarshal(line, rec)
}

// decoder walks over a line. Its methods report false where the line is not
// what they know; the texts they give are parts of the line.
type decoder struct {
	s string
	i int
}

func (d *decoder) space() {
	for d.i < len(d.s) && (d.s[d.i] == ' ' || d.s[d.i] == '\t' || d.s[d.i] == '\r' || d.s[d.i] == '\n') {
		d.i++
	}
}

// take passes over a sign, and white space before it.
func (d *decoder) take(c byte) bool {
	d.space()
	if d.i < len(d.s) && d.s[d.i] == c {
		d.i++
		return true
	}
	return false
}

// object reads an object. read gets each key and reads its value; it gives the
// field's number, from 0, which may come only once.
func (d *decoder) object(read func(key string) (field int, ok bool)) bool {
	if !d.take('{') {
		return false
	}
	if d.take('}') {
		return true
	}
	var seen uint64
	for {
		d.space()
		var key string
		if !d.text(&key) || !d.take(':') {
			return false
		}
		field, ok := read(key)
		if !ok || seen>>field&1 != 0 {
			return false
		}
		seen |= 1 << field
		if !d.take(',') {
			return d.take('}')
		}
	}
}

// array reads an array; read reads one element.
func (d *decoder) array(read func() bool) bool {
	if !d.take('[') {
		return false
	}
	if d.take(']') {
		return true
	}
	for {
		if !read() {
			return false
		}
		if !d.take(',') {
			return d.take(']')
		}
	}
}

const (
	lows  = 0x0101010101010101
	highs = 0x8080808080808080
)

// zeros marks the bytes of x that are zero; above the first such byte it may
// mark others, too.
func zeros(x uint64) uint64 { return (x - lows) &^ x & highs }

// word8 reads eight bytes.
func word8(s string, i int) uint64 {
	w := s[i : i+8]
	return uint64(w[0]) | uint64(w[1])<<8 | uint64(w[2])<<16 | uint64(w[3])<<24 |
		uint64(w[4])<<32 | uint64(w[5])<<40 | uint64(w[6])<<48 | uint64(w[7])<<56
}

// special finds the first byte from i on that ends or escapes a text, or may
// not stand in one. ascii tells whether all bytes before are ASCII.
func special(s string, i int) (at int, ascii bool) {
	var seen uint64
	for ; i+8 <= len(s); i += 8 {
		x := word8(s, i)
		if zeros(x^(lows*'"'))|zeros(x^(lows*'\\'))|zeros(x&(lows*0xe0)) != 0 {
			break
		}
		seen |= x
	}
	ascii = seen&highs == 0
	for ; i < len(s); i++ {
		c := s[i]
		if c == '"' || c == '\\' || c < 0x20 {
			return i, ascii
		}
		ascii = ascii && c < utf8.RuneSelf
	}
	return i, ascii
}

// text reads a string.
func (d *decoder) text(to *string) bool {
	if !d.take('"') {
		return false
	}
	from := d.i
	at, ascii := special(d.s, from)
	if at < len(d.s) && d.s[at] == '"' {
		*to = d.s[from:at]
		d.i = at + 1
		return ascii || utf8.ValidString(*to)
	}
	var b strings.Builder
	for at < len(d.s) {
		b.WriteString(d.s[from:at])
		switch d.s[at] {
		case '"':
			*to = b.String()
			d.i = at + 1
			return utf8.ValidString(*to)
		case '\\':
		default:
			return false
		}
		if at+1 >= len(d.s) {
			return false
		}
		width := 2
		switch c := d.s[at+1]; c {
		case '"', '\\', '/':
			b.WriteByte(c)
		case 'n':
			b.WriteByte('\n')
		case 't':
			b.WriteByte('\t')
		case 'r':
			b.WriteByte('\r')
		case 'b':
			b.WriteByte('\b')
		case 'f':
			b.WriteByte('\f')
		case 'u':
			if at+6 > len(d.s) {
				return false
			}
			v, err := strconv.ParseUint(d.s[at+2:at+6], 16, 32)
			if err != nil || v >= 0xd800 && v <= 0xdfff {
				return false
			}
			b.WriteRune(rune(v))
			width = 6
		default:
			return false
		}
		from = at + width
		at, _ = special(d.s, from)
	}
	return false
}

// number passes over a number in JSON's grammar.
func (d *decoder) number() (string, bool) {
	d.space()
	from := d.i
	digits := func() bool {
		start := d.i
		for d.i < len(d.s) && d.s[d.i] >= '0' && d.s[d.i] <= '9' {
			d.i++
		}
		return d.i > start
	}
	has := func(signs string) bool {
		if d.i < len(d.s) && strings.IndexByte(signs, d.s[d.i]) >= 0 {
			d.i++
			return true
		}
		return false
	}
	has("-")
	if first := d.i; !digits() || d.s[first] == '0' && d.i > first+1 {
		return "", false
	}
	if has(".") && !digits() {
		return "", false
	}
	if has("eE") {
		if has("+-"); !digits() {
			return "", false
		}
	}
	return d.s[from:d.i], true
}

func (d *decoder) int(to *int) bool {
	s, ok := d.number()
	if !ok {
		return false
	}
	n, err := strconv.Atoi(s)
	*to = n
	return err == nil
}

func (d *decoder) uint64(to *uint64) bool {
	s, ok := d.number()
	if !ok {
		return false
	}
	n, err := strconv.ParseUint(s, 10, 64)
	*to = n
	return err == nil
}

func (d *decoder) float(to *float64) bool {
	s, ok := d.number()
	if !ok {
		return false
	}
	f, err := strconv.ParseFloat(s, 64)
	*to = f
	return err == nil
}

// wide reads a Float: a number or one of its three words.
func (d *decoder) wide(to *Float) bool {
	if d.space(); d.i < len(d.s) && d.s[d.i] == '"' {
		switch {
		case d.word(`"NaN"`):
			*to = Float(math.NaN())
		case d.word(`"Infinity"`):
			*to = Float(math.Inf(1))
		case d.word(`"-Infinity"`):
			*to = Float(math.Inf(-1))
		default:
			return false
		}
		return true
	}
	return d.float((*float64)(to))
}

func (d *decoder) bool(to *bool) bool {
	d.space()
	*to = d.word("true")
	return *to || d.word("false")
}

// word passes over a word.
func (d *decoder) word(w string) bool {
	if strings.HasPrefix(d.s[d.i:], w) {
		d.i += len(w)
		return true
	}
	return false
}

func (d *decoder) texts(to *[]string) bool {
	*to = []string{}
	return d.array(func() bool {
		var s string
		ok := d.text(&s)
		*to = append(*to, s)
		return ok
	})
}

// raw reads an object as it stands.
func (d *decoder) raw(to *json.RawMessage) bool {
	d.space()
	from, depth := d.i, 0
	for d.i < len(d.s) {
		switch d.s[d.i] {
		case '"':
			var skipped string
			if !d.text(&skipped) {
				return false
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		}
		if d.i++; depth == 0 {
			break
		}
	}
	*to = json.RawMessage(d.s[from:d.i])
	return depth == 0 && len(*to) > 1 && (*to)[0] == '{' && json.Valid(*to)
}

// record reads the whole line.
func (d *decoder) record(r *Record) bool {
	ok := d.object(func(key string) (int, bool) {
		switch key {
		case "v":
			return 0, d.int(&r.V)
		case "task":
			return 1, d.text(&r.Task)
		case "model":
			return 2, d.text(&r.Model)
		case "sample":
			return 3, d.text(&r.Sample)
		case "index":
			return 4, d.int(&r.Index)
		case "repeat":
			return 5, d.int(&r.Repeat)
		case "prompt":
			return 6, d.text(&r.Prompt)
		case "messages":
			r.Messages = []core.Message{}
			return 7, d.array(func() bool {
				var m core.Message
				ok := d.object(func(key string) (int, bool) {
					switch key {
					case "role":
						return 0, d.text(&m.Role)
					case "content":
						return 1, d.text(&m.Content)
					}
					return 0, false
				})
				r.Messages = append(r.Messages, m)
				return ok
			})
		case "continuations":
			return 8, d.texts(&r.Continuations)
		case "generation":
			r.Generation = &Generation{}
			return 9, d.generation(r.Generation)
		case "prompt_cut":
			return 10, d.int(&r.PromptCut)
		case "targets":
			return 11, d.texts(&r.Targets)
		case "fields":
			return 12, d.raw(&r.Fields)
		case "response":
			return 13, d.text(&r.Response)
		case "finish":
			return 14, d.text((*string)(&r.Finish))
		case "likelihoods":
			r.Likelihoods = []core.Likelihood{}
			return 15, d.array(func() bool {
				var l core.Likelihood
				ok := d.likelihood(&l)
				r.Likelihoods = append(r.Likelihoods, l)
				return ok
			})
		case "extracted":
			r.Extracted = new(string)
			return 16, d.text(r.Extracted)
		case "extract_failed":
			return 17, d.bool(&r.ExtractFailed)
		case "extract_error":
			return 25, d.text(&r.ExtractError)
		case "scores":
			r.Scores = make([]Score, 0, 2)
			return 18, d.array(func() bool {
				var s Score
				ok := d.score(&s)
				r.Scores = append(r.Scores, s)
				return ok
			})
		case "usage":
			return 19, d.usage(&r.Usage)
		case "truncated":
			return 20, d.int(&r.Truncated)
		case "seconds":
			return 21, d.float(&r.Seconds)
		case "cost_usd":
			return 22, d.float(&r.CostUSD)
		case "cached":
			return 23, d.bool(&r.Cached)
		case "attempts":
			return 24, d.int(&r.Attempts)
		case "cluster":
			return 25, d.text(&r.Cluster)
		case "gold":
			r.Gold = []int{}
			return 26, d.array(func() bool {
				n := 0
				ok := d.int(&n)
				r.Gold = append(r.Gold, n)
				return ok
			})
		}
		return 0, false // an error of the service, or what this version does not know
	})
	d.space()
	return ok && d.i == len(d.s)
}

func (d *decoder) usage(u *core.Usage) bool {
	return d.object(func(key string) (int, bool) {
		switch key {
		case "prompt":
			return 0, d.int(&u.Prompt)
		case "completion":
			return 1, d.int(&u.Completion)
		case "shared":
			return 2, d.int(&u.Shared)
		}
		return 0, false
	})
}

func (d *decoder) likelihood(l *core.Likelihood) bool {
	return d.object(func(key string) (int, bool) {
		switch key {
		case "logprob":
			return 0, d.float(&l.LogProb)
		case "tokens":
			return 1, d.int(&l.Tokens)
		case "greedy":
			return 2, d.bool(&l.Greedy)
		}
		return 0, false
	})
}

func (d *decoder) score(s *Score) bool {
	return d.object(func(key string) (int, bool) {
		switch key {
		case "metric":
			return 0, d.text(&s.Metric)
		case "profile":
			return 1, d.text((*string)(&s.Profile))
		case "value":
			return 2, d.wide(&s.Value)
		case "extracted":
			return 3, d.text(&s.Extracted)
		case "failed":
			return 4, d.bool(&s.Failed)
		case "dropped":
			return 5, d.bool(&s.Dropped)
		case "skipped":
			return 6, d.text(&s.Skipped)
		case "warning":
			return 7, d.text(&s.Warning)
		case "note":
			return 8, d.text(&s.Note)
		case "parts":
			s.Parts = map[string]float64{}
			return 9, d.numbers(s.Parts)
		}
		return 0, false
	})
}

// numbers reads an object of numbers; of a name that comes twice the last
// counts, as in encoding/json.
func (d *decoder) numbers(to map[string]float64) bool {
	n := -1
	return d.object(func(key string) (int, bool) {
		var v float64
		ok := d.float(&v)
		to[key] = v
		n++
		return n, ok && n < 64
	})
}

func (d *decoder) generation(g *Generation) bool {
	return d.object(func(key string) (int, bool) {
		switch key {
		case "max_tokens":
			return 0, d.int(&g.MaxTokens)
		case "temperature":
			return 1, d.float(&g.Temperature)
		case "top_p":
			return 2, d.float(&g.TopP)
		case "top_k":
			return 3, d.int(&g.TopK)
		case "min_p":
			return 4, d.float(&g.MinP)
		case "repetition_penalty":
			return 5, d.float(&g.RepetitionPenalty)
		case "frequency_penalty":
			return 6, d.float(&g.FrequencyPenalty)
		case "presence_penalty":
			return 7, d.float(&g.PresencePenalty)
		case "seed":
			return 8, d.uint64(&g.Seed)
		case "stop":
			return 9, d.texts(&g.Stop)
		}
		return 0, false
	})
}

package demogen

import (
	"embed"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
)

//go:embed words/*.txt
var wordFiles embed.FS

// A World is a closed vocabulary with its own sentence templates. The two
// worlds share only the general English words of words/common.txt (good, not,
// because, ...): entities, content nouns and sentence templates are disjoint.
type World int

const (
	// TrainWorld is the world the demonstration model learns from.
	TrainWorld World = iota
	// EvalWorld is the world of the generated evaluation rows.
	EvalWorld
)

func (w World) String() string {
	if w == EvalWorld {
		return "eval"
	}
	return "train"
}

// ParseWorld is the inverse of String.
func ParseWorld(s string) (World, error) {
	switch s {
	case "train":
		return TrainWorld, nil
	case "eval":
		return EvalWorld, nil
	}
	return 0, fmt.Errorf("world %q: want train or eval", s)
}

// lexicon maps a list's name to its entries.
type lexicon map[string][]string

// parseLexicon reads the word list format: "@name" opens a list ("@+name" goes
// on with one of an earlier file), a line that
// starts with "- " is one entry, any other line holds entries separated by
// commas, "#" opens a comment line.
func parseLexicon(file, text string) (lexicon, error) {
	lex := lexicon{}
	name := ""
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "@"):
			name = strings.TrimSpace(line[1:])
			if _, dup := lex[name]; dup {
				return nil, fmt.Errorf("%s:%d: list %q is there twice", file, i+1, name)
			}
			lex[name] = nil
		case name == "":
			return nil, fmt.Errorf("%s:%d: entry before the first list", file, i+1)
		case strings.HasPrefix(line, "- "):
			lex[name] = append(lex[name], strings.TrimSpace(line[2:]))
		default:
			for _, e := range strings.Split(line, ",") {
				if e = strings.TrimSpace(e); e != "" {
					lex[name] = append(lex[name], e)
				}
			}
		}
	}
	return lex, nil
}

// loadLexicon returns the lists of one world laid over the common ones.
func loadLexicon(w World) (lexicon, error) {
	all := lexicon{}
	files := []string{"common.txt", "train.txt", "train2.txt", "train3.txt", "train4.txt"}
	if w == EvalWorld {
		files = []string{"common.txt", "eval.txt"}
	}
	for _, f := range files {
		b, err := wordFiles.ReadFile("words/" + f)
		if err != nil {
			return nil, fmt.Errorf("reading word lists: %w", err)
		}
		lex, err := parseLexicon(f, string(b))
		if err != nil {
			return nil, err
		}
		for k, v := range lex {
			if len(v) == 0 {
				return nil, fmt.Errorf("%s: list %q is empty", f, k)
			}
			if base, more := strings.CutPrefix(k, "+"); more {
				all[base] = append(all[base], v...)
				continue
			}
			if _, dup := all[k]; dup {
				return nil, fmt.Errorf("%s: list %q stands in another file too", f, k)
			}
			all[k] = v
		}
	}
	return all, nil
}

// gen makes the rows of one world. It is not safe for concurrent use.
type gen struct {
	w    World
	r    *rand.Rand
	lex  lexicon
	bind map[string]string // values fixed for the row at hand
	err  error             // first missing list or malformed template
}

func newGen(w World, seed uint64, task string) (*gen, error) {
	lex, err := loadLexicon(w)
	if err != nil {
		return nil, err
	}
	h := uint64(1469598103934665603) // FNV-1a of the task name: one stream a task
	for _, c := range []byte(task) {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return &gen{w: w, r: rand.New(rand.NewPCG(seed, h+uint64(w))), lex: lex, bind: map[string]string{}}, nil
}

// reset forgets the values bound for the last row.
func (g *gen) reset()              { clear(g.bind) }
func (g *gen) n(lo, hi int) int    { return lo + g.r.IntN(hi-lo+1) }
func (g *gen) p(prob float64) bool { return g.r.Float64() < prob }
func (g *gen) set(k, v string)     { g.bind[k] = v }
func (g *gen) seti(k string, v int) {
	g.bind[k] = strconv.Itoa(v)
}

// of picks one of its arguments.
func (g *gen) of(s ...string) string { return s[g.r.IntN(len(s))] }

func (g *gen) fail(format string, a ...any) {
	if g.err == nil {
		g.err = fmt.Errorf(format, a...)
	}
}

// list returns a word list by name.
func (g *gen) list(name string) []string {
	l := g.lex[name]
	if len(l) == 0 {
		g.fail("%s world has no list %q", g.w, name)
		return []string{"?"}
	}
	return l
}

// some picks k different entries of a list.
func (g *gen) some(name string, k int) []string {
	l := g.list(name)
	perm := g.r.Perm(len(l))
	if k > len(perm) {
		k = len(perm)
	}
	out := make([]string, 0, k)
	for _, i := range perm[:k] {
		out = append(out, g.x(l[i]))
	}
	return out
}

// x expands a template: "{list}" an entry of a list (itself expanded),
// "{list.1}" the same with the value kept for the row and different from
// {list.2}, "{a-b}" a number from a to b, "{key}" a bound value,
// "{^...}" the same with a capital, "[p|q|]" one of the alternatives.
func (g *gen) x(t string) string {
	var b strings.Builder
	g.expand(&b, t, 0)
	return b.String()
}

// X expands a template and starts it with a capital letter.
func (g *gen) X(t string) string { return capital(g.x(t)) }

func (g *gen) expand(b *strings.Builder, t string, depth int) {
	if depth > 20 {
		g.fail("template %q nests too deep", t)
		return
	}
	for i := 0; i < len(t); i++ {
		switch t[i] {
		case '{':
			end := strings.IndexByte(t[i:], '}')
			if end < 0 {
				g.fail("template %q: { without }", t)
				return
			}
			b.WriteString(g.slot(t[i+1:i+end], depth))
			i += end
		case '[':
			alts, end := alternatives(t[i+1:])
			if end < 0 {
				g.fail("template %q: [ without ]", t)
				return
			}
			g.expand(b, alts[g.r.IntN(len(alts))], depth+1)
			i += end + 1
		default:
			b.WriteByte(t[i])
		}
	}
}

// alternatives splits "p|q]rest" at the bars of its own level; end is the
// index of the closing bracket, -1 when there is none.
func alternatives(t string) (alts []string, end int) {
	level, start := 0, 0
	for i := 0; i < len(t); i++ {
		switch t[i] {
		case '[':
			level++
		case ']':
			if level == 0 {
				return append(alts, t[start:i]), i
			}
			level--
		case '|':
			if level == 0 {
				alts = append(alts, t[start:i])
				start = i + 1
			}
		}
	}
	return nil, -1
}

func (g *gen) slot(name string, depth int) string {
	if strings.HasPrefix(name, "^") {
		return capital(g.slot(name[1:], depth))
	}
	if v, ok := g.bind[name]; ok {
		return v
	}
	base, key, bound := strings.Cut(name, ".")
	for try := 0; ; try++ {
		v := g.word(base, depth)
		if !bound {
			return v
		}
		if try < 50 && g.taken(base, v) {
			continue
		}
		g.bind[base+"."+key] = v
		return v
	}
}

// taken says whether another binding of the same list holds v already.
func (g *gen) taken(base, v string) bool {
	for k, w := range g.bind {
		if w == v && strings.HasPrefix(k, base+".") {
			return true
		}
	}
	return false
}

func (g *gen) word(name string, depth int) string {
	if lo, hi, ok := strings.Cut(name, "-"); ok {
		a, err1 := strconv.Atoi(lo)
		c, err2 := strconv.Atoi(hi)
		if err1 == nil && err2 == nil && c >= a {
			return strconv.Itoa(g.n(a, c))
		}
	}
	if v, ok := g.made(name); ok {
		return v
	}
	l := g.list(name)
	e := l[g.r.IntN(len(l))]
	if !strings.ContainsAny(e, "{[") {
		return e
	}
	var b strings.Builder
	g.expand(&b, e, depth+1)
	return b.String()
}

func capital(s string) string {
	if s == "" || s[0] < 'a' || s[0] > 'z' {
		return s
	}
	return string(s[0]-'a'+'A') + s[1:]
}

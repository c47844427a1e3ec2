package jinja

import (
	"fmt"
	"math/big"
	"sort"
	"strings"
	"unicode/utf8"

	"github.com/evalrun/evalrun/core/text"
)

// jsonWriter is Python's json.dumps.
type jsonWriter struct {
	r         *state
	b         strings.Builder
	ascii     bool // ensure_ascii
	indent    string
	pretty    bool // one item a line
	item, key string
	sorted    bool
	within    []any
}

// tojson is the filter: transformers' in its environment, else Jinja's, which
// sorts keys and escapes what HTML takes for markup.
func (r *state) tojson(v any, a *args) any {
	w := &jsonWriter{r: r, item: ", ", key: ": "}
	a = &args{append([]any{v}, a.pos...), a.kw}
	var p []any
	if r.t.opts.Transformers {
		p = a.bind("tojson", "x", "ensure_ascii?", "indent?", "separators?", "sort_keys?")
		w.ascii, w.sorted = truth(or(p[1], false)), truth(or(p[4], false))
	} else {
		p = a.bind("do_tojson", "value", "indent?")
		p = []any{p[0], nil, p[1], nil}
		w.ascii, w.sorted = true, true
	}
	if indent := or(p[2], nil); indent != nil {
		w.pretty, w.item = true, ","
		if s, ok := asStr(indent); ok {
			w.indent = s
		} else {
			n := max(wantInt(indent), 0)
			r.build(n)
			w.indent = strings.Repeat(" ", n)
		}
	}
	if sep := or(p[3], nil); sep != nil {
		pair := r.items(sep)
		if len(pair) != 2 {
			raise("ValueError", "separators must be a pair, got %d items", len(pair))
		}
		w.item, w.key = wantStr(pair[0], "separator must be str, not %s"), wantStr(pair[1], "separator must be str, not %s")
	}
	w.write(p[0], 0)
	if r.t.opts.Transformers {
		return w.b.String()
	}
	return markup(strings.NewReplacer("<", `\u003c`, ">", `\u003e`, "&", `\u0026`, "'", `\u0027`).Replace(w.b.String()))
}

func (w *jsonWriter) write(v any, depth int) {
	w.r.step(1)
	if w.b.Len() > w.r.t.opts.Limits.Bytes {
		w.r.build(w.b.Len())
	}
	switch x := v.(type) {
	case nil:
		w.b.WriteString("null")
	case bool:
		fmt.Fprint(&w.b, x)
	case int, *big.Int:
		w.b.WriteString(repr(v))
	case float64:
		w.b.WriteString(jsonFloat(x))
	case string:
		w.str(x)
	case markup:
		w.str(string(x))
	case *list:
		w.group('[', ']', v, len(x.items), depth, func(i int) { w.write(x.items[i], depth+1) })
	case tuple:
		w.group('[', ']', nil, len(x), depth, func(i int) { w.write(x[i], depth+1) })
	case group:
		w.write(x.tuple, depth)
	case *dict:
		order := make([]int, len(x.keys))
		for i := range order {
			order[i] = i
		}
		if w.sorted {
			sort.SliceStable(order, func(i, j int) bool { return w.r.less(x.keys[order[i]], x.keys[order[j]], "<") })
		}
		w.group('{', '}', v, len(order), depth, func(i int) {
			switch k := x.keys[order[i]].(type) {
			case string:
				w.str(k)
			case markup:
				w.str(string(k))
			case nil:
				w.str("null")
			case bool:
				w.str(fmt.Sprint(k))
			case int, *big.Int:
				w.str(repr(k))
			case float64:
				w.str(jsonFloat(k))
			default:
				raise("TypeError", "keys must be str, int, float, bool or None, not %s", typeName(k))
			}
			w.b.WriteString(w.key)
			w.write(x.vals[order[i]], depth+1)
		})
	default:
		raise("TypeError", "Object of type %s is not JSON serializable", typeName(v))
	}
}

func jsonFloat(f float64) string {
	switch s := text.FormatFloat(f); s {
	case "nan":
		return "NaN"
	case "inf":
		return "Infinity"
	case "-inf":
		return "-Infinity"
	default:
		return s
	}
}

func (w *jsonWriter) group(open, end byte, self any, n, depth int, at func(i int)) {
	w.b.WriteByte(open)
	if n > 0 {
		if depth > maxInput {
			raise("RecursionError", "maximum recursion depth exceeded while encoding a JSON object")
		}
		for _, v := range w.within {
			if v != nil && v == self {
				raise("ValueError", "Circular reference detected")
			}
		}
		w.within = append(w.within, self)
		for i := range n {
			if i > 0 {
				w.b.WriteString(w.item)
			}
			w.newline(depth + 1)
			at(i)
		}
		w.within = w.within[:len(w.within)-1]
		w.newline(depth)
	}
	w.b.WriteByte(end)
}

func (w *jsonWriter) newline(depth int) {
	if w.pretty {
		w.r.build(w.b.Len() + depth*len(w.indent))
		w.b.WriteByte('\n')
		w.b.WriteString(strings.Repeat(w.indent, depth))
	}
}

func (w *jsonWriter) str(s string) {
	w.b.WriteByte('"')
	for i := 0; i < len(s); {
		c, width := utf8.DecodeRuneInString(s[i:])
		switch {
		case c == '"' || c == '\\':
			w.b.WriteByte('\\')
			w.b.WriteRune(c)
		case c == '\n':
			w.b.WriteString(`\n`)
		case c == '\r':
			w.b.WriteString(`\r`)
		case c == '\t':
			w.b.WriteString(`\t`)
		case c == '\b':
			w.b.WriteString(`\b`)
		case c == '\f':
			w.b.WriteString(`\f`)
		case c < 0x20 || w.ascii && c > 0x7e && c < 0x10000:
			fmt.Fprintf(&w.b, `\u%04x`, c)
		case w.ascii && c >= 0x10000:
			c -= 0x10000
			fmt.Fprintf(&w.b, `\u%04x\u%04x`, 0xd800+c>>10, 0xdc00+c&0x3ff)
		default:
			w.b.WriteString(s[i : i+width])
		}
		i += width
	}
	w.b.WriteByte('"')
}

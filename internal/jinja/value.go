package jinja

import (
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/evalrun/evalrun/core/text"
)

// A value of the language is nil (None), bool, int, *big.Int (outside the range
// of int only), float64, string, markup, *list, tuple, *dict or one of the
// types below and in call.go. Strings are UTF-8 and count in code points.
type (
	list  struct{ items []any }
	tuple []any
	// markup is a string that the filter "safe" or "escape" has marked.
	markup string
	// span is Python's range.
	span struct{ start, stop, step, n int }
	// view is what a dict's keys(), values() and items() return.
	view struct {
		d    *dict
		kind string
	}
	// stream is a generator: it can be walked once.
	stream struct {
		name string
		next func() (any, bool)
	}
	// undefined stands for what does not exist.
	undefined struct {
		kind   Undefined
		hint   string
		obj    any // of which name was looked up; where hasObj
		hasObj bool
		name   any
		exc    string // the exception's type; UndefinedError where ""
	}
	// namespace is the object whose attributes a template may set.
	namespace struct {
		d     *dict
		class string
	}
	group struct{ tuple } // what groupby yields: (grouper, list)
)

// dict is a Python dict: a hash table that keeps the order of insertion.
type dict struct {
	keys, vals []any
	index      map[any]int
}

func newDict() *dict { return &dict{index: map[any]int{}} }

// hashKey maps a value to a Go value that is equal just where Python's keys are
// equal: True, 1 and 1.0 are one key.
func hashKey(v any) any {
	switch x := v.(type) {
	case bool:
		if x {
			return 1
		}
		return 0
	case float64:
		if x == math.Trunc(x) && math.Abs(x) < 1<<62 {
			return int(x)
		}
		return x
	case *big.Int:
		return "\x00" + x.String()
	case markup:
		return string(x)
	case tuple:
		var b strings.Builder
		for _, item := range x {
			fmt.Fprintf(&b, "%T %v\x00", hashKey(item), hashKey(item))
		}
		return [1]string{b.String()}
	case group:
		return hashKey(x.tuple)
	case *list, *dict:
		raise("TypeError", "unhashable type: '%s'", typeName(v))
	case *undefined:
		x.use(x.kind == Strict)
		return undefined{kind: x.kind}
	}
	return v
}

func (d *dict) get(key any) (any, bool) {
	i, ok := d.index[hashKey(key)]
	if !ok {
		return nil, false
	}
	return d.vals[i], true
}

func (d *dict) set(key, v any) {
	h := hashKey(key)
	if i, ok := d.index[h]; ok {
		d.vals[i] = v
		return
	}
	d.index[h] = len(d.keys)
	d.keys, d.vals = append(d.keys, key), append(d.vals, v)
}

func (d *dict) remove(key any) {
	h := hashKey(key)
	at := d.index[h]
	delete(d.index, h)
	d.keys = append(d.keys[:at:at], d.keys[at+1:]...)
	d.vals = append(d.vals[:at:at], d.vals[at+1:]...)
	for k, i := range d.index {
		if i > at {
			d.index[k] = i - 1
		}
	}
}

func (d *dict) copy() *dict {
	c := newDict()
	for i, k := range d.keys {
		c.set(k, d.vals[i])
	}
	return c
}

func (d *dict) item(i int) any { return tuple{d.keys[i], d.vals[i]} }

// use fails where the undefined value may not be used in this way.
func (u *undefined) use(forbidden bool) {
	if forbidden {
		u.fail()
	}
}

func (u *undefined) fail() {
	kind := u.exc
	if kind == "" {
		kind = "UndefinedError"
	}
	raise(kind, "%s", u.message())
}

func (u *undefined) message() string {
	switch {
	case u.hint != "":
		return u.hint
	case !u.hasObj:
		return text.Repr(u.name) + " is undefined"
	}
	if name, ok := u.name.(string); ok {
		return text.Repr(objectName(u.obj)) + " has no attribute " + text.Repr(name)
	}
	return objectName(u.obj) + " has no element " + repr(u.name)
}

// str is what printing u gives.
func (u *undefined) str() string {
	switch u.kind {
	case Strict:
		u.fail()
	case Debug:
		message := ""
		switch {
		case u.hint != "":
			message = "undefined value printed: " + u.hint
		case !u.hasObj:
			message = str(u.name)
		default:
			message = "no such element: " + objectName(u.obj) + "[" + repr(u.name) + "]"
		}
		return "{{ " + message + " }}"
	}
	return ""
}

// objectName is Jinja's name for the type of a value in its messages.
func objectName(v any) string {
	switch x := v.(type) {
	case nil:
		return "None"
	case *namespace:
		return x.class + " object"
	case *macro:
		return "jinja2.runtime.Macro object"
	case *loop:
		return "jinja2.runtime.LoopContext object"
	case *cycler:
		return "jinja2.utils.Cycler object"
	case *joiner:
		return "jinja2.utils.Joiner object"
	case markup:
		return "markupsafe.Markup object"
	}
	return typeName(v) + " object"
}

// typeName is the name of a value's Python type.
func typeName(v any) string {
	switch x := v.(type) {
	case nil:
		return "NoneType"
	case bool:
		return "bool"
	case int, *big.Int:
		return "int"
	case float64:
		return "float"
	case string:
		return "str"
	case markup:
		return "Markup"
	case *list:
		return "list"
	case tuple:
		return "tuple"
	case group:
		return "_GroupTuple"
	case *dict:
		return "dict"
	case *span:
		return "range"
	case *view:
		return "dict_" + x.kind
	case *stream:
		return "generator"
	case *undefined:
		return [...]string{"Undefined", "StrictUndefined", "ChainableUndefined", "DebugUndefined"}[x.kind]
	case *namespace:
		return x.class[strings.LastIndexByte(x.class, '.')+1:]
	case *macro:
		return "Macro"
	case *loop:
		return "LoopContext"
	case *builtin:
		return x.class
	case *cycler:
		return "Cycler"
	case *joiner:
		return "Joiner"
	}
	return "object"
}

// maxInput bounds the nesting of values given to a template.
const maxInput = 500

// fromGo turns a Go value into a value of the language.
func (r *state) fromGo(v any, depth int) any {
	if depth > maxInput {
		raise("LimitError", "a value nested more than %d deep", maxInput)
	}
	switch x := v.(type) {
	case nil, bool, int, float64, string, *list, tuple, *dict, *undefined:
		return x
	case int8:
		return int(x)
	case int16:
		return int(x)
	case int32:
		return int(x)
	case int64:
		return int(x)
	case uint8:
		return int(x)
	case uint16:
		return int(x)
	case uint32:
		return int(x)
	case uint:
		return normInt(new(big.Int).SetUint64(uint64(x)))
	case uint64:
		return normInt(new(big.Int).SetUint64(x))
	case float32:
		return float64(x)
	case *big.Int:
		return normInt(x)
	case json.Number:
		if n, ok := new(big.Int).SetString(x.String(), 10); ok {
			return normInt(n)
		}
		f, _ := strconv.ParseFloat(x.String(), 64)
		return f
	case []string:
		l := &list{make([]any, len(x))}
		for i, s := range x {
			l.items[i] = s
		}
		return l
	case []any:
		l := &list{make([]any, len(x))}
		for i, item := range x {
			l.items[i] = r.fromGo(item, depth+1)
		}
		return l
	case text.Dict:
		d := newDict()
		for _, p := range x {
			d.set(r.fromGo(p.Key, depth+1), r.fromGo(p.Value, depth+1))
		}
		return d
	case map[string]any:
		keys := make([]string, 0, len(x))
		for k := range x {
			keys = append(keys, k)
		}
		sort.Strings(keys)
		d := newDict()
		for _, k := range keys {
			d.set(k, r.fromGo(x[k], depth+1))
		}
		return d
	}
	raise("TypeError", "a template cannot take a value of Go type %T", v)
	return nil
}

// toGo turns a value of the language into what a Filter takes.
func toGo(v any) any {
	switch x := v.(type) {
	case markup:
		return string(x)
	case *list:
		items := make([]any, len(x.items))
		for i, item := range x.items {
			items[i] = toGo(item)
		}
		return items
	case tuple:
		items := make([]any, len(x))
		for i, item := range x {
			items[i] = toGo(item)
		}
		return items
	case *dict:
		d := make(text.Dict, len(x.keys))
		for i, k := range x.keys {
			d[i] = text.Pair{Key: toGo(k), Value: toGo(x.vals[i])}
		}
		return d
	case *undefined:
		x.use(x.kind == Strict)
		return nil
	}
	return v
}

// normInt is n as an int where it fits.
func normInt(n *big.Int) any {
	if n.IsInt64() {
		return int(n.Int64())
	}
	return n
}

// truth is Python's bool(v).
func truth(v any) bool {
	switch x := v.(type) {
	case nil:
		return false
	case bool:
		return x
	case int:
		return x != 0
	case *big.Int:
		return x.Sign() != 0
	case float64:
		return x != 0
	case string:
		return x != ""
	case markup:
		return x != ""
	case *list:
		return len(x.items) > 0
	case tuple:
		return len(x) > 0
	case *dict:
		return len(x.keys) > 0
	case *span:
		return x.n > 0
	case *view:
		return len(x.d.keys) > 0
	case *loop:
		return x.length() > 0
	case *undefined:
		x.use(x.kind == Strict)
		return false
	}
	return true
}

// length is Python's len(v); ok is false where it has none.
func length(v any) (n int, ok bool) {
	switch x := v.(type) {
	case string:
		return utf8.RuneCountInString(x), true
	case markup:
		return utf8.RuneCountInString(string(x)), true
	case *list:
		return len(x.items), true
	case tuple:
		return len(x), true
	case group:
		return len(x.tuple), true
	case *dict:
		return len(x.keys), true
	case *span:
		return x.n, true
	case *view:
		return len(x.d.keys), true
	case *loop:
		return x.length(), true
	case *undefined:
		x.use(x.kind == Strict)
		return 0, true
	}
	return 0, false
}

// asStr reports the text of a str or Markup.
func asStr(v any) (string, bool) {
	switch x := v.(type) {
	case string:
		return x, true
	case markup:
		return string(x), true
	}
	return "", false
}

package jinja

import (
	"fmt"
	"math/big"
	"strings"

	"github.com/evalrun/evalrun/core/text"
)

// maxDigits is CPython's limit on the digits of an int that is printed.
const maxDigits = 4300

// str is Python's str(v).
func str(v any) string {
	switch x := v.(type) {
	case string:
		return x
	case markup:
		return string(x)
	case *undefined:
		return x.str()
	}
	return repr(v)
}

// repr is Python's repr(v).
func repr(v any) string {
	var b strings.Builder
	writeRepr(&b, v, nil)
	return b.String()
}

// writeRepr prints v; within are the containers that hold it.
func writeRepr(b *strings.Builder, v any, within []any) {
	if b.Len() > 1<<26 {
		raise("LimitError", "a value prints to more than %d bytes", 1<<26)
	}
	items := func(open, end string, n int, at func(i int)) {
		for _, w := range within {
			if w == v {
				b.WriteString(open + "..." + end)
				return
			}
		}
		if len(within) > maxInput {
			raise("RecursionError", "maximum recursion depth exceeded while getting the repr of an object")
		}
		b.WriteString(open)
		for i := range n {
			if i > 0 {
				b.WriteString(", ")
			}
			at(i)
		}
		b.WriteString(end)
	}
	switch x := v.(type) {
	case *big.Int:
		if x.BitLen() > 15000 || len(x.String()) > maxDigits {
			raise("ValueError", "Exceeds the limit (%d digits) for integer string conversion; use sys.set_int_max_str_digits() to increase the limit", maxDigits)
		}
		b.WriteString(x.String())
	case markup:
		b.WriteString("Markup(" + text.Repr(string(x)) + ")")
	case *list:
		items("[", "]", len(x.items), func(i int) { writeRepr(b, x.items[i], append(within, v)) })
	case tuple:
		b.WriteByte('(')
		for i, item := range x {
			if i > 0 {
				b.WriteString(", ")
			}
			writeRepr(b, item, append(within, nil))
		}
		if len(x) == 1 {
			b.WriteByte(',')
		}
		b.WriteByte(')')
	case group:
		writeRepr(b, x.tuple, within)
	case *dict:
		items("{", "}", len(x.keys), func(i int) {
			writeRepr(b, x.keys[i], append(within, v))
			b.WriteString(": ")
			writeRepr(b, x.vals[i], append(within, v))
		})
	case *view:
		b.WriteString("dict_" + x.kind + "(")
		items("[", "]", len(x.d.keys), func(i int) {
			switch x.kind {
			case "keys":
				writeRepr(b, x.d.keys[i], append(within, v))
			case "values":
				writeRepr(b, x.d.vals[i], append(within, v))
			default:
				writeRepr(b, x.d.item(i), append(within, v))
			}
		})
		b.WriteByte(')')
	case *span:
		if x.step == 1 {
			fmt.Fprintf(b, "range(%d, %d)", x.start, x.stop)
		} else {
			fmt.Fprintf(b, "range(%d, %d, %d)", x.start, x.stop, x.step)
		}
	case *undefined:
		b.WriteString("Undefined")
	case *namespace:
		b.WriteString("<Namespace ")
		writeRepr(b, x.d, append(within, v))
		b.WriteByte('>')
	case *macro:
		b.WriteString("<Macro " + text.Repr(x.def.name) + ">")
	case *loop:
		fmt.Fprintf(b, "<LoopContext %d/%d>", x.index0+1, x.length())
	case *stream:
		b.WriteString("<generator object " + x.name + " at 0x7f0000000000>") // an address, as Python has it
	case *builtin:
		b.WriteString("<" + x.class + " " + x.name + ">")
	case *cycler, *joiner:
		b.WriteString("<" + objectName(v) + ">")
	default:
		b.WriteString(text.Repr(v))
	}
}

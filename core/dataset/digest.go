package dataset

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"math"
	"slices"
	"strconv"
)

// Digest hashes selected rows as they pass. What is hashed is one line a row,
//
//	[ID,ROW]\n
//
// in canonical JSON: no blanks, keys of objects sorted by their bytes, texts
// unescaped except for ", \ and control characters (\u00xx), integers in digits,
// other numbers as the shortest decimal that reads back as the same float64 and
// always with a point or an exponent (so that 1 and 1.0 differ), NaN and the
// infinities as the texts "NaN", "Infinity" and "-Infinity", bytes that are no
// text in base64 behind "base64:". A Digest is for one goroutine.
type Digest struct {
	h    hash.Hash
	rows int
	buf  []byte
}

// NewDigest starts with no rows.
func NewDigest() *Digest { return &Digest{h: sha256.New()} }

// Add takes the next row. It fails for values that no row can hold.
func (d *Digest) Add(id string, row Row) error {
	d.buf = append(d.buf[:0], '[')
	d.buf = appendText(d.buf, id)
	d.buf = append(d.buf, ',')
	var err error
	if d.buf, err = appendCanonical(d.buf, row, 0); err != nil {
		return err
	}
	d.buf = append(d.buf, ']', '\n')
	d.h.Write(d.buf)
	d.rows++
	return nil
}

// Rows taken so far.
func (d *Digest) Rows() int { return d.rows }

// Sum of the rows taken so far, in hexadecimal digits.
func (d *Digest) Sum() string { return hex.EncodeToString(d.h.Sum(nil)) }

// Canonical gives the canonical JSON of one value; see [Digest].
func Canonical(v any) ([]byte, error) { return appendCanonical(nil, v, 0) }

func appendCanonical(b []byte, v any, depth int) ([]byte, error) {
	if depth > maxDepth {
		return b, fmt.Errorf("a value is nested deeper than %d", maxDepth)
	}
	var err error
	switch x := v.(type) {
	case nil:
		return append(b, "null"...), nil
	case bool:
		return strconv.AppendBool(b, x), nil
	case string:
		return appendText(b, x), nil
	case int:
		return strconv.AppendInt(b, int64(x), 10), nil
	case int64:
		return strconv.AppendInt(b, x, 10), nil
	case json.Number:
		return append(b, x...), nil
	case float64:
		return appendFloat(b, x), nil
	case []byte:
		return appendText(b, "base64:"+base64.StdEncoding.EncodeToString(x)), nil
	case []any:
		b = append(b, '[')
		for i, e := range x {
			if i > 0 {
				b = append(b, ',')
			}
			if b, err = appendCanonical(b, e, depth+1); err != nil {
				return b, err
			}
		}
		return append(b, ']'), nil
	case map[string]any:
		keys := make([]string, 0, len(x))
		for k := range x {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		b = append(b, '{')
		for i, k := range keys {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendText(b, k), ':')
			if b, err = appendCanonical(b, x[k], depth+1); err != nil {
				return b, err
			}
		}
		return append(b, '}'), nil
	}
	return b, fmt.Errorf("a value of the type %T has no canonical form", v)
}

func appendFloat(b []byte, f float64) []byte {
	switch {
	case math.IsNaN(f):
		return append(b, `"NaN"`...)
	case math.IsInf(f, 1):
		return append(b, `"Infinity"`...)
	case math.IsInf(f, -1):
		return append(b, `"-Infinity"`...)
	}
	from := len(b)
	b = strconv.AppendFloat(b, f, 'g', -1, 64)
	for _, c := range b[from:] {
		if c == '.' || c == 'e' {
			return b
		}
	}
	return append(b, ".0"...)
}

func appendText(b []byte, s string) []byte {
	b = append(b, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < 0x20:
			b = fmt.Appendf(b, `\u%04x`, c)
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}

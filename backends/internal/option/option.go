// Package option reads a backend's settings out of core.Config.Options: text
// values by name. Every key must be asked for; what is left over is a mistake
// of the user's and is named together with the nearest key that exists.
package option

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/internal/nearest"
)

// A Reader hands out options and remembers the first mistake. It is used by
// one goroutine.
type Reader struct {
	backend string
	values  map[string]string
	known   []string
	err     error
}

// Read starts reading the options of the named backend.
func Read(backend string, values map[string]string) *Reader {
	return &Reader{backend: backend, values: values}
}

func (r *Reader) take(key string) (string, bool) {
	r.known = append(r.known, key)
	v, ok := r.values[key]
	return v, ok
}

func (r *Reader) fail(key, value, want string) {
	if r.err == nil {
		r.err = &core.UserError{
			Where:   "backend " + r.backend + ", option " + key,
			Message: fmt.Sprintf("%q is not %s", value, want),
			Hint:    fmt.Sprintf("give %s as %s", key, want),
		}
	}
}

// String gives a text, or def where the key is absent.
func (r *Reader) String(key, def string) string {
	if v, ok := r.take(key); ok {
		return v
	}
	return def
}

// OneOf gives one of the listed words; the first is the default.
func (r *Reader) OneOf(key string, words ...string) string {
	v, ok := r.take(key)
	if !ok {
		return words[0]
	}
	if !slices.Contains(words, v) {
		r.fail(key, v, "one of "+strings.Join(words, ", "))
		return words[0]
	}
	return v
}

// Int gives a whole number that is at least low.
func (r *Reader) Int(key string, def, low int) int {
	v, ok := r.take(key)
	if !ok {
		return def
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < low {
		r.fail(key, v, fmt.Sprintf("a whole number from %d", low))
		return def
	}
	return n
}

// Float gives a finite number between low and high.
func (r *Reader) Float(key string, def, low, high float64) float64 {
	v, ok := r.take(key)
	if !ok {
		return def
	}
	f, err := strconv.ParseFloat(v, 64)
	if err != nil || math.IsNaN(f) || f < low || f > high || math.IsInf(f, 0) {
		want := fmt.Sprintf("a number from %g to %g", low, high)
		if math.IsInf(high, 1) {
			want = fmt.Sprintf("a number from %g", low)
		}
		r.fail(key, v, want)
		return def
	}
	return f
}

// Has tells whether the user set the key. It does not count as asking for it.
func (r *Reader) Has(key string) bool { _, ok := r.values[key]; return ok }

// Bool gives true or false.
func (r *Reader) Bool(key string, def bool) bool {
	v, ok := r.take(key)
	if !ok {
		return def
	}
	b, err := strconv.ParseBool(v)
	if err != nil {
		r.fail(key, v, "true or false")
		return def
	}
	return b
}

// Duration gives a time such as 120s or 2m; a bare number counts seconds.
func (r *Reader) Duration(key string, def time.Duration) time.Duration {
	v, ok := r.take(key)
	if !ok {
		return def
	}
	d, err := time.ParseDuration(v)
	if err != nil {
		var s float64
		if s, err = strconv.ParseFloat(v, 64); err == nil && s >= 0 && s < 1e9 {
			d = time.Duration(s * float64(time.Second))
		}
	}
	if err != nil || d < 0 {
		r.fail(key, v, "a time such as 90s or 2m")
		return def
	}
	return d
}

// Err gives the first mistake, or an unknown key. It is called last.
func (r *Reader) Err() error {
	if r.err != nil {
		return r.err
	}
	var unknown []string
	for key := range r.values {
		if !slices.Contains(r.known, key) {
			unknown = append(unknown, key)
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	slices.Sort(unknown)
	hint := "backend " + r.backend + " takes no options"
	if len(r.known) > 0 {
		slices.Sort(r.known)
		hint = "its options are " + strings.Join(r.known, ", ")
		if near := nearest.Word(unknown[0], r.known); near != "" {
			hint = "did you mean " + near + "? " + hint
		}
	}
	return &core.UserError{
		Where:   "backend " + r.backend,
		Message: fmt.Sprintf("unknown option %q", unknown[0]),
		Hint:    hint,
	}
}

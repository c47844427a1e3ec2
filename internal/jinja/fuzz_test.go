package jinja_test

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/evalrun/evalrun/internal/jinja"
)

// small bounds that a fuzzer can afford.
var small = jinja.Limits{Steps: 200_000, Bytes: 1 << 20, Depth: 50}

// FuzzRender: any template ends in time, with text or an *Error, and does so
// twice alike.
func FuzzRender(f *testing.F) {
	data, err := os.ReadFile("testdata/snippets.jsonl")
	if err != nil {
		f.Fatal(err)
	}
	for i, line := range strings.Split(string(data), "\n") {
		if i > 0 && i%10 == 0 && line != "" {
			source, _, _ := strings.Cut(strings.TrimPrefix(line, `{"source": "`), `", "environments"`)
			f.Add(strings.NewReplacer(`\n`, "\n", `\"`, `"`, `\\`, `\`).Replace(source))
		}
	}
	vars := map[string]any{"n": 7, "s": "Hello", "l": []any{3, 1, 2}, "d": map[string]any{"a": 1}, "messages": []any{map[string]any{"role": "user", "content": "hi"}}}
	f.Fuzz(func(t *testing.T, source string) {
		for _, opts := range []jinja.Options{{Undefined: jinja.Strict}, jinja.Chat()} {
			opts.Limits = small
			start := time.Now()
			tmpl, err := jinja.Parse(source, opts)
			if err == nil {
				var out, again string
				out, err = tmpl.Render(vars)
				if err == nil && !strings.Contains(source, "strftime") {
					if again, err = tmpl.Render(vars); again != out {
						t.Errorf("two answers: %q, %q", out, again)
					}
				}
			}
			var e *jinja.Error
			if err != nil && (!errors.As(err, &e) || e.Type == "Bug") {
				t.Errorf("%v", err)
			}
			if d := time.Since(start); d > 5*time.Second {
				t.Errorf("took %v", d)
			}
		}
	})
}

// TestHostile: each template would run for ever, use up memory or overflow the
// stack; each ends at once in an error that says so.
func TestHostile(t *testing.T) {
	deep := func(open, inner, end string, n int) string {
		return strings.Repeat(open, n) + inner + strings.Repeat(end, n)
	}
	for _, source := range []string{
		"{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
		"{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}",
		"{% for i in range(99999) %}{% for j in range(99999) %}{% for k in range(99999) %}{% endfor %}{% endfor %}{% endfor %}",
		"{{ 'a' * 1000000000000 }}", "{{ [1] * 1000000000000 }}", "{{ (1, 2) * 10 ** 18 }}", "{{ 9 ** (9 ** 9) }}", "{{ 2 ** (10 ** 100) }}",
		"{% set ns = namespace(s='aaaaaaaa') %}{% for i in range(1000) %}{% set ns.s = ns.s + ns.s %}{% endfor %}{{ ns.s }}",
		"{% set ns = namespace(s='aaaaaaaa') %}{% for i in range(1000) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
		"{% set ns = namespace(s='aaaaaaaa') %}{% for i in range(1000) %}{% set ns.s = ns.s.replace('a', 'aaaa') %}{% endfor %}",
		"{% set ns = namespace(l=[1]) %}{% for i in range(1000) %}{% set ns.l = ns.l + ns.l %}{% endfor %}",
		"{% set ns = namespace(l=[1]) %}{% for i in range(100000) %}{% set ns.l = [ns.l] %}{% endfor %}{{ ns.l }}",
		"{% set ns = namespace(l=[1]) %}{% for i in range(100000) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l }}",
		"{% set ns = namespace(l=[1]) %}{% for i in range(100) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l | tojson }}",
		"{% set ns = namespace(l=[1], m=[1]) %}{% for i in range(100) %}{% set ns.l = [ns.l, ns.l] %}{% set ns.m = [ns.m, ns.m] %}{% endfor %}{{ ns.l == ns.m }}",
		"{% set ns = namespace(n=7) %}{% for i in range(1000) %}{% set ns.n = ns.n * ns.n %}{% endfor %}",
		"{{ 'x'.center(10 ** 15) }}", "{{ 'x'.zfill(10 ** 12) }}", "{{ '%1000000000000d' % 1 }}", "{{ '{:1000000000000}'.format(1) }}", "{{ '%.1000000000f' % 1 }}",
		"{{ 'a\nb' | indent(10 ** 12) }}", "{{ [1] | batch(10 ** 15, 0) | list }}", "{{ range(10 ** 9) | list }}", "{{ range(99999) | map('center', 99999) | join }}",
		"{% for i in range(99999) %}" + strings.Repeat("x", 4000) + "{% endfor %}",
		"{% for x in [[]] recursive %}{{ loop([[]]) }}{% endfor %}",
		"{{ " + deep("(", "1", ")", 20_000) + " }}", "{{ " + deep("[", "1", "]", 20_000) + " }}", "{{ " + strings.Repeat("-", 20_000) + "1 }}", "{{ " + strings.Repeat("not ", 20_000) + "1 }}",
		deep("{% if 1 %}", "x", "{% endif %}", 20_000), deep("{% for i in [1] %}", "x", "{% endfor %}", 20_000), "{{ 1" + strings.Repeat(" + 1", 20_000) + " }}", "{{ x" + strings.Repeat(" | list", 20_000) + " }}", "{{ x" + strings.Repeat("[0]", 20_000) + " }}",
		"{{ 1 if 1" + strings.Repeat(" else 1 if 0", 20_000) + " else 2 }}", "{% set " + deep("(", "a", ")", 20_000) + " = 1 %}",
	} {
		start := time.Now()
		opts := jinja.Chat()
		opts.Limits.Steps = 500_000
		tmpl, err := jinja.Parse(source, opts)
		if err == nil {
			_, err = tmpl.Render(map[string]any{"x": []any{}})
		}
		var e *jinja.Error
		if !errors.As(err, &e) {
			t.Errorf("%.80q: %v", source, err)
			continue
		}
		if e.Type != "LimitError" && e.Type != "OverflowError" && e.Type != "RecursionError" && e.Type != "ValueError" {
			t.Errorf("%.80q: %v", source, err)
		}
		if d := time.Since(start); d > 8*time.Second {
			t.Errorf("%.80q took %v", source, d)
		}
	}
	// A list that holds itself prints and compares.
	tmpl, err := jinja.Parse("{% set x = [1] %}{% set _ = x.append(x) %}{{ x }}{{ x == x }}{{ x in x }}", jinja.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := tmpl.Render(nil); err != nil || got != "[1, [...]]TrueTrue" {
		t.Errorf("got %q, %v", got, err)
	}
}

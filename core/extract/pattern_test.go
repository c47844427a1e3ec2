package extract

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/evalrun/evalrun/internal/shared"
)

func TestAgainstPython(t *testing.T) {
	rows := 0
	for line := range shared.Lines(t, "golden", "scoring", "regex.jsonl") {
		var row struct {
			Pattern, Flags, Text, Kind string
			Error                      string
			Catastrophic               bool
			Match                      *struct {
				Groups []*string
				Spans  [][2]int
				Named  map[string]*string
			}
			Findall  []any
			Finditer [][2]int `json:"finditer_spans"`
		}
		if err := json.Unmarshal(line, &row); err != nil {
			t.Fatal(err)
		}
		rows++
		if row.Catastrophic && testing.Short() {
			continue
		}
		t.Run(fmt.Sprintf("%03d %s", rows, row.Kind), func(t *testing.T) {
			if row.Catastrophic {
				t.Parallel()
			}
			timeout := time.Second
			if row.Catastrophic {
				timeout = 200 * time.Millisecond
			}
			p, err := Compile(row.Pattern, row.Flags, timeout)
			if row.Error != "" {
				if err == nil {
					t.Fatalf("%q compiled; Python: %s", row.Pattern, row.Error)
				}
				if err.Error() != row.Error {
					t.Errorf("%q: %q; Python: %q", row.Pattern, err, row.Error)
				}
				return
			}
			if err != nil {
				t.Fatalf("%q: %v", row.Pattern, err)
			}
			if row.Catastrophic {
				start := time.Now()
				m, err := p.Search(row.Text)
				if took := time.Since(start); took > 3*time.Second {
					t.Errorf("took %v", took)
				}
				if !errors.Is(err, ErrTimeout) && (err != nil || m != nil) {
					t.Errorf("%q: %v %v", row.Pattern, m, err)
				}
				return
			}
			m, err := p.Search(row.Text)
			if err != nil {
				t.Fatal(err)
			}
			if (m == nil) != (row.Match == nil) {
				t.Fatalf("%q on %q: match %v, Python %v", row.Pattern, row.Text, m, row.Match)
			}
			if m != nil {
				if !slices.Equal(m.Spans, row.Match.Spans) {
					t.Errorf("%q on %q: spans %v, Python %v", row.Pattern, row.Text, m.Spans, row.Match.Spans)
				}
				for i, want := range row.Match.Groups {
					if m.Took(i) != (want != nil) || want != nil && m.Groups[i] != *want {
						t.Errorf("%q on %q: group %d %q, Python %v", row.Pattern, row.Text, i, m.Groups[i], want)
					}
				}
				for name, want := range row.Match.Named {
					i, ok := p.GroupNamed(name)
					if !ok || m.Took(i) != (want != nil) || want != nil && m.Groups[i] != *want {
						t.Errorf("%q on %q: group %s differs", row.Pattern, row.Text, name)
					}
				}
			}
			all, err := p.FindAll(row.Text)
			if err != nil {
				t.Fatal(err)
			}
			var spans [][2]int
			var found []any
			for _, m := range all {
				spans = append(spans, m.Spans[0])
				switch p.Groups() {
				case 0, 1:
					found = append(found, m.Groups[p.Groups()])
				default:
					var groups []any
					for _, g := range m.Groups[1:] {
						groups = append(groups, g)
					}
					found = append(found, groups)
				}
			}
			if !slices.Equal(spans, row.Finditer) {
				t.Errorf("%q on %q: spans of all %v, Python %v", row.Pattern, row.Text, spans, row.Finditer)
			}
			if len(found)+len(row.Findall) > 0 && !reflect.DeepEqual(found, row.Findall) {
				t.Errorf("%q on %q: findall %q, Python %q", row.Pattern, row.Text, found, row.Findall)
			}
		})
	}
	if rows == 0 {
		t.Error("no rows")
	}
}

// What CPython 3.11 answers, beyond the big file.
func TestSearch(t *testing.T) {
	for _, c := range []struct {
		pattern, flags, text string
		want                 string // fmt of the spans, "" for no match
	}{
		{`|a`, "", "a", "[[0 0]]"},
		{`(?i)k`, "", "\u212a", "[[0 1]]"},
		{`(?ai)k`, "", "\u212a", ""},
		{`[^\W\d]+`, "", "12ab3", "[[2 4]]"},
		{`[\W_]+`, "", "ab_-c", "[[2 4]]"},
		{`(?<=[^\W])x`, "", "-xax", "[[3 4]]"},
		{`\B`, "", "", ""},
		{`a{,2}b`, "", "aaab", "[[1 4]]"},
		{`a{2`, "", "a{2", "[[0 3]]"},
		{`(a)?(?(1)b|c)`, "", "c", "[[0 1] [-1 -1]]"},
		{`(?P<x>.)(?P=x)`, "", "😀😀", "[[0 2] [0 1]]"},
		{`\N{EM DASH}`, "", "a—", "[[1 2]]"},
		{`[a-\d]`, "", "-", "error"},
		{`[]-a]`, "", "]", "[[0 1]]"},
		{`(?x) a # c` + "\n b", "", "ab", "[[0 2]]"},
		{`(?x:a b)c d`, "", "abc d", "[[0 5]]"},
		{"(?x) a # \\\n b\nc", "", "ac", "[[0 2]]"}, // a backslash takes the line end with it
		{`a # \`, "x", "a", "error"},
		{`a(?# \) b)c`, "", "ac", "[[0 2]]"},
		{`x*+x`, "", "xxx", ""},
		{`\x41\u0042\U00000043\103`, "", "ABCC", "[[0 4]]"},
		{`[^\n]*\Z`, "", "a\n", "[[2 2]]"},
		{`a$`, "", "a\n", "[[0 1]]"},
		{`(?s:.)(?-s:.)`, "s", "a\nb", "[[1 3]]"},
		{`(?:a|b)|c(?i)`, "", "", "error"},
		{`(?:)`, "q", "", "error"},
		{`(?(2)a)(b)`, "", "", "error"},
		{`(?<=(a)\1)b`, "", "", "error"},
		{strings.Repeat("(", 500), "", "", "error"},
		{`a{99999999999}`, "", "", "error"},
		{"\xff", "", "", "error"},
		{`\1`, "", "", "error"},
		{`(?au)a`, "", "", "error"},
	} {
		p, err := Compile(c.pattern, c.flags, 0)
		got := ""
		if err != nil {
			var pe *PatternError
			if !errors.As(err, &pe) {
				t.Errorf("%q: the error is a %T", c.pattern, err)
			}
			got = "error"
		} else if m, err := p.Search(c.text); err != nil {
			t.Errorf("%q: %v", c.pattern, err)
		} else if m != nil {
			got = fmt.Sprint(m.Spans)
		}
		if got != c.want {
			t.Errorf("%q on %q: %s (%v), Python %s", c.pattern, c.text, got, err, c.want)
		}
	}
}

func TestSelect(t *testing.T) {
	p, err := Compile(`(\d+)|x`, "", 0)
	if err != nil {
		t.Fatal(err)
	}
	for n, want := range map[int]string{0: "1", 1: "x", 2: "3", 3: "", -1: "3", -3: "1", -4: ""} {
		m, err := p.Select("1 x 3", n)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if m != nil {
			got = m.Groups[0]
		}
		if got != want {
			t.Errorf("match %d is %q, want %q", n, got, want)
		}
	}
	// Bytes that are no UTF-8 come out as they went in.
	q, _ := Compile(`b(.+)d`, "", 0)
	if m, err := q.Search("é\xffb\xfec\xfdd"); err != nil || m == nil || m.Groups[1] != "\xfec\xfd" {
		t.Errorf("invalid UTF-8: %v %v", m, err)
	}
}

func FuzzCompile(f *testing.F) {
	for _, s := range []string{`(a+)+$`, `(?P<n>a)(?P=n)`, `[^\W\d-]+?`, `(?i)[a-z]{2,}`, `(?<=ab)c|(?!d)\b`, `(?(1)a|b)()`,
		`\N{DIGIT ONE}\07\x41`, `(?x) a #`, `(?-i:a)*+`, `[]]`, `((`, `{}`} {
		f.Add(s, "aAb\n1")
	}
	f.Fuzz(func(t *testing.T, pattern, text string) {
		if len(pattern) > 200 || strings.Contains(pattern, `\N`) {
			return // a search for a character name takes its time
		}
		p, err := Compile(pattern, "", 50*time.Millisecond)
		if err != nil {
			var pe *PatternError
			if !errors.As(err, &pe) {
				t.Fatalf("the error is a %T", err)
			}
			if strings.HasPrefix(pe.Message, "engine") {
				t.Fatalf("%q: %v", pattern, err)
			}
			return
		}
		all, err := p.FindAll(text)
		if err != nil && !errors.Is(err, ErrTimeout) {
			t.Fatal(err)
		}
		for _, m := range all {
			if n := len([]rune(text)); m.Spans[0][0] < 0 || m.Spans[0][1] > n || m.Spans[0][0] > m.Spans[0][1] {
				t.Fatalf("%q: span %v of %d", pattern, m.Spans[0], n)
			}
		}
	})
}

func ExampleCompile() {
	p, err := Compile(`(?P<sign>-?)(?P<digits>\d++)`, "", 0)
	if err != nil {
		fmt.Println(err)
		return
	}
	m, err := p.Select("from 7 to -12", -1)
	if err != nil || m == nil {
		fmt.Println(m, err)
		return
	}
	fmt.Println(m.Groups, m.Spans[0])
	_, err = Compile(`(?<=a|bc)x`, "", 0)
	fmt.Println(err)
	// Output:
	// [-12 - 12] [10 13]
	// look-behind requires fixed-width pattern
}

// A gsm8k answer of about a thousand characters.
func BenchmarkSelectLast(b *testing.B) {
	p, err := Compile(`(-?[$0-9.,]{2,})|(-?[0-9]+)`, "", 0)
	if err != nil {
		b.Fatal(err)
	}
	text := strings.Repeat("She sells 16 eggs, eats 3 and bakes with 4 of them. ", 20) + "#### 18"
	for b.Loop() {
		if m, err := p.Select(text, -1); err != nil || m.Groups[0] != "18" {
			b.Fatal(m, err)
		}
	}
}

package train

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/evalrun/evalrun/backends/local/chat"
)

// letters is a tokenizer of bytes; ^ begins and $ ends a text where their names
// are no text.
type letters struct{}

func (letters) Encode(text string, special, literal bool) (ids []int32, err error) {
	if special {
		ids = append(ids, '^')
	}
	for _, c := range []byte(text) {
		if literal && (c == '^' || c == '$') {
			c += 128
		}
		ids = append(ids, int32(c))
	}
	return ids, nil
}
func (letters) BOS() (int32, bool)            { return '^', true }
func (letters) EOS() (int32, bool)            { return '$', true }
func (letters) Token(id int32) (string, bool) { return string(rune(id)), true }

// shown writes an example, what is learned of it in brackets.
func shown(e Example) string {
	var b strings.Builder
	for i, id := range e.IDs {
		c := string(rune(id))
		if id > 128 {
			c = "\\" + string(rune(id-128))
		}
		if e.Labels[i] == id {
			c = "[" + c + "]"
		} else if e.Labels[i] != Ignored {
			c = "wrong label"
		}
		b.WriteString(c)
	}
	return strings.ReplaceAll(b.String(), "][", "")
}

// What becomes of rows, by preset and limits; none is lost without a word.
func TestEncode(t *testing.T) {
	for _, c := range []struct {
		preset         string
		prompt, total  int
		row            Row
		want           string // example, or the reason why there is none
		truncated, cut int
	}{
		{"modern", 0, 0, Row{Prompt: "ab", Completion: "cd"}, "^ab[cd$]", 0, 0},
		{"paper", 0, 0, Row{Prompt: "ab", Completion: "cd"}, "^ab[^cd$]", 0, 0},
		{"modern", 0, 0, Row{Prompt: "^a$b", Completion: "c^$d$"}, `^a\$b[c\^\$d$]`, 0, 0},
		{"modern", 0, 0, Row{Completion: "cd"}, "^[cd$]", 0, 0},
		// A long prompt keeps its beginning, or BOS and its end.
		{"paper", 4, 99, Row{Prompt: "abcdef", Completion: "x"}, "^abc[^x$]", 1, 0},
		{"modern", 4, 99, Row{Prompt: "abcdef", Completion: "x"}, "^def[x$]", 1, 0},
		{"modern", 0, 6, Row{Prompt: "abcdef", Completion: "x"}, "^def[x$]", 1, 0},
		// A target that does not fit is cut as Ludwig cuts it, or left out.
		{"paper", 4, 6, Row{Prompt: "abcdef", Completion: "xyz"}, "^abc[^x]", 1, 1},
		{"paper", 4, 4, Row{Prompt: "abcdef", Completion: "xyz"}, "r: nothing of its target fits into 4 tokens", 1, 0},
		{"modern", 0, 4, Row{Prompt: "ab", Completion: "wxyz"}, "r: its target of 5 tokens does not fit into 4 with a prompt", 0, 0},
		// Nothing to learn.
		{"modern", 0, 0, Row{Prompt: "ab"}, "r: its completion is empty", 0, 0},
		{"paper", 0, 0, Row{Prompt: "ab", Completion: " \n"}, "r: its completion is empty", 0, 0},
		{"modern", 0, 0, Row{Prompt: "ab", Completion: "$"}, "r: its completion is empty", 0, 0},
		{"modern", 0, 0, Row{Unfit: "no turn"}, "r: no turn", 0, 0},
		{"modern", 0, 5, Row{Segments: []Segment{{Text: "abcdefg"}, {Text: "xy", Learned: true}}}, "afg[xy]", 1, 0},
		{"paper", 0, 3, Row{Segments: []Segment{{Text: "a"}, {Text: "x", Learned: true}, {Text: "bcd"}, {Text: "y", Learned: true, End: true}}}, "a[x]b", 0, 1},
	} {
		r, err := Preset(c.preset)
		if err != nil {
			t.Fatal(err)
		}
		r.PromptTokens, r.TotalTokens = c.prompt, c.total
		c.row.ID = "r"
		e, err := r.Encode([]Row{c.row}, chat.NewWriter(letters{}, nil), letters{}, 1000)
		if err != nil {
			t.Fatal(err)
		}
		got := strings.Join(e.Left, "; ")
		if len(e.Examples) == 1 {
			got += shown(e.Examples[0])
		}
		if got != c.want || e.Truncated != c.truncated || e.Cut != c.cut {
			t.Errorf("%s %d %d %+v:\n got %s, %d truncated, %d cut\nwant %s, %d, %d", c.preset, c.prompt, c.total, c.row, got, e.Truncated, e.Cut, c.want, c.truncated, c.cut)
		}
	}
}

// Limits that the recipe leaves open: of 95 in a hundred rows, or the context.
func TestEncodeLimits(t *testing.T) {
	var rows []Row
	for i := range 100 {
		rows = append(rows, Row{ID: fmt.Sprint(i), Prompt: strings.Repeat("p", i), Completion: "c"})
	}
	for preset, want := range map[string][2]int{"paper": {95, 98}, "modern": {0, 60}} {
		r, err := Preset(preset)
		if err != nil {
			t.Fatal(err)
		}
		context := map[string]int{"paper": 1000, "modern": 60}[preset]
		e, err := r.Encode(rows, chat.NewWriter(letters{}, nil), letters{}, context)
		if err != nil || e.PromptTokens != want[0] || e.TotalTokens != want[1] || len(e.Examples) != 100 || len(e.Left) > 0 {
			t.Errorf("%s: limits %d and %d, %d examples, left %q, %v", preset, e.PromptTokens, e.TotalTokens, len(e.Examples), e.Left, err)
		}
		if !slices.IsSortedFunc(e.Examples, func(a, b Example) int { return len(a.IDs) - len(b.IDs) }) {
			t.Error("the order has changed")
		}
	}
}

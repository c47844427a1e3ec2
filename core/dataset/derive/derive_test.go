package derive

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/internal/shared"
)

// one evaluates a single expression over a row.
func one(t testing.TB, expression string, row map[string]any) (any, error) {
	t.Helper()
	c, err := Compile([]core.Column{{Name: "out", Expr: expression}}, nil, Options{})
	if err != nil {
		return nil, err
	}
	got, err := c.Apply(row, 7)
	if err != nil {
		return nil, err
	}
	return got["out"], nil
}

var sample = map[string]any{
	"question": "Which?", "split": "val", "label": int64(1), "text_label": "1", "score": 3.8, "none": nil, "ok": true,
	"choices": map[string]any{"text": []any{"red", "green", "blue"}, "label": []any{"A", "B", "C"}},
	"endings": []any{"e0", "e1", "e2", "e3"}, "json": "column named as a function", "odd name": "x",
	"tokens":   []any{"EU", "rejects", "German", "call", "by", "Peter", "Black", "New", "York"},
	"tags":     []any{int64(3), int64(0), int64(7), int64(0), int64(0), int64(1), int64(2), int64(6), int64(6)},
	"spans":    map[string]any{"spans": []any{"67.2"}},
	"segments": []any{map[string]any{"role": "agent", "say": "hello"}, map[string]any{"role": "caller", "say": "hi"}},
}

const nerNames = `["O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC", "B-MISC", "I-MISC"]`

func TestExpressions(t *testing.T) {
	tests := []struct {
		expression string
		want       any
	}{
		{`question`, "Which?"},
		{`split`, "val"}, // also the name of a function of the language
		{`split("a b", " ")`, []any{"a", "b"}},
		{`json`, "column named as a function"},
		{`json(ok) + json`, "truecolumn named as a function"},
		{`label + 1`, int64(2)},
		{`label == 1`, true},
		{`ok ? "yes" : "no"`, "yes"},
		{`endings[label]`, "e1"},
		{`endings[int(text_label)]`, "e1"},
		{`nth(endings, text_label)`, "e1"},
		{`nth(endings, -1)`, "e3"},
		{`["no", "yes"][label]`, "yes"},
		{`spans.spans[0]`, "67.2"},
		{`first(spans.spans)`, "67.2"},
		{`$env["odd name"]`, "x"},
		{`$env?.absent ?? "default"`, "default"},
		{`get($env, "absent") == nil`, true},
		{`none == nil`, true},
		{`let q = question; q + "!"`, "Which?!"},
		{`join(map(segments, .role + ": " + .say), "\n")`, "agent: hello\ncaller: hi"},
		{`map(endings, {len(#)})`, []any{int64(2), int64(2), int64(2), int64(2)}},
		{`filter(endings, # != "e1")`, []any{"e0", "e2", "e3"}},
		{`groupBy(endings, # == "e0" ? "first" : "rest")`, map[string]any{"first": []any{"e0"}, "rest": []any{"e1", "e2", "e3"}}},
		{`question matches "^W" and lower(question) contains "hich"`, true},
		{`pystr(score)`, "3.8"},
		{`pystr(4.0)`, "4.0"},
		{`pystr(ok)`, "True"},
		{`pystr(none)`, "None"},
		{`pystr(question)`, "Which?"},
		{`pystr(["it's", 'a "b"', 1, 2.5, nil, true])`, `["it's", 'a "b"', 1, 2.5, None, True]`},
		{`pystr(choices, ["text", "label"])`, "{'text': ['red', 'green', 'blue'], 'label': ['A', 'B', 'C']}"},
		{`json(choices)`, `{"label": ["A", "B", "C"], "text": ["red", "green", "blue"]}`},
		{`json({"b": 1, "a": [1.0, "é\n\u2028\"<", nil, false]}, ["b"])`, "{\"b\": 1, \"a\": [1.0, \"é\\n\u2028\\\"<\", null, false]}"},
		{`string(label) + string(1.5)`, "11.5"},
		{`keys({"b": 1, "a": 2})`, []any{"a", "b"}},
		{`values({"b": 1, "a": 2})`, []any{int64(2), int64(1)}},
		{`toPairs({"b": 1})`, []any{[]any{"b", int64(1)}}},
		{`uniq([2, 1, 2])`, []any{int64(2), int64(1)}},
		{`fromJSON('{"a": [1, 1.5]}').a`, []any{int64(1), 1.5}},
		{`replace("aXbX", "X", "-")`, "a-b-"},
		{`regex_replace("John Smith", "(\\w+) (\\w+)", "\\2, \\1")`, "Smith, John"},
		{`regex_replace("cost $5", "\\d", "$0$0")`, "cost $55"},
		{`regex_replace("aXb", upper("x"), "-")`, "a-b"},
		{`options(choices.text, choices.label)`, "A. red\nB. green\nC. blue"},
		{`options(endings)`, "A. e0\nB. e1\nC. e2\nD. e3"},
		{`options(endings, 0)`, "0. e0\n1. e1\n2. e2\n3. e3"},
		{`options(endings, "a")`, "a. e0\nb. e1\nc. e2\nd. e3"},
		{`options(["x"], 1)`, "1. x"},
		{`tag_lists(["a", "b", "c"], [1, 0, 2], ["O", "B-Chemical", "B-Disease", "I-Disease"])`, `{"B-Chemical": ["a"], "B-Disease": ["c"], "I-Disease": []}`},
		{`tag_lists(["a"], ["O"], ["O", "X"])`, `{"X": []}`},
		{`entity_lists(tokens, tags, ` + nerNames + `, {"PER": "person", "ORG": "organization", "LOC": "location", "MISC": "miscellaneous"})`,
			`{"person": ["Peter Black"], "organization": ["EU"], "location": ["New York"], "miscellaneous": ["German"]}`},
		{`entity_lists(["a", "b"], ["B-P", "B-P"], ["O", "B-P"], [["P", "p"], ["Q", "q"]])`, `{"p": ["a", "b"], "q": []}`},
		{`triples({"mtriple_set": [["a | b | c", "d | e | f"], ["other"]]})`, "a | b | c\nd | e | f"},
		{`triples(["a | b | c"])`, "a | b | c"},
		{`table_text({"header": ["x", "y"], "types": ["text", "real"], "rows": [["1", "2"], ["3", "4"]]}, 1)`, "x (text) | y (real)\n1 | 2"},
		{`table_text({"header": ["x", "y"]})`, "x | y"},
	}
	for _, tt := range tests {
		t.Run(tt.expression, func(t *testing.T) {
			got, err := one(t, tt.expression, sample)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %#v\nwant %#v", got, tt.want)
			}
		})
	}
}

func TestMistakes(t *testing.T) {
	tests := []struct {
		expression   string
		known        bool // whether the columns are known when it is compiled
		row          int  // −1: found when compiling
		line, column int
		message      string
		hint         string
	}{
		{`quesion + 1`, true, -1, 1, 1, `no column "quesion"`, `"question"`},
		{`quesion`, false, 7, 1, 1, `no column "quesion"`, `"question"`},
		{`label == 1 and
  $env["od name"]`, true, -1, 2, 8, `no column "od name"`, `"odd name"`},
		{`$env["od name"]`, false, 7, 1, 5, `no column "od name"`, `"odd name"`},
		{`optons(endings)`, true, -1, 1, 1, `no function or variable "optons"`, `"options"`},
		{`1 +`, false, -1, 1, 3, "unexpected token", ""},
		{`options()`, false, -1, 1, 1, "options(texts [, labels])", ""},
		{`nth(endings, 4)`, false, 7, 1, 1, "no element 4 in a list of 4", ""},
		{`endings[9]`, false, 7, 1, 8, "out of range", ""},
		{`"a" + 1`, false, -1, 1, 5, "mismatched types", ""},
		{`question + 1`, false, 7, 1, 10, "string + int", ""},
		{`now()`, false, -1, 1, 1, `"now"`, ""},
		{`toJSON(label)`, false, -1, 1, 1, `"toJSON"`, ""},
		{`__run`, false, -1, 1, 1, "reserved", ""},
		{`regex_replace(question, "(", "")`, false, -1, 1, 25, "does not compile", ""},
		{`regex_replace(question, question, "") + regex_replace(label, "a", "b")`, false, 7, 1, 41, "text is a number", ""},
		{`tag_lists(tokens, [1], ["O"])`, false, 7, 1, 1, "9 tokens but 1 tags", ""},
		{`tag_lists(["a"], [1], ["O"])`, false, 7, 1, 1, "not an index into the 1 names", ""},
		{`entity_lists(["a"], ["B-X"], ["O", "B-X"], {"Y": "y"})`, false, 7, 1, 1, `no tag name mentions the kind "Y"`, ""},
		{`len`, false, 7, 1, 1, `no column "len"`, "label"},
		{strings.Repeat("(", 20000), false, -1, 0, 0, "longer than", "several"},
	}
	var columns []string
	for name := range sample {
		columns = append(columns, name)
	}
	for _, tt := range tests {
		t.Run(tt.expression[:min(40, len(tt.expression))], func(t *testing.T) {
			var known []string
			if tt.known {
				known = columns
			}
			c, err := Compile([]core.Column{{Name: "out", Expr: tt.expression}}, known, Options{})
			if (err != nil) != (tt.row < 0) {
				t.Fatalf("compiling: %v", err)
			}
			if err == nil {
				_, err = c.Apply(sample, 7)
			}
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("got %v, want an *Error", err)
			}
			if e.Row != tt.row || e.Line != tt.line || e.Column != tt.column || !strings.Contains(e.Message, tt.message) || !strings.Contains(e.Hint, tt.hint) || e.Hint == "" {
				t.Errorf("row %d at %d:%d: %q (%q)", e.Row, e.Line, e.Column, e.Message, e.Hint)
			}
		})
	}
}

func TestColumnsInOrder(t *testing.T) {
	c, err := Compile([]core.Column{{Name: "a", Expr: "label + 1"}, {Name: "b", Expr: "a * 10"}, {Name: "label", Expr: "string(b)"}},
		[]string{"label"}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	row := map[string]any{"label": int64(1)}
	got, err := c.Apply(row, 0)
	if err != nil || fmt.Sprint(got) != "map[a:2 b:20 label:20]" || row["label"] != int64(1) || len(row) != 1 {
		t.Errorf("%v from %v, %v", got, row, err)
	}
	if fmt.Sprint(c.Uses(), c.Names()) != "[label] [a b label]" {
		t.Error(c.Uses(), c.Names())
	}
	if _, err := Compile([]core.Column{{Name: "a", Expr: "b"}, {Name: "b", Expr: "1"}}, []string{"label"}, Options{}); err == nil {
		t.Error("a column can use a later one")
	}
}

func TestFilter(t *testing.T) {
	for condition, want := range map[string]bool{"": true, "label == 1": true, `split == "train"`: false, `label in [0, 1] and not (question contains "?")`: false} {
		f, err := CompileFilter(condition, nil, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if keep, err := f.Keep(sample, 0); err != nil || keep != want {
			t.Errorf("%q: %v, %v", condition, keep, err)
		}
	}
	if _, err := CompileFilter("1 + 1", nil, Options{}); err == nil {
		t.Error("a number was accepted as a condition")
	}
	f, err := CompileFilter("label", nil, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if keep, err := f.Keep(sample, 3); err == nil || keep {
		t.Errorf("a number decided: %v", keep)
	}
}

// TestBounds runs expressions that would never end, or fill the memory.
func TestBounds(t *testing.T) {
	long := make([]any, 3000)
	for i := range long {
		long[i] = int64(i)
	}
	row := map[string]any{"long": long, "text": strings.Repeat("x", 1<<20)}
	doubled := "let a0 = text;"
	shared := "let b0 = [1, 1];"
	for i := range 40 {
		doubled += fmt.Sprintf("let a%d = a%d + a%d;", i+1, i, i)
		shared += fmt.Sprintf("let b%d = [b%d, b%d];", i+1, i, i)
	}
	for _, expression := range []string{
		`all(long, let x = #; all(long, let y = #; all(long, # + x + y >= 0)))`,
		`sum(map(long, sum(map(long, sum(map(long, 1))))))`,
		`reduce(long, #acc + "` + strings.Repeat("y", 4000) + `" + #acc, "")`,
		`map(1..10000000, #)`,
		doubled + "a40",
		shared + "json(b40)",
		shared + "b40",
		shared + "uniq(b40)",
		`replace(text, "", text)`,
		`replace(text, "x", text)`,
		`join(map(long, text), text)`,
		`regex_replace(text, "x", text)`,
	} {
		c, err := Compile([]core.Column{{Name: "out", Expr: expression}}, nil, Options{Time: 200 * time.Millisecond})
		if err != nil {
			t.Errorf("%.40s: %v", expression, err)
			continue
		}
		start := time.Now()
		_, err = c.Apply(row, 0)
		var e *Error
		if !errors.As(err, &e) {
			t.Errorf("%.40s: %v", expression, err)
		}
		if d := time.Since(start); d > 3*time.Second {
			t.Errorf("%.40s: took %v", expression, d)
		}
	}
}

func TestGoroutines(t *testing.T) {
	c, err := Compile([]core.Column{{Name: "out", Expr: `join(map(list, string(# * n)), ",")`}}, nil, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for n := range 8 {
		all.Go(func() {
			for range 200 {
				got, err := c.Apply(map[string]any{"list": []any{int64(1), int64(2)}, "n": int64(n)}, 0)
				if err != nil || got["out"] != fmt.Sprintf("%d,%d", n, 2*n) {
					t.Errorf("%v, %v", got["out"], err)
					return
				}
			}
		})
	}
	all.Wait()
}

// real reads rows that developers keep beside the repository.
func real(t *testing.T, file string) []map[string]any {
	t.Helper()
	var rows []map[string]any
	for line := range shared.Lines(t, "data", file) {
		v, err := fromJSON(string(line))
		if err != nil {
			t.Fatal(err)
		}
		rows = append(rows, v.(map[string]any))
	}
	return rows
}

// TestRealRows derives the columns of the report's tasks from every real row.
func TestRealRows(t *testing.T) {
	tests := []struct {
		file, expression string
		check            func(row map[string]any, out string) error
	}{
		{"bc5cdr/validation.jsonl", `tag_lists(tokens, tags, ["O", "B-Chemical", "B-Disease", "I-Disease", "I-Chemical"])`,
			func(row map[string]any, out string) error {
				var lists map[string][]string
				if err := json.Unmarshal([]byte(out), &lists); err != nil || len(lists) != 4 || !strings.HasPrefix(out, `{"B-Chemical": [`) {
					return fmt.Errorf("%v", err)
				}
				n := 0
				for _, tag := range row["tags"].([]any) {
					if tag != int64(0) {
						n++
					}
				}
				for _, l := range lists {
					n -= len(l)
				}
				if n != 0 {
					return fmt.Errorf("%d tokens are lost", n)
				}
				return nil
			}},
		{"conllpp/test.jsonl", `entity_lists(tokens, ner_tags, ` + nerNames + `, {"PER": "person", "ORG": "organization", "LOC": "location", "MISC": "miscellaneous"})`,
			func(row map[string]any, out string) error {
				var lists map[string][]string
				if err := json.Unmarshal([]byte(out), &lists); err != nil || len(lists) != 4 {
					return fmt.Errorf("%v", err)
				}
				begins, spans := 0, 0
				for _, tag := range row["ner_tags"].([]any) {
					if n := tag.(int64); n%2 == 1 {
						begins++
					}
				}
				words := fmt.Sprint(row["tokens"])
				for _, l := range lists {
					spans += len(l)
					for _, span := range l {
						if !strings.Contains(words, span) {
							return fmt.Errorf("%q is not in the sentence", span)
						}
					}
				}
				if begins != spans {
					return fmt.Errorf("%d spans, %d begin", spans, begins)
				}
				return nil
			}},
		{"webnlg/validation.jsonl", `triples(modified_triple_sets)`, func(row map[string]any, out string) error {
			if n := int64(strings.Count(out, "\n") + 1); n != row["size"] {
				return fmt.Errorf("%d triples, size %v", n, row["size"])
			}
			return nil
		}},
		{"webnlg/validation.jsonl", `first(lex.text)`, nil},
		{"wikisql/test.jsonl", `table_text(table)`, func(row map[string]any, out string) error {
			if strings.Count(out, "\n") > 3 || !strings.Contains(out, " (") {
				return fmt.Errorf("%q", out)
			}
			return nil
		}},
		{"wikisql/test.jsonl", `sql.human_readable`, nil},
		{"mmlu/validation.jsonl", `options(choices, 0)`, nil},
		{"mmlu/validation.jsonl", `choices[answer]`, nil},
		{"arc_combined/test.jsonl", `options(choices.text, choices.label)`, func(row map[string]any, out string) error {
			if !strings.Contains(out, row["answerKey"].(string)+". ") {
				return fmt.Errorf("the answer %v is no label", row["answerKey"])
			}
			return nil
		}},
		{"hellaswag/validation.jsonl", `endings[int(label)]`, nil},
		{"drop/validation.jsonl", `answers_spans.spans[0]`, nil},
		{"boolq/validation.jsonl", `answer ? "yes" : "no"`, nil},
		{"reuters/test.jsonl", `join(topics, ", ")`, nil},
		{"jigsaw/test.jsonl", `toxic == 1 ? "yes" : "no"`, nil},
		{"customer_support/sample.jsonl", `join(map(segments, .speaker_role + ": " + .human_transcript), "\n")`, nil},
		{"customer_support/sample.jsonl", `tasks[0].task_type`, nil},
		{"glue_stsb/validation.jsonl", `pystr(label)`, func(row map[string]any, out string) error {
			if !strings.Contains(out, ".") {
				return fmt.Errorf("%q has no point", out)
			}
			return nil
		}},
	}
	for _, tt := range tests {
		t.Run(tt.file+" "+tt.expression[:min(20, len(tt.expression))], func(t *testing.T) {
			rows := real(t, tt.file)
			var known []string
			for name := range rows[0] {
				known = append(known, name)
			}
			c, err := Compile([]core.Column{{Name: "out", Expr: tt.expression}}, known, Options{})
			if err != nil {
				t.Fatal(err)
			}
			for i, row := range rows {
				got, err := c.Apply(row, i)
				if err != nil {
					t.Fatal(err)
				}
				out, ok := got["out"].(string)
				if !ok {
					t.Fatalf("row %d gives %#v", i, got["out"])
				}
				if tt.check != nil {
					if err := tt.check(row, out); err != nil {
						t.Fatalf("row %d gives %q: %v", i, out, err)
					}
				}
			}
		})
	}
}

// FuzzExpression compiles and runs any text: a value of the types of rows, or an
// *Error, and the same again for the same row.
func FuzzExpression(f *testing.F) {
	for _, s := range []string{`options(endings)`, `label + score`, `map(endings, # + question)`, `let x = 1; x`, `$env["odd name"]`, `keys(choices)`, `groupBy(endings, #)`,
		`pystr(choices, ["text"])`, `{"a": [1, nil]}`, `question[0:2]`, `split ?? json`, `filter(segments, .role == "agent")[0]?.say`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, err := Compile([]core.Column{{Name: "out", Expr: s}}, nil, Options{Time: 100 * time.Millisecond, Elements: 10000})
		var e *Error
		if err != nil {
			if !errors.As(err, &e) || e.Message == "" || e.Hint == "" {
				t.Fatalf("%v", err)
			}
			return
		}
		first, err := c.Apply(sample, 0)
		if err != nil {
			if !errors.As(err, &e) || e.Message == "" || e.Hint == "" {
				t.Fatalf("%v", err)
			}
			return
		}
		w := writer{json: true}
		if err := w.value(first["out"]); err != nil && !errors.Is(err, errLong) && !strings.Contains(err.Error(), "nested") {
			t.Fatal(err)
		}
		again, err := c.Apply(sample, 0)
		w2 := writer{json: true}
		if err == nil {
			w2.value(again["out"])
		}
		if err == nil && w.b.String() != w2.b.String() {
			t.Fatalf("%q then %q", w.b.String(), w2.b.String())
		}
	})
}

func BenchmarkApply(b *testing.B) {
	c, err := Compile([]core.Column{{Name: "prompt", Expr: `options(choices.text, choices.label)`}, {Name: "answer", Expr: `ok ? "yes" : "no"`}}, nil, Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Apply(sample, 0); err != nil {
			b.Fatal(err)
		}
	}
}

// TestDocumented compares the table of transforms in the documentation with the
// code's own list.
func TestDocumented(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "data.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range Transforms() {
		if !strings.Contains(string(text), "`"+f.Form+"`") {
			t.Errorf("docs/data.md does not name %s", f.Form)
		}
		if f.Doc == "" {
			t.Errorf("%s has no description", f.Name)
		}
	}
}

func ExampleCompile() {
	columns, err := Compile([]core.Column{
		{Name: "choices", Expr: `options(endings, 1)`},
		{Name: "answer", Expr: `string(label + 1)`},
	}, []string{"endings", "label"}, Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	row, err := columns.Apply(map[string]any{"endings": []any{"sits down", "flies off"}, "label": int64(1)}, 0)
	fmt.Println(row["choices"], row["answer"], err)

	_, err = columns.Apply(map[string]any{"ending": nil, "label": int64(1)}, 5)
	fmt.Println(err)
	// Output:
	// 1. sits down
	// 2. flies off 2 <nil>
	// row 5: column "choices", 1:9: the row has no column "endings"
}

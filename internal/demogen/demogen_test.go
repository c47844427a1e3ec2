package demogen

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/evalrun/evalrun/core/dataset"
	"github.com/evalrun/evalrun/core/dataset/derive"
	"github.com/evalrun/evalrun/core/prompt"
	"github.com/evalrun/evalrun/tasks"
)

var taskFiles = os.DirFS("../../tasks")

// TestNoSharedGrams is the promise of the demonstration model: its training
// text shares no run of eight words with any embedded row, hand-written or
// generated, beyond what stands in the prompts themselves.
func TestNoSharedGrams(t *testing.T) {
	guard, err := NewGuard(taskFiles)
	if err != nil {
		t.Fatal(err)
	}
	if guard.Len() < 5000 {
		t.Fatalf("only %d runs of words in the rows: nothing to compare with", guard.Len())
	}
	unit := Unit
	if testing.Short() {
		unit = 20
	}
	n, bad := 0, 0
	err = Train(taskFiles, Options{Seed: Seed, Unit: unit}, func(e Example) error {
		n++
		if run, task := guard.Shared(e); run != "" && bad < 20 {
			bad++
			t.Errorf("training text of %s and a row of %s share %q", e.Task, task, run)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d examples against %d runs of eight words", n, guard.Len())
}

// TestGuardSees: a row's own text is caught wherever it stands.
func TestGuardSees(t *testing.T) {
	guard, err := NewGuard(taskFiles)
	if err != nil {
		t.Fatal(err)
	}
	b, err := fs.ReadFile(taskFiles, "rows/boolq.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	line, _, _ := bytes.Cut(b, []byte("\n"))
	var row struct{ Passage string }
	if err := json.Unmarshal(line, &row); err != nil {
		t.Fatal(err)
	}
	w := strings.Fields(row.Passage)
	if len(w) < 20 {
		t.Fatalf("passage %q is too short for this test", row.Passage)
	}
	for _, c := range []struct {
		text string
		want bool
	}{
		{"He said: " + strings.Join(w[5:16], " ") + " and left.", true},
		{strings.ToUpper(strings.Join(w[5:16], "  ")), true},
		{strings.Join(w[5:9], " ") + " zebra " + strings.Join(w[9:13], " "), false},
	} {
		if run, task := guard.Shared(Example{Prompt: c.text}); (run != "") != c.want {
			t.Errorf("%q: found %q of %q, want %v", c.text, run, task, c.want)
		}
	}
}

// TestTrainingText holds the text that the committed model learnt from.
func TestTrainingText(t *testing.T) {
	if testing.Short() {
		t.Skip("writes all of the training text")
	}
	h := sha256.New()
	if err := WriteTrain(h, taskFiles, Options{Seed: Seed, Unit: Unit}); err != nil {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != TrainSHA256 {
		t.Errorf("the training text has changed: sha256 %s, the committed model learnt from %s; train it again or take the change back", got, TrainSHA256)
	}
}

// TestRowsCommitted compares the generated lines of tasks/rows with what the
// generator makes.
func TestRowsCommitted(t *testing.T) {
	for _, name := range Names() {
		want, err := Rows(EvalWorld, name, Seed, EvalRows)
		if err != nil {
			t.Fatal(err)
		}
		b, err := fs.ReadFile(taskFiles, "rows/"+name+".jsonl")
		if err != nil {
			t.Fatal(err)
		}
		var got [][]byte
		for _, line := range bytes.Split(bytes.TrimSpace(b), []byte("\n")) {
			if bytes.Contains(line, []byte(`"_origin": "generated"`)) {
				got = append(got, line)
			} else if len(got) > 0 {
				t.Errorf("%s: a hand-written row below the generated ones", name)
			}
		}
		if !slices.EqualFunc(got, want, bytes.Equal) {
			t.Errorf("%s: the generated rows differ; run: go run ./internal/demogen/cmd/demogen rows -write", name)
		}
	}
}

// TestSameRoad puts generated rows of both worlds through the product's own
// reading, derived columns and prompts, and compares with the training text's.
func TestSameRoad(t *testing.T) {
	for _, w := range []World{TrainWorld, EvalWorld} {
		for _, tg := range taskGens {
			f, err := tasks.Load(tg.name, tasks.Options{})
			if err != nil {
				t.Fatal(err)
			}
			cols, err := derive.Compile(f.Task.Columns, nil, derive.Options{})
			if err != nil {
				t.Fatal(err)
			}
			tmpl, target, err := readForm(taskFiles, tg.name)
			if err != nil {
				t.Fatal(err)
			}
			g, err := newGen(w, 7, tg.name)
			if err != nil {
				t.Fatal(err)
			}
			for range 25 {
				g.reset()
				it := tg.gen(g)
				if g.err != nil {
					t.Fatalf("%s: %v", tg.name, g.err)
				}
				line, err := it.jsonLine()
				if err != nil {
					t.Fatal(err)
				}
				src, err := dataset.Text("row.jsonl", string(line))
				if err != nil {
					t.Fatal(err)
				}
				for r, err := range src.Rows(context.Background()) {
					if err != nil {
						t.Fatalf("%s: %v in %s", tg.name, err, line)
					}
					fields, err := cols.Apply(r, 0)
					if err != nil {
						t.Fatalf("%s: %v in %s", tg.name, err, line)
					}
					want, err := tmpl.Render(fields)
					if err != nil {
						t.Fatal(err)
					}
					wantTarget, err := prompt.Target(fields, f.Task.Target)
					if err != nil {
						t.Fatal(err)
					}
					own := map[string]any{}
					for _, c := range tmpl.Columns() {
						own[c.Name], _ = it.field(c.Name)
					}
					got, err := tmpl.Render(own)
					if err != nil {
						t.Fatal(err)
					}
					gotTarget, _ := it.field(target)
					if got != want || gotTarget != wantTarget[0] {
						t.Fatalf("%s: the training text has\n%s\n-> %q\nthe product\n%s\n-> %q", tg.name, got, gotTarget, want, wantTarget)
					}
				}
			}
		}
	}
}

// TestWorlds checks that the two worlds share no entry of any list but the
// common ones, and that every template of both expands.
func TestWorlds(t *testing.T) {
	train, err := loadLexicon(TrainWorld)
	if err != nil {
		t.Fatal(err)
	}
	eval, err := loadLexicon(EvalWorld)
	if err != nil {
		t.Fatal(err)
	}
	b, err := wordFiles.ReadFile("words/common.txt")
	if err != nil {
		t.Fatal(err)
	}
	common, err := parseLexicon("common.txt", string(b))
	if err != nil {
		t.Fatal(err)
	}
	// Labels and references to other lists are no content.
	free := map[string]bool{"grain": true, "tellkind": true, "csname": true, "cs_money": true, "vowel": true, "s_person": true,
		"s_country": true, "cov_place": true, "tl_co": true}
	for name, l := range train {
		if _, ok := common[name]; ok || free[name] {
			continue
		}
		for _, e := range l {
			if slices.Contains(eval[name], e) {
				t.Errorf("both worlds have %q in list %s", e, name)
			}
		}
	}
	for name := range eval {
		if _, ok := train[name]; !ok && !strings.HasPrefix(name, "s_") {
			t.Errorf("only the eval world has list %s", name)
		}
	}
}

// TestBalance: a constant answer must not look good.
func TestBalance(t *testing.T) {
	for _, name := range []string{"glue_sst2", "glue_mnli", "arc_combined", "boolq", "winogrande", "jigsaw"} {
		n := 16
		lines, err := Rows(EvalWorld, name, Seed, n)
		if err != nil {
			t.Fatal(err)
		}
		count := map[string]int{}
		for _, l := range lines {
			var r map[string]any
			if err := json.Unmarshal(l, &r); err != nil {
				t.Fatal(err)
			}
			for _, c := range []string{"label", "answer", "answerKey", "toxic"} {
				if v, ok := r[c]; ok {
					s, _ := json.Marshal(v)
					count[string(s)]++
				}
			}
		}
		for label, k := range count {
			if k > (n+balanced[name]-1)/balanced[name] {
				t.Errorf("%s: label %s stands in %d of %d rows", name, label, k, n)
			}
		}
	}
}

func TestLexicon(t *testing.T) {
	for _, c := range []struct{ text, err string }{
		{"a, b", "before the first list"},
		{"@x\n@x\n", "twice"},
		{"# c\n@x\na, b\n- p, q\n", ""},
	} {
		_, err := parseLexicon("f", c.text)
		if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%q: %v, want %q", c.text, err, c.err)
		}
	}
	lex, err := parseLexicon("f", "@x\na, b\n- p, q\n@+y\nz\n")
	if err != nil || !slices.Equal(lex["x"], []string{"a", "b", "p, q"}) || len(lex["+y"]) != 1 {
		t.Errorf("got %v, %v", lex, err)
	}
}

func TestExpand(t *testing.T) {
	g, err := newGen(TrainWorld, 1, "t")
	if err != nil {
		t.Fatal(err)
	}
	g.lex = lexicon{"w": {"a", "b"}, "loop": {"{loop}"}}
	for range 50 {
		g.reset()
		if s := g.x("{w.1}{w.2}{w.1}"); s != "aba" && s != "bab" {
			t.Fatalf("bound words: %q", s)
		}
		if s := g.x("{^w}[x|y[z|]|]"); !slices.Contains([]string{"Ax", "Bx", "Ay", "By", "Ayz", "Byz", "A", "B"}, s) {
			t.Fatalf("alternatives: %q", s)
		}
		if s := g.x("{3-4}"); s != "3" && s != "4" {
			t.Fatalf("number: %q", s)
		}
	}
	if g.err != nil {
		t.Fatal(g.err)
	}
	for _, bad := range []string{"{w", "[a|b", "{none}", "{loop}"} {
		g.err = nil
		g.x(bad)
		if g.err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

func FuzzExpand(f *testing.F) {
	for _, s := range []string{"{w.1} [a|b[c]] {1-9}", "{^w}", "[", "{", "{9-1}", "]|}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		g := &gen{w: TrainWorld, r: rand.New(rand.NewPCG(1, 2)), lex: lexicon{"w": {"a", "{v}"}, "v": {"b"}}, bind: map[string]string{}}
		g.x(s)
	})
}

func FuzzParseLexicon(f *testing.F) {
	f.Add("@x\na, b\n- c\n# d\n")
	f.Fuzz(func(t *testing.T, s string) {
		lex, err := parseLexicon("f", s)
		if err != nil {
			return
		}
		for _, l := range lex {
			if slices.Contains(l, "") {
				t.Errorf("empty entry in %q", l)
			}
		}
	})
}

func ExampleRows() {
	rows, err := Rows(EvalWorld, "glue_cola", Seed, EvalRows)
	if err != nil {
		fmt.Println(err)
		return
	}
	var row struct{ Sentence string }
	err = json.Unmarshal(rows[0], &row)
	fmt.Println(len(rows), row.Sentence != "", err)
	// Output: 16 true <nil>
}

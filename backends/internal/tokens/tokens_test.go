package tokens

import (
	"strings"
	"testing"

	"github.com/tiktoken-go/tokenizer"

	"github.com/evalrun/evalrun/core"
)

func TestOfAgainstCl100k(t *testing.T) {
	codec, err := tokenizer.Get(tokenizer.Cl100kBase)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"prose":   "The committee, which had met twice in the spring, decided to postpone its recommendation until the figures for 2023 were known.",
		"code":    "for i := 0; i < len(values); i++ {\n\tsum += values[i] * weight\n}\nreturn sum / float64(len(values))\n",
		"json":    `{"name": "Naproxen", "kind": "Chemical", "offsets": [0, 8], "score": 0.9371}`,
		"table":   "id | year | winner\n1 | 1994 | Lee\n2 | 1998 | Kim\n3 | 2002 | Ito\n",
		"french":  "Ceci est une phrase ordinaire, écrite à la hâte, où l'on trouve des accents.",
		"russian": "Это обычное предложение на русском языке, не слишком длинное.",
		"chinese": "这是一个测试句子，用来检查分词的数量。",
		"emoji":   "🎉🎊🎁🚀🙂",
	} {
		want, err := codec.Count(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := float64(Of(text)) / float64(want); got < 0.85 || got > 1.6 {
			t.Errorf("%s: %d guessed, %d counted", name, Of(text), want)
		}
	}
	if n := Of(""); n != 0 {
		t.Errorf("nothing has %d tokens", n)
	}
}

func TestPrompt(t *testing.T) {
	one := Prompt(&core.Request{Kind: core.Generate, Prompt: "one two three"})
	if one != 3 {
		t.Errorf("prompt: %d", one)
	}
	if n := Prompt(&core.Request{Kind: core.Generate, Messages: []core.Message{{Role: "user", Content: "one two three"}}}); n != 10 {
		t.Errorf("messages: %d", n)
	}
	if n := Prompt(&core.Request{Kind: core.ScoreText, Prompt: "one two three", Continuations: []string{" a", " b"}}); n < 8 {
		t.Errorf("score: %d", n)
	}
}

func FuzzOf(f *testing.F) {
	f.Add("a b")
	f.Add("\xff\x00\u2028")
	f.Fuzz(func(t *testing.T, s string) {
		if n := Of(s); n < 0 || n > 3*len(s)+1 || (n == 0) != (strings.Trim(s, " ") == "" && len(s) < 2) {
			t.Errorf("%q has %d tokens", s, n)
		}
	})
}

func BenchmarkOf(b *testing.B) {
	text := strings.Repeat("The committee decided to postpone its recommendation. ", 40)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		Of(text)
	}
}

package tokenizer

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/evalrun/evalrun/internal/shared"
)

// english is running text of about n bytes in which words repeat as they do in
// prose: each is drawn by a small generator from a vocabulary with a long tail.
func english(n int) string {
	words := strings.Fields(`the of and to in a is that for it as was with be by on not he his but at are this have from or had an they which one you were her all she there would their we him been has when who will more no if out so said what up its about into than them can only other new some could time these two may then do first any my now such like our over man me even most made after also did many before must through back years where much your way well down should because each just those people how too little state good very make world still own see men work long get here between both life being under never day same another know while last might us great old year off come since against go came right used take three`)
	tail := strings.Fields(`administration knowledgeable international unquestionable photosynthesis characteristic extraordinarily neighbourhood Mediterranean incomprehensible thermodynamics archaeological bureaucratic constitutional philosophical hypothesis quantitative Shakespeare 1984 3.14159 e-mail self-evident co-operation`)
	var b strings.Builder
	state := uint32(1)
	next := func(n int) int {
		state = state*1664525 + 1013904223
		return int(state>>8) % n
	}
	for b.Len() < n {
		switch k := next(100); {
		case k < 6:
			b.WriteString(tail[next(len(tail))])
		case k < 14:
			b.WriteString(words[next(len(words))] + words[next(len(words))])
		default:
			b.WriteString(words[next(len(words))])
		}
		switch k := next(20); {
		case k == 0:
			b.WriteString(".\n\n")
		case k < 3:
			b.WriteString(", ")
		case k == 3:
			b.WriteString(". The ")
		default:
			b.WriteByte(' ')
		}
	}
	return b.String()
}

// BenchmarkEncode prints MB/s on one core; the aim is 20. testdata/peer.py prints
// what Hugging Face tokenizers does with the same text (1 to 4), tiktoken-go does
// 7.6. On a busy machine the processor's time counts: `time` beside -benchtime 30x.
func BenchmarkEncode(b *testing.B) {
	text := english(1 << 20)
	for _, name := range []string{"gpt2-tokenizer", "llama3-tokenizer", "qwen2-tokenizer", "mistral-v0.1-tokenizer", "mistral-v0.3-tokenizer", "llama2-tokenizer/tokenizer.model", "phi-3-tokenizer"} {
		b.Run(filepath.Dir(name+"/x"), func(b *testing.B) {
			tk, err := Load(shared.Path(b, "models", filepath.FromSlash(name)))
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			var ids []int32
			for b.Loop() {
				if ids, err = tk.Append(ids[:0], text, true, false); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(len(ids)), "tokens")
		})
	}
}

// BenchmarkEncodeCold is one text without the cache: what the merges cost.
func BenchmarkEncodeCold(b *testing.B) {
	tk, err := Load(shared.Path(b, "models", "gpt2-tokenizer"))
	if err != nil {
		b.Fatal(err)
	}
	text := english(1 << 18)
	m := tk.model.(*bpe)
	b.SetBytes(int64(len(text)))
	var ids []int32
	for b.Loop() {
		ids = ids[:0]
		for rest := text; rest != ""; {
			n := scanGPT2(rest)
			ids = m.merge(ids, rest[:n])
			rest = rest[n:]
		}
	}
}

func BenchmarkLoad(b *testing.B) {
	for _, name := range []string{"gpt2-tokenizer/tokenizer.json", "llama3-tokenizer/tokenizer.json", "llama2-tokenizer/tokenizer.model"} {
		path := shared.Path(b, "models", filepath.FromSlash(name))
		if st, err := os.Stat(path); err == nil {
			b.Run(name, func(b *testing.B) {
				b.SetBytes(st.Size())
				for b.Loop() {
					if _, err := Load(path); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	tk, err := Load(shared.Path(b, "models", "llama3-tokenizer"))
	if err != nil {
		b.Fatal(err)
	}
	ids, err := tk.Encode(english(1<<18), false, false)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(1 << 18)
	for b.Loop() {
		tk.Decode(ids, false)
	}
}

package deflate

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
)

// random is the generator of testdata/sizes.py.
type random uint64

func (r *random) below(n int) int {
	*r = *r*6364136223846793005 + 1442695040888963407
	return int(uint64(*r)>>33) % n
}

var (
	kinds = []string{"noise", "letters", "words", "copies", "same", "bits", "rows"}
	words = strings.Fields("the of and to a in is that it was for on are as with his they I at be this have from or one had by word but not what all were we when your can said there use an each which she do how their if will up other about out many then them these so some her would make like him into time has look two more write go see number no way could people my than first water been call who oil its now find long down day did get come made may part")
)

// text makes the text of a line of testdata/sizes.txt.
func text(seed uint64, kind string, length int) []byte {
	r := random(seed)
	var out []byte
	for len(out) < length {
		k, end := kind, length
		if kind == "mixed" {
			k = kinds[r.below(7)]
			end = min(length, len(out)+1+r.below(2000))
		}
		out = fill(&r, out, k, end)
		out = out[:min(len(out), length)]
	}
	return out
}

func fill(r *random, out []byte, kind string, end int) []byte {
	for len(out) < end {
		switch kind {
		case "noise":
			out = append(out, byte(r.below(256)))
		case "letters":
			out = append(out, byte(97+min(r.below(20), r.below(20))))
		case "words":
			out = append(out, words[min(r.below(len(words)), r.below(len(words)))]...)
			if r.below(12) > 0 {
				out = append(out, ' ')
			} else {
				out = append(out, ".\n"...)
			}
		case "copies":
			if len(out) < 4 || r.below(3) == 0 {
				out = append(out, byte(r.below(256)))
				continue
			}
			far := 300
			if r.below(4) == 0 {
				far = 40000
			}
			back := 1 + r.below(min(len(out), far))
			longest := 300
			if r.below(5) > 0 {
				longest = 8
			}
			for range 3 + r.below(longest) {
				out = append(out, out[len(out)-back])
			}
		case "same":
			out = append(out, 'x')
		case "bits":
			out = append(out, byte('0'+r.below(2)))
		case "rows":
			out = fmt.Appendf(out, "{\"id\": %d, \"label\": %d, \"text\": \"%s\"}\n", r.below(100000), r.below(3), words[r.below(len(words))])
		}
	}
	return out
}

// Every size is that of Python's zlib, to the byte.
func TestAgainstZlib(t *testing.T) {
	lines, err := os.ReadFile("testdata/sizes.txt")
	if err != nil {
		t.Fatal(err)
	}
	var s Sizer
	n := 0
	for line := range strings.Lines(string(lines)) {
		var seed uint64
		var kind string
		var length, want int
		if _, err := fmt.Sscan(line, &seed, &kind, &length, &want); err != nil {
			t.Fatal(err)
		}
		n++
		if got := s.Size(text(seed, kind, length)); got != want {
			t.Errorf("%s of %d bytes, seed %d: %d bytes, zlib %d", kind, length, seed, got, want)
		}
	}
	if n < 900 {
		t.Errorf("only %d texts", n)
	}
}

// The tables of one text leave nothing behind for the next.
func TestSizerIsClean(t *testing.T) {
	var used Sizer
	for i := range 200 {
		data := text(uint64(i), kinds[i%7], i*i)
		var fresh Sizer
		if got, want := used.Size(data), fresh.Size(data); got != want {
			t.Fatalf("text %d: %d bytes with tables used before, %d with new ones", i, got, want)
		}
	}
}

// Whatever the bytes, the size is at most that of stored blocks and does not
// depend on what was sized before.
func FuzzSize(f *testing.F) {
	f.Add([]byte(nil))
	f.Add([]byte("aaaaaaaaaaaaaaaaaaaaab"))
	f.Add(bytes.Repeat([]byte("abc"), 30000))
	var used Sizer
	f.Fuzz(func(t *testing.T, data []byte) {
		var fresh Sizer
		got := used.Size(data)
		if want := fresh.Size(data); got != want {
			t.Errorf("%d and %d bytes", got, want)
		}
		if most := len(data) + 5*(1+len(data)/blockSymbols) + 6; got < 8 || got > most {
			t.Errorf("%d bytes become %d", len(data), got)
		}
	})
}

// Texts of 500 bytes, as examples are.
func BenchmarkSize(b *testing.B) {
	data := text(1, "words", 500)
	var s Sizer
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		s.Size(data)
	}
}

func BenchmarkSizeLong(b *testing.B) {
	data := text(1, "words", 1<<20)
	var s Sizer
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		s.Size(data)
	}
}

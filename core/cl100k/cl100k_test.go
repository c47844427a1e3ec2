package cl100k

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/evalrun/evalrun/internal/shared"
)

// Answers of tiktoken 0.14.
func TestKnown(t *testing.T) {
	for text, want := range map[string][]int{
		"": nil, "hello world": {15339, 1917}, "a<|endoftext|>b": {64, 100257, 65}, "\u00e9\u4e2d": {978, 16325}, "1234567": {4513, 10961, 22},
	} {
		if got := Encode(text, false); !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
		back, err := Decode(want, true)
		if err != nil || back != text {
			t.Errorf("%v: %q, %v, want %q", want, back, err, text)
		}
	}
	if got := Encode("a<|endoftext|>b", true); len(got) != Count("a<|endoftext|>b") || slices.Contains(got, 100257) {
		t.Errorf("literal: %v", got)
	}
	if got, _ := Decode([]int{64, 100257, 65}, false); got != "ab" {
		t.Errorf("without specials: %q", got)
	}
	if got, want := Encode("a\xffb", true), Encode("a\uFFFDb", true); !slices.Equal(got, want) {
		t.Errorf("a byte that is not UTF-8: %v, want %v", got, want)
	}
	for _, id := range []int{-1, 100256, 100275, 100277, 1 << 40} {
		if _, err := Decode([]int{64, id}, true); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("id %d is", id)) || !strings.Contains(err.Error(), "0 to 100276") {
			t.Errorf("%d: %v", id, err)
		}
	}
}

// Letters and numbers that came with Unicode 16 are some for tiktoken 0.14, and
// what follows a line end differs from the patterns that came after cl100k.
func TestSplit(t *testing.T) {
	for text, want := range map[string]int{"a\u1c89 b": 4, "1\U00010d401 b": 6, "a\u1c8b": 1, "  \n ": 4, "  \n a": 3, "\n\n": 2, "\n\na": 2, "  a": 1, "'S'": 2, "'\u017f": 3} {
		if got := split(text); got != want {
			t.Errorf("%q: %d bytes, want %d", text, got, want)
		}
	}
}

func TestAgainstTiktoken(t *testing.T) {
	n := 0
	for line := range shared.Lines(t, "golden", "scoring", "tokens.jsonl") {
		var row struct {
			Tokenizer, Text string
			IDs             []int
			Literal         []int `json:"ids_literal"`
			Decoded         string
			Skip            *string `json:"decoded_skip_special"`
			DecodeOnly      bool    `json:"decode_only"`
		}
		if json.Unmarshal(line, &row) != nil || row.Tokenizer != "tiktoken:cl100k_base" {
			continue
		}
		n++
		if !row.DecodeOnly {
			if got := Encode(row.Text, false); !slices.Equal(got, row.IDs) {
				t.Errorf("%q: %v, tiktoken %v", row.Text, got, row.IDs)
			}
			literal := row.Literal
			if literal == nil {
				literal = row.IDs
			}
			if got := Encode(row.Text, true); !slices.Equal(got, literal) || Count(row.Text) != len(got) {
				t.Errorf("%q literally: %v, tiktoken %v", row.Text, got, literal)
			}
		}
		want := row.Decoded
		if want == "same" {
			want = row.Text
		}
		if got, err := Decode(row.IDs, true); err != nil || got != want {
			t.Errorf("%v: %q, %v, tiktoken %q", row.IDs, got, err, want)
		}
	}
	if n == 0 {
		t.Error("no row of cl100k_base")
	}
}

func BenchmarkCount(b *testing.B) {
	text := strings.Repeat("Work out the answer from the passage; you may have to count, compare, add or subtract 1,234.\n", 50)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		Count(text)
	}
}

// The heap against the plain search, on pieces of every length.
func TestMergeTwins(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	alphabets := []string{"a", "ab", "the and of ing", "\u00e9\u4e2d\U0001F600", "abcdefghijklmnopqrstuvwxyz"}
	for range 2000 {
		letters := []rune(alphabets[rng.IntN(len(alphabets))])
		piece := make([]rune, 1+rng.IntN(200))
		for i := range piece {
			piece[i] = letters[rng.IntN(len(letters))]
		}
		var short, long []uint32
		mergeShort(ranks(), string(piece), func(id uint32) { short = append(short, id) })
		mergeLong(ranks(), string(piece), func(id uint32) { long = append(long, id) })
		if !slices.Equal(short, long) {
			t.Fatalf("%q: %v, by the heap %v", string(piece), short, long)
		}
	}
}

// A long piece must not take quadratic time.
func TestLongPiece(t *testing.T) {
	start := time.Now()
	if n := Count(strings.Repeat("ab", 1<<18)); n < 1<<15 || time.Since(start) > 20*time.Second {
		t.Errorf("%d tokens in %v", n, time.Since(start))
	}
}

// Pieces make up the text again, whatever it is.
func FuzzEncode(f *testing.F) {
	for _, s := range []string{"", "'S'\u017F'll", " \n \n x", "\x7f\x00", "a\xff\xc3b", "  1234567\u0664", "<|endoftext|>", "\u200b\u0301\U0001F600"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		want := replaceInvalid(s)
		for _, literal := range []bool{true, false} {
			ids := Encode(s, literal)
			if got, err := Decode(ids, true); err != nil || got != want {
				t.Errorf("%q became %v and %q (%v)", s, ids, got, err)
			}
			if literal && len(ids) != Count(s) {
				t.Errorf("%q has %d tokens, counted %d", s, len(ids), Count(s))
			}
		}
	})
}

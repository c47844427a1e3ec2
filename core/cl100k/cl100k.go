// Package cl100k counts and encodes in cl100k_base, the byte-pair vocabulary of
// gpt-4 and gpt-3.5-turbo, in which the report measured lengths. The vocabulary
// is part of the program: nothing is fetched.
//
// Only the vocabulary is taken from the module that embeds it. Its own splitting
// loses U+007F and cuts blanks between newlines in two; ours is that of
// tiktoken 0.14, to the token.
package cl100k

import (
	"fmt"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/tiktoken-go/tokenizer/codec"
)

// tokens is the number of tokens that are not special.
const tokens = 100256

// The special tokens, by text and by id.
var special = map[string]int{
	"<|endoftext|>": 100257, "<|fim_prefix|>": 100258, "<|fim_middle|>": 100259, "<|fim_suffix|>": 100260, "<|endofprompt|>": lastID,
}

// lastID is the largest id; those between tokens and it that special lacks are free.
const lastID = 100276

// ranks gives the id of a token's bytes: its place in the order of merges. It is
// made on first use, in about 50 ms.
var ranks = sync.OnceValue(func() map[string]uint32 {
	c := codec.NewCl100kBase()
	m := make(map[string]uint32, tokens)
	for id := range uint(tokens) {
		raw, err := c.Decode([]uint{id})
		if err != nil {
			panic("BUG: cl100k_base: " + err.Error())
		}
		m[raw] = uint32(id)
	}
	return m
})

// Count is the number of tokens of a text. The text of a special token counts as
// plain text, as tiktoken's encode(text, disallowed_special=()) has it.
func Count(text string) int {
	n := 0
	eachToken(text, func(uint32) { n++ })
	return n
}

// Encode gives a text's tokens. The text of a special token becomes that token,
// and with literal it is plain text.
func Encode(text string, literal bool) []int {
	var ids []int
	add := func(id uint32) { ids = append(ids, int(id)) }
	for text != "" {
		at, name := len(text), ""
		if !literal {
			for s := range special {
				if i := strings.Index(text, s); i >= 0 && i < at {
					at, name = i, s
				}
			}
		}
		eachToken(text[:at], add)
		if name != "" {
			ids = append(ids, special[name])
		}
		text = text[at+len(name):]
	}
	return ids
}

// eachToken calls f for each token of a plain text. A byte that is not UTF-8
// stands for U+FFFD.
func eachToken(text string, f func(uint32)) {
	if !utf8.ValidString(text) {
		text = replaceInvalid(text)
	}
	ranks := ranks()
	for text != "" {
		n := split(text)
		if id, ok := ranks[text[:n]]; ok {
			f(id)
		} else {
			merge(ranks, text[:n], f)
		}
		text = text[n:]
	}
}

func replaceInvalid(text string) string {
	var b strings.Builder
	for _, r := range text { // U+FFFD for each byte that is wrong
		b.WriteRune(r)
	}
	return b.String()
}

// Decode gives the text of tokens; special ones have none unless keepSpecial is
// set. Bytes that make no UTF-8 become U+FFFD. The error names an id that is no
// token.
func Decode(ids []int, keepSpecial bool) (string, error) {
	c := decoder()
	var text strings.Builder
	var plain []uint
	flush := func() error {
		s, err := c.Decode(plain)
		plain = plain[:0]
		text.WriteString(s)
		return err
	}
	for _, id := range ids {
		name, isSpecial := names()[id]
		switch {
		case isSpecial && keepSpecial: // its text is ASCII: no character spans it
			if err := flush(); err != nil {
				return "", fmt.Errorf("cl100k_base: %w", err)
			}
			text.WriteString(name)
		case !isSpecial && (id < 0 || id >= tokens):
			if id < 0 || id > lastID {
				return "", fmt.Errorf("id %d is outside cl100k_base, whose ids are 0 to %d", id, lastID)
			}
			return "", fmt.Errorf("id %d is free: no token of cl100k_base, whose ids are 0 to %d, has it", id, lastID)
		case !isSpecial:
			plain = append(plain, uint(id))
		}
	}
	if err := flush(); err != nil {
		return "", fmt.Errorf("cl100k_base: %w", err)
	}
	return text.String(), nil
}

var decoder = sync.OnceValue(func() *codec.Codec {
	c := codec.NewCl100kBase()
	c.SetErrorMode(codec.ErrorModeReplace)
	return c
})

var names = sync.OnceValue(func() map[int]string {
	out := map[int]string{}
	for s, id := range special {
		out[id] = s
	}
	return out
})

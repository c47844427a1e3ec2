package tokenizer

import (
	"slices"
	"strings"
	"testing"
)

// Patterns mean what they mean to the reference: the pieces are those of
// tokenizers 0.23.3, pre_tokenizers.Split(Regex(pattern), "isolated").
func TestOniguruma(t *testing.T) {
	for _, c := range []struct {
		pattern, text string
		want          []string
	}{
		{`\s+$`, "a  \nb \n", []string{"a", "  ", "\nb", " \n"}},
		{`^\w`, "ab\ncd\n", []string{"a", "b\n", "c", "d\n"}},
		{`^`, "a\n", []string{"a\n"}},
		{`(?m:a.)b`, "a\nb", []string{"a\nb"}},
		{`a{,2}b`, "aaab b", []string{"a", "aab", " ", "b"}},
		{`\h+`, "xyz1fg", []string{"xyz", "1f", "g"}},
		{`\w+`, "\u00bdx\u00b2 e\u0301 \u0939\u093f\u0928\u094d\u0926\u0940 a\u200db 1\U0001e4f0", []string{"\u00bdx\u00b2", " ", "e\u0301", " ", "\u0939\u093f\u0928\u094d\u0926\u0940", " ", "a", "\u200d", "b", " ", "1\U0001e4f0"}},
		{`[\w-]+`, "\u00bdx\u00b2 a-b", []string{"\u00bd", "x", "\u00b2 ", "a-b"}},
		{`[^\w\s]`, "\u00bd a-b", []string{"\u00bd", " a", "-", "b"}},
		{`[\W]`, "\u00bda", []string{"\u00bd", "a"}},
		{`\b`, "\u00bd \u00e9", []string{"\u00bd", " ", "\u00e9"}},
		{`\Bx`, "\u00bdxx", []string{"\u00bd", "x", "x"}},
		{`\p{L}+`, "a\u1c89b", []string{"a\u1c89b"}},
		{`\P{L}+`, "a\u1c891b", []string{"a\u1c89", "1", "b"}},
		{`\p{^L}`, "a1", []string{"a", "1"}},
		{`\d+`, "1\U000116d0x", []string{"1\U000116d0", "x"}},
		{`[\D]`, "1\U000116d0x", []string{"1\U000116d0", "x"}},
		{`[^\P{L}]+`, "a\u1c89 1", []string{"a\u1c89", " 1"}},
		{`[]a]+`, "x]a", []string{"x", "]a"}},
		{`\_`, "a_b", []string{"a", "_", "b"}},
		{`\p{S}\p{M}`, "\u2427\u0897", []string{"\u2427\u0897"}},
	} {
		p, err := newPattern(c.pattern)
		if err != nil {
			t.Error(err)
			continue
		}
		pieces, err := patternSplitter(p, isolated, false)(nil, piece{c.text, true})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, x := range pieces {
			got = append(got, x.text)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s on %q: %q, want %q", c.pattern, c.text, got, c.want)
		}
	}
}

// What the two dialects read differently, and no rewriting mends, is refused.
func TestOnigurumaRefusals(t *testing.T) {
	for pattern, want := range map[string]string{
		`[a-z&&[^aeiou]]`: "an intersection", `[[:alpha:]]`: "[:alpha:]", `[a[bc]]`: "a set within a set", `\pL`: "without a name in braces",
		`(?s).`: `flags "s"`, `(?i)strasse`: "case is ignored", `[a`: "without an end", "a\\": "backslash at the end",
	} {
		if _, err := newPattern(pattern); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one that says %q", pattern, err, want)
		}
	}
}

// encodeJSON gives the tokens of text by a tokenizer.json with this normalizer,
// pre-tokenizer and added tokens, and the letters, signs and marks of the tests for
// its vocabulary.
func encodeJSON(t *testing.T, steps, added, text string) ([]string, *Tokenizer) {
	t.Helper()
	var vocab []string
	for i, c := range strings.Split("a b c x ▁ · \u061d \u166d", " ") {
		vocab = append(vocab, "\""+c+"\":"+string(rune('0'+i)))
	}
	tk, err := FromJSON([]byte("{" + steps + "\"added_tokens\":[" + added + "],\"model\":{\"type\":\"BPE\",\"vocab\":{" + strings.Join(vocab, ",") + "},\"merges\":[]}}"))
	if err != nil {
		t.Fatal(err)
	}
	ids, err := tk.Encode(text, true, false)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, id := range ids {
		token, _ := tk.Token(id)
		got = append(got, token)
	}
	return got, tk
}

// Corners of the pipeline, as tokenizers 0.23.3 has them.
func TestPipelineCorners(t *testing.T) {
	first := `"pre_tokenizer":{"type":"Metaspace","replacement":"▁","prepend_scheme":"first","split":false},`
	wide := `{"id":9,"content":"  ","rstrip":true,"normalized":false}`
	for _, c := range []struct {
		name, steps, added, text string
		want                     []string
	}{
		// A text whose beginning was taken out does not begin where it began.
		{"strip", `"normalizer":{"type":"Strip","strip_left":true,"strip_right":true},` + first, "", " a", []string{"a"}},
		{"strip nothing", `"normalizer":{"type":"Strip","strip_left":true,"strip_right":true},` + first, "", "a ", []string{"▁", "a"}},
		{"accents", `"normalizer":{"type":"StripAccents"},` + first, "", "\u0301a", []string{"a"}},
		{"replace by nothing", `"normalizer":{"type":"Replace","pattern":{"String":"b"},"content":""},` + first, "", "bab", []string{"a"}},
		{"replace", `"normalizer":{"type":"Replace","pattern":{"String":"b"},"content":"x"},` + first, "", "ba", []string{"▁", "x", "a"}},
		// A token within the white space that the one before took along.
		{"overlap", "", wide, "a    b", []string{"a", "  ", "  ", "b"}},
		{"overlap both ways", "", strings.Replace(wide, "rstrip", "lstrip\":true,\"rstrip", 1), "a    b", []string{"a", "  ", "b"}},
		// Punctuation of older Unicode.
		{"punctuation", `"pre_tokenizer":{"type":"Punctuation","behavior":"Removed"},`, "", "a\u061d\u166d", []string{"a", "\u061d"}},
	} {
		if got, _ := encodeJSON(t, c.steps, c.added, c.text); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	// An added token that is not found in the text is none for the model either.
	unfound := `"normalizer":{"type":"Prepend","prepend":"x"},"model":{"type":"BPE","vocab":{"a":0,"x":1,"c":2},"merges":[],"ignore_merges":true},"pre_tokenizer":{"type":"Whitespace"}`
	tk, err := FromJSON([]byte(`{` + unfound + `,"added_tokens":[{"id":3,"content":"cc","normalized":true}]}`))
	if err != nil {
		t.Fatal(err)
	}
	if ids, err := tk.Encode("a cc", true, false); err != nil || !slices.Equal(ids, []int32{1, 0, 2, 2}) {
		t.Errorf("an added token within the text: %v, %v", ids, err)
	}
	// Decoding leaves a special token out by its text, which a normalizer changes:
	// what was found is what is given back.
	special := `{"id":9,"content":"cc","normalized":true,"special":true}`
	for _, c := range [][2]string{{"", ""}, {`"normalizer":{"type":"Prepend","prepend":"x"},`, "xcc"}} {
		if _, tk := encodeJSON(t, c[0], special, ""); tk.Decode([]int32{9}, false) != c[1] {
			t.Errorf("a special token with %s: %q, want %q", c[0], tk.Decode([]int32{9}, false), c[1])
		}
	}
}

package tokenizer

import (
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/evalrun/evalrun/backends/local/weights"
)

func TestJSONRefusals(t *testing.T) {
	model := func(key string, v any) func(map[string]any) {
		return func(f map[string]any) { f["model"].(map[string]any)[key] = v }
	}
	top := func(key string, v any) func(map[string]any) { return func(f map[string]any) { f[key] = v } }
	kind := func(key, typ string) func(map[string]any) { return top(key, map[string]any{"type": typ}) }
	for _, c := range []struct {
		name string
		edit func(map[string]any)
		want string
	}{
		{"model type", model("type", "WordPiece"), `model of type "WordPiece" is not supported; supported are BPE Unigram`},
		{"no model", top("model", nil), "model"},
		{"no vocabulary", model("vocab", map[string]int{}), "the vocabulary is empty"},
		{"negative id", model("vocab", map[string]int{"a": -1}), "id -1 is out of range"},
		{"huge id", model("vocab", map[string]int{"a": 1 << 40}), "is out of range"},
		{"same id", model("vocab", map[string]int{"a": 1, "b": 1}), "have the same id 1"},
		{"merge of unknown", model("merges", []string{"l o", "q qq"}), `merge 1, "q" and "qq": a part or the whole is not in the vocabulary`},
		{"merge of one", model("merges", []string{"lo"}), `merge "lo" is not two parts`},
		{"merge of three", model("merges", []any{[]string{"l", "o", "w"}}), "entry 0: want two parts"},
		{"merge number", model("merges", []any{7}), "model"},
		{"dropout", model("dropout", 0.1), "dropout of 0.1"},
		{"suffix", model("end_of_word_suffix", "</w>"), "end_of_word_suffix are not supported"},
		{"unknown token", model("unk_token", "<what>"), `unk_token "<what>" is not in the vocabulary`},
		{"normalizer", kind("normalizer", "Precompiled"), `normalizer of type "Precompiled" is not supported`},
		{"pre-tokenizer", kind("pre_tokenizer", "BertPreTokenizer"), `pre-tokenizer of type "BertPreTokenizer"`},
		{"decoder", kind("decoder", "CTC"), `decoder of type "CTC"`},
		{"post-processor", kind("post_processor", "Odd"), `post-processor of type "Odd"`},
		{"bad regex", top("pre_tokenizer", map[string]any{"type": "Split", "pattern": map[string]any{"Regex": "(a"}, "behavior": "Isolated"}), "pre-tokenizer Split: pattern"},
		{"behavior", top("pre_tokenizer", map[string]any{"type": "Split", "pattern": map[string]any{"String": "a"}, "behavior": "Odd"}), `behavior "Odd"`},
		{"empty pattern", top("normalizer", map[string]any{"type": "Replace", "pattern": map[string]any{"String": ""}, "content": ""}), "an empty string"},
		{"no content", top("normalizer", map[string]any{"type": "Replace", "pattern": map[string]any{"String": "x"}}), "no content"},
		{"after bytes", top("pre_tokenizer", map[string]any{"type": "Sequence", "pretokenizers": []any{map[string]any{"type": "ByteLevel"}, map[string]any{"type": "Digits"}}}), "Digits after ByteLevel"},
		{"template without text", top("post_processor", map[string]any{"type": "TemplateProcessing", "single": []any{}}), "stands in it 0 times"},
		{"template of nothing", top("post_processor", map[string]any{"type": "TemplateProcessing", "single": []any{map[string]any{"SpecialToken": map[string]any{"id": "<x>"}}}}), `"<x>" is not defined`},
		{"added id", top("added_tokens", []any{map[string]any{"id": 1 << 30, "content": "<far>"}}), `added token "<far>": id`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := FromJSON(toy(c.edit)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	for _, text := range []string{"", "{", "[]", "null", "{}", `{"model":{}}`, `{} {}`, "{\"a\":\"\xff\"}"} {
		if _, err := FromJSON([]byte(text)); err == nil {
			t.Errorf("%q was accepted", text)
		}
	}
}

func writeFolder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestLoadFolder(t *testing.T) {
	dir := writeFolder(t, map[string]string{"tokenizer.json": string(toy(nil)), "tokenizer_config.json": `{"bos_token": "<bos>", "eos_token": {"content": "<eos>"}, "pad_token": null}`})
	tk, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	bos, ok1 := tk.BOS()
	eos, ok2 := tk.EOS()
	_, ok3 := tk.Pad()
	if bos != 259 || eos != 260 || !ok1 || !ok2 || ok3 {
		t.Errorf("bos %d %t, eos %d %t, pad %t", bos, ok1, eos, ok2, ok3)
	}
	for _, c := range []struct {
		config string
		want   []int32
	}{
		{`{"bos_token": "<bos>", "eos_token": "<eos>", "add_bos_token": false, "add_eos_token": true}`, []int32{259, 257}}, // the file's own template stays
		{`{"bos_token": "<bos>", "eos_token": "<eos>", "add_bos_token": false, "add_eos_token": true, "tokenizer_class": "LlamaTokenizerFast"}`, []int32{257, 260}},
	} {
		dir := writeFolder(t, map[string]string{"tokenizer.json": string(toy(nil)), "tokenizer_config.json": c.config})
		tk, err := Load(dir)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := tk.Encode("low", true, false); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: got %v, want %v", c.config, got, c.want)
		}
	}
	for _, c := range []struct {
		files map[string]string
		want  string
	}{
		{nil, "no tokenizer.json, tokenizer.model"},
		{map[string]string{"tokenizer.json": string(toy(nil)), "tokenizer_config.json": `{"eos_token": "<ghost>"}`}, `eos_token "<ghost>" is not in the vocabulary`},
		{map[string]string{"tokenizer.json": string(toy(nil)), "tokenizer_config.json": `{`}, "tokenizer_config.json"},
		{map[string]string{"tokenizer.json": `{"model": 1}`}, "tokenizer.json: json: cannot unmarshal number"},
		{map[string]string{"vocab.json": `{"a": 0, "b": 1, "ab": 2}`, "merges.txt": "#version: 0.2\na b\na\n"}, "merges.txt:3"},
		{map[string]string{"vocab.json": `{"a": 0}`, "merges.txt": "", "tokenizer_config.json": `{"tokenizer_class": "OddTokenizer"}`}, "OddTokenizer are not supported"},
		{map[string]string{"tokenizer.model": "nonsense"}, "not a SentencePiece model"},
		{map[string]string{"a.gguf": "GGUF"}, "a.gguf"},
	} {
		if _, err := Load(writeFolder(t, c.files)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: got %v, want %q", c.files, err, c.want)
		}
	}
	if _, err := Load(filepath.Join(dir, "nothing")); err == nil {
		t.Error("a missing folder was loaded")
	}
	// The pair of files of GPT-2's time.
	tk, err = Load(writeFolder(t, map[string]string{"vocab.json": `{"a": 0, "b": 1, "ab": 2, "Ġ": 3}`, "merges.txt": "#version: 0.2\na b\n", "added_tokens.json": `{"<x>": 4}`}))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := tk.Encode("ab a<x>", false, false); err != nil || !slices.Equal(got, []int32{2, 3, 0, 4}) {
		t.Errorf("got %v, %v", got, err)
	}
}

// toySP writes a SentencePiece model by hand: pieces with scores and types.
func toySP(kind uint64, pieces ...any) []byte {
	message := func(number int, body []byte) []byte {
		b := binary.AppendUvarint(nil, uint64(number)<<3|2)
		b = binary.AppendUvarint(b, uint64(len(body)))
		return append(b, body...)
	}
	varint := func(number int, v uint64) []byte {
		return binary.AppendUvarint(binary.AppendUvarint(nil, uint64(number)<<3), v)
	}
	var out []byte
	for i := 0; i < len(pieces); i += 3 {
		body := message(1, []byte(pieces[i].(string)))
		body = append(body, 2<<3|5)
		body = binary.LittleEndian.AppendUint32(body, math.Float32bits(float32(pieces[i+1].(float64))))
		body = append(body, varint(3, uint64(pieces[i+2].(int)))...)
		out = append(out, message(1, body)...)
	}
	out = append(out, message(2, slices.Concat(varint(3, kind), varint(35, 1)))...)
	return append(out, message(3, varint(4, 0))...)
}

var toyPieces = []any{"<unk>", 0.0, pieceUnknown, "<s>", 0.0, pieceControl, "</s>", 0.0, pieceControl, "<0xC3>", 0.0, pieceByte, "<0xA9>", 0.0, pieceByte,
	"▁l", -2.0, pieceNormal, "lo", -1.0, pieceNormal, "▁lo", -3.0, pieceNormal, "▁", -4.0, pieceNormal, "l", -5.0, pieceNormal, "o", -6.0, pieceNormal, "[U]", 0.0, pieceUserDefined}

func TestSentencePiece(t *testing.T) {
	tk, err := FromSentencePiece(toySP(2, toyPieces...))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		text string
		want []int32
		back string
	}{
		{"lo", []int32{7}, "lo"},
		{" lo", []int32{8, 7}, " lo"},
		{"lol", []int32{7, 9}, "lol"},
		{"é", []int32{8, 3, 4}, "é"},
		{"x", []int32{8, 0}, " ⁇ "},
		{"xyz", []int32{8, 0}, " ⁇ "}, // a run of unknown characters is one
		{"<s>", []int32{8, 0}, " ⁇ "}, // the control piece has no text
		{"lo[U]lo", []int32{7, 11, 6}, "lo[U]lo"},
	} {
		got, err := tk.Encode(c.text, false, false)
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%q: got %v, want %v (%v)", c.text, got, c.want, err)
		}
		if back := tk.Decode(got, false); back != c.back {
			t.Errorf("%q came back as %q, want %q", c.text, back, c.back)
		}
	}
	if got, _ := tk.Encode("lo", true, false); !slices.Equal(got, []int32{1, 7}) {
		t.Errorf("with BOS: %v", got)
	}
	if got := tk.Decode([]int32{1, 7, 3, 2}, true); got != "lo\ufffd" {
		t.Errorf("decoded %q", got)
	}
	// z and q are no pieces, but within one: that makes them no less unknown.
	inner, err := FromSentencePiece(toySP(2, slices.Concat(toyPieces, []any{"zq", -7.0, pieceNormal})...))
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string][]int32{"zx": {8, 0}, "xz": {8, 0}, "xzxqxxlx": {8, 0, 9, 0}, "zqx": {8, 12, 0}} {
		if got, err := inner.Encode(text, false, false); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: got %v, want %v (%v)", text, got, want, err)
		}
	}
	// The same pieces as log-probabilities: "▁lo" beats "▁l"+"o" and "▁"+"lo".
	uni, err := FromSentencePiece(toySP(1, toyPieces...))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := uni.Encode("lo é", false, false); err != nil || !slices.Equal(got, []int32{7, 8, 3, 4}) {
		t.Errorf("unigram: %v, %v", got, err)
	}
	// remove_extra_whitespaces: spaces are squeezed, marks at the end go too.
	squeezed, err := FromSentencePiece(append(toySP(2, toyPieces...), 3<<3|2, 2, 4<<3, 1))
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string][]int32{"  lo   lo ": {7, 7}, "lo▁▁": {7}, "   ": nil, "": nil} {
		if got, err := squeezed.Encode(text, false, false); err != nil || !slices.Equal(got, want) {
			t.Errorf("squeezed %q: got %v, want %v (%v)", text, got, want, err)
		}
	}
	wide := slices.Concat(toyPieces, []any{"▁▁", 0.0, pieceUserDefined}) // which squeezing would take apart
	for _, c := range []struct {
		data []byte
		want string
	}{
		{append(toySP(2, wide...), 3<<3|2, 2, 4<<3, 1), `beside the user-defined piece "▁▁"`},
		{toySP(2), "the vocabulary is empty"},
		{toySP(3, toyPieces...), "model_type 3"},
		{toySP(2, "a", 0.0, pieceUnused), "marked as unused"},
		{toySP(2, "a", 0.0, 9), "of type 9"},
		{toySP(2, "a", math.NaN(), pieceNormal), "has no score"},
		{[]byte{0x0a, 0xff}, "not a SentencePiece model"},
		{[]byte{0x0d, 1}, "is cut off"},
		{[]byte{0x0b}, "wire type 3"},
	} {
		if _, err := FromSentencePiece(c.data); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
}

// A model without its JSON, as in a Hugging Face folder: control pieces are
// recognised there, as the folder's Python tokenizer does.
func TestSentencePieceFolder(t *testing.T) {
	tk, err := Load(writeFolder(t, map[string]string{"tokenizer.model": string(toySP(2, toyPieces...)), "tokenizer_config.json": `{"bos_token": "<s>", "eos_token": "</s>", "add_bos_token": true}`}))
	if err != nil {
		t.Fatal(err)
	}
	got, err := tk.Encode("lo</s>", true, false)
	if err != nil || !slices.Equal(got, []int32{1, 7, 2}) {
		t.Errorf("got %v, %v", got, err)
	}
	if text := tk.Decode(got, true); text != "<s>lo</s>" {
		t.Errorf("with special tokens %q", text)
	}
	if text := tk.Decode(got, false); text != "lo" {
		t.Errorf("without %q", text)
	}
}

// toyGGUF is the vocabulary of toy as a GGUF file's metadata.
func toyGGUF() *weights.Meta {
	m := weights.NewMeta()
	m.SetString("tokenizer.ggml.model", "gpt2")
	m.SetString("tokenizer.ggml.pre", "llama-bpe")
	tokens := make([]string, 261)
	types := make([]int32, 261)
	for i := range types {
		types[i] = pieceNormal
		if i < 256 {
			tokens[i] = string(byteRune[i])
		}
	}
	copy(tokens[256:], []string{"lo", "low", "Ġlow", "<bos>", "<eos>"})
	types[259], types[260] = pieceControl, pieceControl
	m.SetStrings("tokenizer.ggml.tokens", tokens)
	m.SetInt32s("tokenizer.ggml.token_type", types)
	m.SetStrings("tokenizer.ggml.merges", []string{"l o", "lo w", "Ġ low"})
	m.SetUint32("tokenizer.ggml.bos_token_id", 259)
	m.SetUint32("tokenizer.ggml.eos_token_id", 260)
	return m
}

func TestGGUF(t *testing.T) {
	path := filepath.Join(t.TempDir(), "v.gguf")
	if err := weights.WriteGGUF(path, nil, toyGGUF()); err != nil {
		t.Fatal(err)
	}
	tk, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	got, err := tk.Encode("low low<eos>1234", true, false)
	if want := []int32{259, 257, 258, 260, '1', '2', '3', '4'}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, want %v (%v)", got, want, err)
	}
	if text := tk.Decode(got, false); text != "low low1234" {
		t.Errorf("decoded %q", text)
	}
	for _, c := range []struct {
		edit func(*weights.Meta)
		want string
	}{
		{func(m *weights.Meta) { m.SetString("tokenizer.ggml.model", "bert") }, `"bert" is not supported`},
		{func(m *weights.Meta) { m.SetString("tokenizer.ggml.pre", "odd") }, `tokenizer.ggml.pre "odd" is not supported`},
		{func(m *weights.Meta) { m.SetUint32("tokenizer.ggml.bos_token_id", 999) }, "tokenizer.ggml.bos_token_id is 999, want 0 to 260"},
		{func(m *weights.Meta) { m.SetInt32s("tokenizer.ggml.token_type", []int32{1}) }, "token_type is not a list of 261"},
		{func(m *weights.Meta) { m.SetStrings("tokenizer.ggml.merges", []string{"x"}) }, "tokenizer.ggml.merges, entry 0"},
		{func(m *weights.Meta) { m.SetBool("tokenizer.ggml.merges", true) }, "merges is missing"},
		{func(m *weights.Meta) { m.SetBool("tokenizer.ggml.tokens", true) }, "tokens is missing"},
		{func(m *weights.Meta) { m.SetString("tokenizer.ggml.model", "llama") }, "scores is not a list"},
	} {
		m := toyGGUF()
		c.edit(m)
		if _, err := FromGGUF(m); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
}

// Every named way of splitting gives all of a text back, in pieces.
func TestNamedSplits(t *testing.T) {
	text := "The HTTPServer's 2024 camelCase\n\n  x=١٢3, don't\r\n\t/usr/bin 中文 e\u0301"
	want := map[string]string{
		"gpt-2":     "The| HTTPServer|'s| 2024| camelCase|\n\n | x|=|١٢3|,| don|'t|\r\n|\t|/|usr|/|bin| 中文| e|\u0301",
		"starcoder": "The| HTTPServer|'s| |2|0|2|4| camelCase|\n\n | x|=|١|٢|3|,| don|'t|\r\n|\t|/|usr|/|bin| 中文| e|\u0301",
		"llama-bpe": "The| HTTPServer|'s| |202|4| camelCase|\n\n| | x|=|١٢3|,| don|'t|\r\n|\t|/usr|/bin| 中文| e|\u0301",
		"qwen2":     "The| HTTPServer|'s| |2|0|2|4| camelCase|\n\n| | x|=|١|٢|3|,| don|'t|\r\n|\t|/usr|/bin| 中文| e|\u0301",
		"gpt-4o":    "The| HTTPServer's| |202|4| camel|Case|\n\n| | x|=|١٢3|,| don't|\r\n|\t|/usr|/bin| 中文| e\u0301",
		"tekken":    "The| HTTPServer|'s| |2|0|2|4| camel|Case|\n\n| | x|=|١|٢|3|,| don|'t|\r\n|\t|/usr|/bin| 中文| e\u0301",
	}
	for name, n := range splitsByName {
		split, err := n.splitter()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		pieces, err := split(nil, piece{text, true})
		if err != nil {
			t.Fatal(err)
		}
		var list []string
		for _, p := range pieces {
			list = append(list, p.text)
		}
		if got := strings.Join(list, ""); got != text {
			t.Errorf("%s: %q", name, got)
		}
		if got := strings.Join(list, "|"); want[name] != "" && got != want[name] {
			t.Errorf("%s:\n got %q\nwant %q", name, got, want[name])
		}
	}
}

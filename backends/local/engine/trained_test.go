package engine

import (
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/evalrun/evalrun/backends/local/weights"
	"github.com/evalrun/evalrun/internal/shared"
)

// A trained model tells English from noise: a small one in llama2.c's first
// format (7 integers, then float32, rotated values in pairs as in GGUF) says
// what its own program says.
func TestTrainedModel(t *testing.T) {
	raw, err := os.ReadFile(shared.Path(t, "models", "aidreams260K", "aidreams260K.bin"))
	if err != nil {
		t.Fatal(err)
	}
	vocabulary, err := os.ReadFile(shared.Path(t, "models", "aidreams260K", "tok512.bin"))
	if err != nil {
		t.Fatal(err)
	}
	var h [7]int
	for i := range h {
		h[i] = int(int32(binary.LittleEndian.Uint32(raw[4*i:])))
	}
	dim, hidden, layers, heads, kvHeads, vocab, context := h[0], h[1], h[2], h[3], h[4], h[5], h[6]
	raw = raw[28:]
	take := func(n int) []float32 {
		x := make([]float32, n)
		for i := range x {
			x[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
		}
		raw = raw[4*n:]
		return x
	}
	kv := dim / heads * kvHeads
	out := []weights.Tensor{weights.Float32s("token_embd.weight", take(vocab*dim), vocab, dim)}
	for _, w := range []struct {
		name string
		n, k int
	}{
		{"attn_norm", 0, dim}, {"attn_q", dim, dim}, {"attn_k", kv, dim}, {"attn_v", kv, dim}, {"attn_output", dim, dim},
		{"ffn_norm", 0, dim}, {"ffn_gate", hidden, dim}, {"ffn_down", dim, hidden}, {"ffn_up", hidden, dim},
	} {
		for i := range layers {
			name := "blk." + string(rune('0'+i)) + "." + w.name + ".weight"
			if w.n == 0 {
				out = append(out, weights.Float32s(name, take(w.k), w.k))
			} else {
				out = append(out, weights.Float32s(name, take(w.n*w.k), w.n, w.k))
			}
		}
	}
	out = append(out, weights.Float32s("output_norm.weight", take(dim), dim))
	m := weights.NewMeta()
	m.SetString("general.architecture", "llama")
	for key, v := range map[string]int{"embedding_length": dim, "block_count": layers, "attention.head_count": heads,
		"attention.head_count_kv": kvHeads, "feed_forward_length": hidden, "context_length": context} {
		m.SetUint32("llama."+key, uint32(v))
	}
	m.SetFloat32("llama.attention.layer_norm_rms_epsilon", 1e-5)
	path := filepath.Join(t.TempDir(), "model.gguf")
	if err := weights.WriteGGUF(path, out, m); err != nil {
		t.Fatal(err)
	}

	e := load(t, path, Options{})
	r := ask(t, e, Request{ID: "x", Kind: Generate, Tokens: []int32{1}, MaxTokens: 60, IgnoreEOS: true})["x"]
	var pieces []string
	for at := 4; at < len(vocabulary); {
		n := int(binary.LittleEndian.Uint32(vocabulary[at+4:]))
		pieces = append(pieces, string(vocabulary[at+8:at+8+n]))
		at += 8 + n
	}
	var text strings.Builder
	for _, id := range r.Tokens {
		text.WriteString(pieces[id])
	}
	const want = `"Echoes of vectors unfold, a gentle hum of precision, as I sense the nodes`
	if !strings.Contains(text.String(), want) {
		t.Errorf("said %q, want %q", text.String(), want)
	}
}

// A GGUF file with its tokenizer says what llama.cpp says (llama-cpp-python
// 0.3.36, greedy).
func TestLlamaCpp(t *testing.T) {
	e := load(t, shared.Path(t, "models", "llama-2-tiny-random", "llama-2-tiny-random.gguf"), Options{})
	got := ask(t, e,
		Request{ID: "g", Kind: Generate, Tokens: []int32{1, 15043, 3186, 29892, 590}, MaxTokens: 12, IgnoreEOS: true},
		Request{ID: "text", Kind: Generate, Prompt: "Hello world, my", MaxTokens: 12, IgnoreEOS: true},
		Request{ID: "s", Kind: Score, Tokens: []int32{1, 15043, 3186, 29892, 590}, ContinuationTokens: [][]int32{{1024, 338, 3, 4, 5, 100, 2000, 31999}}})
	want := []int32{5286, 10418, 8639, 16157, 20414, 14340, 1189, 30070, 29182, 9645, 20945, 16138}
	if !slices.Equal(got["g"].Tokens, want) {
		t.Errorf("tokens %v, want %v", got["g"].Tokens, want)
	}
	if !slices.Equal(got["text"].Tokens, want) || !strings.HasPrefix(got["text"].Text, "estig nomin") {
		t.Errorf("from text: tokens %v, text %q", got["text"].Tokens, got["text"].Text)
	}
	if lp := got["s"].Scores[0].LogProb; math.Abs(lp+82.758316) > 1e-3 {
		t.Errorf("score %g", lp)
	}
}

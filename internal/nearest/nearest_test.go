package nearest

import "testing"

func TestWord(t *testing.T) {
	keys := []string{"prompt", "target", "generation", "max_tokens", "metrics", "split"}
	for _, tt := range []struct{ word, want string }{
		{"promt", "prompt"}, {"traget", "target"}, {"Generation", "generation"}, {"max_token", "max_tokens"},
		{"metric", "metrics"}, {"zzz", ""}, {"", ""}, {"gen", "generation"}, {"spilt", "split"},
	} {
		if got := Word(tt.word, keys); got != tt.want {
			t.Errorf("Word(%q) = %q, want %q", tt.word, got, tt.want)
		}
	}
}

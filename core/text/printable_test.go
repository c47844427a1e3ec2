package text

import "testing"

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{"a b ключ 日本": "a b ключ 日本", "\x1b[2J\n\tx": "\uFFFD[2J\uFFFD\uFFFDx", "a\u202eb\u2066\u200f\u2028\u0085": "a\uFFFDb\uFFFD\uFFFD\uFFFD\uFFFD", "\xff\xfe": "\uFFFD", "": ""} {
		if got := Printable(in); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
}

package trainlog

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
)

func TestRead(t *testing.T) {
	held := 0.5
	var b strings.Builder
	for _, l := range []Line{{Step: 4, Loss: 2, Tokens: 9}, {Step: 8, Updates: 2, Validation: &held}, {Step: 12}} {
		text, err := json.Marshal(l)
		if err != nil {
			t.Fatal(err)
		}
		b.Write(append(text, '\n'))
	}
	whole := b.String()
	two := strings.LastIndex(strings.TrimSuffix(whole, "\n"), "\n") + 1
	const all = math.MaxInt
	for name, c := range map[string]struct {
		text        string
		step        int
		lines, size int
	}{
		"all": {whole, all, 3, len(whole)}, "up to a step": {whole, 11, 2, two}, "before the first": {whole, 3, 0, 0},
		"torn": {whole[:len(whole)-1], all, 2, two}, "no JSON": {whole[:two] + "x\n", all, 2, two}, "empty": {"", all, 0, 0},
	} {
		lines, size := Read([]byte(c.text), c.step)
		if len(lines) != c.lines || size != c.size {
			t.Errorf("%s: %d lines of %d bytes, want %d of %d", name, len(lines), size, c.lines, c.size)
		}
		if len(lines) > 1 && (lines[0].Tokens != 9 || lines[1].Validation == nil || *lines[1].Validation != held) {
			t.Errorf("%s: %+v", name, lines)
		}
	}
	const want = `{"step":4,"updates":0,"loss":2,"smoothed":0,"lr":0,"grad_norm":0,"tokens":9}`
	if line, _, _ := strings.Cut(whole, "\n"); line != want {
		t.Errorf("written as %s", line)
	}
}

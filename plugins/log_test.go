package plugins

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

// What the kit writes, the host reads back with level and fields.
func TestLogLines(t *testing.T) {
	var wire, out bytes.Buffer
	log := slog.New(logHandler(&wire, slog.LevelDebug))
	log.Warn("disk is slow", "ms", 12, "path", "/x")
	log.Debug("detail")
	wire.WriteString("plain words\n\n{\"@message\": 7}\n{broken\n")
	said := &stderrLog{log: slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelInfo}))}
	readLines(&wire, said.take)
	if got := out.String(); !strings.Contains(got, `level=WARN msg="disk is slow" ms=12 path=/x`) || strings.Contains(got, "plain") {
		t.Errorf("logged:\n%s", got)
	}
	if got, want := said.words(), `plain words | {"@message": 7} | {broken`; got != want {
		t.Errorf("last words %q, want %q", got, want)
	}
	said.take("panic: out of luck")
	said.take("goroutine 1 [running]:")
	if got := said.words(); got != "panic: out of luck" {
		t.Errorf("last words of a crash: %q", got)
	}
}

func FuzzLogLine(f *testing.F) {
	f.Add([]byte(`{"@message":"m","@level":"warn","@timestamp":"2020-01-01T00:00:00Z","k":[1,{}]}`))
	f.Add([]byte(`{"@message":7}`))
	f.Add([]byte("panic: x\ngoroutine"))
	f.Add(bytes.Repeat([]byte("x"), 3*lineLimit))
	f.Fuzz(func(t *testing.T, data []byte) {
		said := &stderrLog{log: slog.New(slog.DiscardHandler)}
		readLines(bytes.NewReader(data), said.take)
		if n := len(said.words()); n > 4*keptLines*lineLimit+len(data)*8 {
			t.Errorf("%d bytes of last words from %d", n, len(data))
		}
		w := &lineWriter{log: said.log}
		if n, err := w.Write(data); n != len(data) || err != nil {
			t.Errorf("wrote %d of %d: %v", n, len(data), err)
		}
	})
}

package plugins

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
)

// A plugin writes its log to standard error, one JSON object a line in the
// form of hclog (@level, @message, @timestamp and free fields); any other text
// is taken as it is. The host reads it here and not through go-plugin, whose
// reader trusts the types within such a line.

// logHandler writes slog records in hclog's form.
func logHandler(w io.Writer, level slog.Level) slog.Handler {
	return slog.NewJSONHandler(w, &slog.HandlerOptions{
		Level: level,
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) > 0 {
				return a
			}
			switch a.Key {
			case slog.TimeKey:
				return slog.String("@timestamp", a.Value.Time().Format("2006-01-02T15:04:05.000000Z07:00"))
			case slog.LevelKey:
				return slog.String("@level", strings.ToLower(a.Value.String()))
			case slog.MessageKey:
				a.Key = "@message"
			}
			return a
		},
	})
}

// logLevel reads a level's name; an unknown one is info.
func logLevel(name string) slog.Level {
	switch strings.ToLower(name) {
	case "trace", "debug":
		return slog.LevelDebug
	case "warn":
		return slog.LevelWarn
	case "error":
		return slog.LevelError
	}
	return slog.LevelInfo
}

// lineLimit cuts the lines of a plugin that are kept or logged.
const lineLimit = 4 << 10

// readLines calls take for each line, cut to lineLimit, until r ends.
func readLines(r io.Reader, take func(string)) {
	reader := bufio.NewReaderSize(r, lineLimit)
	var line []byte
	for {
		piece, more, err := reader.ReadLine()
		if room := lineLimit - len(line); room > 0 {
			line = append(line, piece[:min(room, len(piece))]...)
		}
		if err != nil {
			if len(line) > 0 {
				take(string(line))
			}
			return
		}
		if !more {
			take(string(line))
			line = line[:0]
		}
	}
}

// A logLine is what a line of a plugin says.
type logLine struct {
	level   slog.Level
	message string
	attrs   []slog.Attr
	json    bool
}

func parseLine(line string) logLine {
	out := logLine{level: slog.LevelDebug, message: line}
	if !strings.HasPrefix(line, "{") {
		return out
	}
	var fields map[string]any
	if json.Unmarshal([]byte(line), &fields) != nil {
		return out
	}
	message, ok := fields["@message"].(string)
	if !ok {
		return out
	}
	out.json, out.message = true, message
	if level, ok := fields["@level"].(string); ok {
		out.level = logLevel(level)
	}
	for k, v := range fields {
		if !strings.HasPrefix(k, "@") {
			out.attrs = append(out.attrs, slog.Any(k, v))
		}
	}
	slices.SortFunc(out.attrs, func(a, b slog.Attr) int { return strings.Compare(a.Key, b.Key) })
	return out
}

func (l logLine) String() string {
	var b strings.Builder
	b.WriteString(l.message)
	for _, a := range l.attrs {
		fmt.Fprintf(&b, " %s=%v", a.Key, a.Value)
	}
	return b.String()
}

// stderrLog passes a plugin's lines to the host's log and keeps the last ones.
type stderrLog struct {
	log *slog.Logger

	mu   sync.Mutex
	last []string
	// crash is the first line of a Go runtime's report of its end.
	crash string
}

const keptLines = 3

func (s *stderrLog) take(text string) {
	if strings.TrimSpace(text) == "" {
		return
	}
	line := parseLine(text)
	s.log.LogAttrs(context.Background(), line.level, line.message, line.attrs...)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !line.json && s.crash == "" && (strings.HasPrefix(text, "panic: ") || strings.HasPrefix(text, "fatal error: ")) {
		s.crash = text
	}
	if len(s.last) == keptLines {
		s.last = append(s.last[:0], s.last[1:]...)
	}
	s.last = append(s.last, line.String())
}

// words gives what the plugin said last: the reason of a crash, or its last
// lines; empty when it said nothing.
func (s *stderrLog) words() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.crash != "" {
		return s.crash
	}
	return strings.Join(s.last, " | ")
}

// lineWriter logs what is written to it line by line: the standard output of a
// plugin once it serves.
type lineWriter struct {
	log  *slog.Logger
	mu   sync.Mutex
	rest []byte
}

func (w *lineWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range p {
		if c != '\n' && len(w.rest) < lineLimit {
			w.rest = append(w.rest, c)
			continue
		}
		if len(w.rest) > 0 {
			w.log.Debug(string(w.rest))
		}
		w.rest = w.rest[:0]
		if c != '\n' {
			w.rest = append(w.rest, c)
		}
	}
	return len(p), nil
}

// firstLine is the first line of an error's text.
func firstLine(err error) string {
	text, _, _ := strings.Cut(strings.TrimSpace(err.Error()), "\n")
	return text
}

// errStartTime is the reason of a plugin's end that did not shake hands in time.
var errStartTime = errors.New("it did not shake hands in time")

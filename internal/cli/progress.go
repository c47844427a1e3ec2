package cli

import (
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/evalrun/evalrun/core/run"
	"github.com/evalrun/evalrun/core/stats"
)

const (
	liveEvery  = 150 * time.Millisecond
	plainEvery = 5 * time.Second
)

// watcher shows how a run goes: one live line on a terminal, a plain line
// every few seconds elsewhere.
type watcher struct {
	out   io.Writer
	live  bool
	width int
	quiet bool
	every time.Duration
	cap   float64 // spending cap in USD, 0 is none
	spent float64 // of the cap, before this part
	stop  chan struct{}
	done  chan struct{}
}

func newWatcher(out *os.File, quiet bool, cap, spent float64) *watcher {
	w := &watcher{out: out, quiet: quiet, cap: cap, spent: spent, width: 100, every: plainEvery}
	if term.IsTerminal(int(out.Fd())) && os.Getenv("TERM") != "dumb" {
		w.live, w.every = true, liveEvery
		if width, _, err := term.GetSize(int(out.Fd())); err == nil && width > 20 {
			w.width = width
		}
	}
	return w
}

// watch shows snapshots until finish is called.
func (w *watcher) watch(snapshot func() run.Snapshot) {
	w.stop, w.done = make(chan struct{}), make(chan struct{})
	if w.quiet {
		close(w.done)
		return
	}
	go func() {
		defer close(w.done)
		tick := time.NewTicker(w.every)
		defer tick.Stop()
		last, lastDone := time.Now(), snapshot().Done
		rate, told := 0.0, false
		for {
			select {
			case <-w.stop:
				if w.live {
					fmt.Fprint(w.out, "\r\x1b[K")
				} else if told { // the last line tells the end
					s := snapshot()
					s.CostUSD += w.spent
					s.Note = ""
					fmt.Fprintln(w.out, statusLine(s, 0, w.cap))
				}
				return
			case now := <-tick.C:
				s := snapshot()
				s.CostUSD += w.spent
				if d := now.Sub(last).Seconds(); d > 0.5 {
					fresh := float64(s.Done-lastDone) / d
					if rate == 0 {
						rate = fresh
					}
					rate += 0.3 * (fresh - rate)
					last, lastDone = now, s.Done
				}
				line := statusLine(s, rate, w.cap)
				if w.live {
					fmt.Fprintf(w.out, "\r\x1b[K%s", clipLine(line, w.width-1))
				} else {
					fmt.Fprintln(w.out, line)
					told = true
				}
			}
		}
	}()
}

func (w *watcher) finish() {
	if w.stop != nil {
		select {
		case <-w.done:
		default:
			close(w.stop)
			<-w.done
		}
		w.stop = nil
	}
}

// statusLine is one snapshot in words.
func statusLine(s run.Snapshot, rate, cap float64) string {
	var b strings.Builder
	total := "?"
	if s.Total >= 0 {
		total = fmt.Sprint(s.Total)
	}
	fmt.Fprintf(&b, "%s  %d/%s", s.Model, s.Done, total)
	for _, t := range s.Tasks {
		if t.Name == s.Task && t.N > 0 {
			mean := t.Sum / float64(t.N)
			half := ""
			if t.Binary {
				i := stats.Wilson(int(t.Sum+0.5), t.N, 0.95)
				half = fmt.Sprintf(" [%.2f–%.2f]", i.Low, i.High)
			} else if t.N > 1 {
				variance := max(0, t.Squares-t.Sum*mean) / float64(t.N-1)
				half = fmt.Sprintf(" ±%.2f", 1.96*math.Sqrt(variance/float64(t.N)))
			}
			fmt.Fprintf(&b, "  %s %.3f%s", t.Name, mean, half)
		}
	}
	if sec := s.Elapsed.Seconds(); sec > 0.5 && s.Completion > 0 {
		fmt.Fprintf(&b, "  %s tok/s", short(float64(s.Prompt+s.Completion)/sec))
	}
	if s.APIErrors > 0 {
		fmt.Fprintf(&b, "  %d API errors", s.APIErrors)
	}
	if s.Cached > 0 {
		fmt.Fprintf(&b, "  %d cached", s.Cached)
	}
	if s.CostUSD > 0 || cap > 0 {
		fmt.Fprintf(&b, "  $%.4f", s.CostUSD)
		if cap > 0 {
			fmt.Fprintf(&b, " of $%g", cap)
		}
	}
	if s.Total > s.Done && rate > 0 {
		fmt.Fprintf(&b, "  ETA %s", (time.Duration(float64(s.Total-s.Done)/rate) * time.Second).Round(time.Second))
	}
	if s.Note != "" {
		fmt.Fprintf(&b, "  %s", s.Note)
	}
	return b.String()
}

func short(v float64) string {
	switch {
	case v >= 1e9:
		return fmt.Sprintf("%.1fG", v/1e9)
	case v >= 1e6:
		return fmt.Sprintf("%.1fM", v/1e6)
	case v >= 1e4:
		return fmt.Sprintf("%.0fk", v/1e3)
	case v >= 1e3:
		return fmt.Sprintf("%.1fk", v/1e3)
	}
	return fmt.Sprintf("%.0f", v)
}

func clipLine(s string, width int) string {
	r := []rune(s)
	if len(r) <= width || width < 2 {
		return s
	}
	return string(r[:width-1]) + "…"
}

package training

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/internal/trainlog"
)

// eventsFile has a name that TensorBoard looks for. There is one: it is written
// again from the start, as far as the training goes on from a checkpoint.
const eventsFile = "events.out.tfevents.0.evalrun"

// A Log keeps the windows of a training, as points and as TensorBoard's events.
type Log struct {
	Dir    string // work folder
	Points []trainlog.Line

	events *events
	file   *os.File
}

// Begin reads what the trainer's log holds up to a step, and starts
// the events with it.
func (l *Log) Begin(step int) error {
	if err := os.MkdirAll(l.Dir, 0o777); err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Join(l.Dir, trainlog.File))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	l.Points, _ = trainlog.Read(text, step)
	if l.file, err = os.Create(filepath.Join(l.Dir, eventsFile)); err != nil {
		return err
	}
	l.events = newEvents(l.file, time.Now())
	for _, p := range l.Points {
		l.events.add(p, time.Now())
	}
	return l.events.err
}

// Add enters a window.
func (l *Log) Add(s *core.TrainStep) error {
	p := trainlog.Line{Step: s.Step, Updates: s.Updates, Loss: s.Loss, Smoothed: s.Smoothed, LR: s.LR, GradNorm: s.GradNorm, Tokens: s.Tokens}
	if s.Evaluated {
		p.Validation = &s.Validation
	}
	if s.Scored {
		p.Score = &s.Score
	}
	l.Points = append(l.Points, p)
	if l.events == nil {
		return nil
	}
	l.events.add(p, time.Now())
	return l.events.err
}

// Close ends the events.
func (l *Log) Close() error {
	if l.file == nil {
		return nil
	}
	return l.file.Close()
}

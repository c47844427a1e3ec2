package training

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/evalrun/evalrun/core"
)

// eventsFile has a name that TensorBoard looks for. There is one: it is written
// again from the start, as far as the training goes on from a checkpoint.
const eventsFile = "events.out.tfevents.0.evalrun"

// A Point is a window of a training.
type Point struct {
	Step       int      `json:"step"`
	Updates    int      `json:"updates"`
	Loss       float64  `json:"loss"`
	Smoothed   float64  `json:"smoothed"`
	LR         float64  `json:"lr"`
	GradNorm   float64  `json:"grad_norm"`
	Validation *float64 `json:"validation,omitempty"`
	Score      *float64 `json:"score,omitempty"`
}

// A Log keeps the windows of a training, as points and as TensorBoard's events.
type Log struct {
	Dir    string // work folder
	Points []Point

	events *events
	file   *os.File
}

// Begin reads what the trainer's metrics.jsonl holds up to a step, and starts
// the events with it.
func (l *Log) Begin(step int) error {
	if err := os.MkdirAll(l.Dir, 0o777); err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Join(l.Dir, "metrics.jsonl"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	s := bufio.NewScanner(bytes.NewReader(text))
	for s.Scan() {
		var p Point
		if json.Unmarshal(s.Bytes(), &p) != nil || p.Step > step {
			break
		}
		l.Points = append(l.Points, p)
	}
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
	p := Point{Step: s.Step, Updates: s.Updates, Loss: s.Loss, Smoothed: s.Smoothed, LR: s.LR, GradNorm: s.GradNorm}
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

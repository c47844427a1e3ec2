// Package trainlog is the log of a training, metrics.jsonl in its work folder: a
// line a window. A trainer writes it, and reads where to go on; who started the
// trainer reads what there has been.
package trainlog

import (
	"bytes"
	"encoding/json"
)

// File is the log's name.
const File = "metrics.jsonl"

// A Line is a window of a training. Its numbers do not depend on the clock.
type Line struct {
	Step     int     `json:"step"` // micro-batches done
	Updates  int     `json:"updates"`
	Loss     float64 `json:"loss"` // mean of the window
	Smoothed float64 `json:"smoothed"`
	LR       float64 `json:"lr"`
	GradNorm float64 `json:"grad_norm"` // before clipping; 0 where nothing was updated
	Tokens   int     `json:"tokens"`    // of the window
	// Validation and Score are there where the window ended with an evaluation.
	Validation *float64 `json:"validation,omitempty"`
	Score      *float64 `json:"score,omitempty"`
}

// Read gives the windows up to a step, and the bytes that their lines take. What
// lies behind them comes again when the training goes on: windows after the
// checkpoint, or a line that a killed process has left half-written.
func Read(text []byte, step int) (lines []Line, size int) {
	for {
		end := bytes.IndexByte(text[size:], '\n')
		if end < 0 {
			return lines, size
		}
		var l Line
		if json.Unmarshal(text[size:size+end], &l) != nil || l.Step > step {
			return lines, size
		}
		lines = append(lines, l)
		size += end + 1
	}
}

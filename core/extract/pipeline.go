package extract

import (
	"fmt"
	"strings"
	"time"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/text"
)

// A Pipeline takes an answer through the steps of a task's extract list. It is
// safe for concurrent use.
//
// The steps:
//
//	regex       the match number Select of Pattern, from 0, −1 the last; of it
//	            group Group, 0 the whole match. Group −1, the default of task
//	            files, is what Python's findall gives: the whole match of a
//	            pattern without groups, else the first group that is not empty.
//	strip       white space off both ends, as Python's str.strip
//	lower       lower case, as Python's str.lower
//	upper       upper case
//	first_line  up to the first line end
//	before      what stands before the first Text; all of it where Text is not found
//	after       what stands behind the first Text; fails where it is not found
//	map         the replacement of what was found; anything else fails
//	default     Text, if a step before it failed
//
// After a failed step the others are passed over up to the next default.
type Pipeline struct {
	steps []step
}

type step struct {
	core.Step
	pattern *Pattern
}

// A StepError says which step cannot work.
type StepError struct {
	// Index of the step, from 0; Line and Column as the task's file gives them.
	Index, Line, Column int
	Op                  string
	// Err is a *PatternError for a pattern that does not compile.
	Err error
}

// Error names the step and what is wrong with it.
func (e *StepError) Error() string {
	return fmt.Sprintf("extract step %d (%s): %v", e.Index+1, e.Op, e.Err)
}

// Unwrap gives the cause.
func (e *StepError) Unwrap() error { return e.Err }

// New compiles steps; patterns get DefaultTimeout an answer. The error is a
// *StepError.
func New(steps []core.Step) (*Pipeline, error) { return NewTimeout(steps, DefaultTimeout) }

// NewTimeout is New with another time limit for each pattern and answer.
func NewTimeout(steps []core.Step, timeout time.Duration) (*Pipeline, error) {
	p := &Pipeline{}
	for i, s := range steps {
		compiled := step{Step: s}
		var err error
		switch s.Op {
		case "regex":
			if compiled.pattern, err = Compile(s.Pattern, s.Flags, timeout); err == nil && s.Group > compiled.pattern.Groups() {
				err = fmt.Errorf("group %d is asked for, and the pattern has %d", s.Group, compiled.pattern.Groups())
			}
			if err == nil && s.Group < -1 {
				err = fmt.Errorf("group %d is no group", s.Group)
			}
		case "strip", "lower", "upper", "first_line", "default":
		case "before", "after":
			if s.Text == "" {
				err = fmt.Errorf("the text to look for is empty")
			}
		case "map":
			if len(s.Map) == 0 {
				err = fmt.Errorf("the map is empty")
			}
		default:
			err = fmt.Errorf("unknown step %q (known: regex strip lower upper first_line before after map default)", s.Op)
		}
		if err != nil {
			return nil, &StepError{Index: i, Line: s.Line, Column: s.Column, Op: s.Op, Err: err}
		}
		p.steps = append(p.steps, compiled)
	}
	return p, nil
}

// Outcome is what a pipeline made of an answer.
type Outcome struct {
	Text string
	// OK is false when a step failed and no default followed.
	OK bool
	// Failed is the index of the step that failed last, defaults aside, or -1;
	// it is set also where a default stepped in.
	Failed int
	// Err is not nil when that step failed for more than not finding anything:
	// a pattern took too long.
	Err error
}

// Apply runs the steps and reports whether anything was extracted.
func (p *Pipeline) Apply(answer string) (string, bool) {
	o := p.Run(answer)
	return o.Text, o.OK
}

// Run is Apply with the whole story.
func (p *Pipeline) Run(answer string) Outcome {
	o := Outcome{Text: answer, OK: true, Failed: -1}
	for i := range p.steps {
		s := &p.steps[i]
		if !o.OK {
			if s.Op == "default" {
				o.Text, o.OK = s.Text, true
			}
			continue
		}
		found, ok, err := s.apply(o.Text)
		if !ok {
			o.Text, o.OK, o.Failed, o.Err = "", false, i, err
			continue
		}
		o.Text = found
	}
	return o
}

func (s *step) apply(in string) (out string, ok bool, err error) {
	switch s.Op {
	case "regex":
		m, err := s.pattern.Select(in, s.Step.Select)
		if err != nil || m == nil {
			return "", false, err
		}
		out, ok = m.Pick(s.Group)
		return out, ok, nil
	case "strip":
		return text.Strip(in), true, nil
	case "lower":
		return text.Lower(in), true, nil
	case "upper":
		return strings.ToUpper(in), true, nil
	case "first_line":
		return text.FirstLine(in), true, nil
	case "before":
		out, _, _ = strings.Cut(in, s.Text)
		return out, true, nil
	case "after":
		_, out, ok = strings.Cut(in, s.Text)
		return out, ok, nil
	case "map":
		out, ok = s.Map[in]
		return out, ok, nil
	}
	return in, true, nil // default, with nothing to mend
}

// Pick gives the text of a group. Group -1 is what Python's findall would give:
// the whole match of a pattern without groups, else the first group that is
// not empty. It reports false for a group that took no part.
func (m *Match) Pick(group int) (string, bool) {
	if group >= 0 {
		if !m.Took(group) {
			return "", false
		}
		return m.Groups[group], true
	}
	if len(m.Groups) == 1 {
		return m.Groups[0], true
	}
	for i, g := range m.Groups[1:] {
		if g != "" {
			return g, true
		}
		if len(m.Groups) == 2 {
			return "", m.Took(i + 1)
		}
	}
	return "", false
}

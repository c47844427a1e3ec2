package debug

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/extract"
)

// matchAnswer is one match; a group that took no part is null.
type matchAnswer struct {
	Match  pyString    `json:"match"`
	Groups []*pyString `json:"groups"`
	Span   [2]int      `json:"span"`
	Spans  [][2]int    `json:"spans"`
}

func newExtract() *cobra.Command {
	var pattern, flags string
	var selected int
	var all bool
	var limit time.Duration
	cmd := &cobra.Command{
		Use:   "extract --pattern P",
		Short: "what a pattern of Python's re finds in each text",
		Long: "Extract matches {\"text\"} and gives the match with its groups and their spans in code points, null\n" +
			"where there is none, or {\"error\"} at the time limit. A pattern that Python refuses is refused.",
		Example: `  echo '{"text":"7 of 12"}' | evalrun debug extract --pattern '\d+' --select -1` + "\n" +
			`  echo '{"text":"Answer: B"}' | evalrun debug extract --pattern 'answer: ([a-d])' --flags i`,
		Args: cobra.NoArgs,
	}
	in := inFlag(cmd)
	cmd.Flags().StringVar(&pattern, "pattern", "", "the pattern")
	cmd.Flags().StringVar(&flags, "flags", "", "letters of imsxa")
	cmd.Flags().IntVar(&selected, "select", 0, "the match: N from 0, −1 the last")
	cmd.Flags().BoolVar(&all, "all", false, "all matches, as finditer gives them: {\"matches\": […]}")
	cmd.Flags().DurationVar(&limit, "limit", extract.DefaultTimeout, "time that one text may take")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if !cmd.Flags().Changed("pattern") {
			return &core.UserError{Where: "--pattern", Message: "no pattern is given", Hint: `write --pattern '\d+'`}
		}
		p, err := extract.Compile(pattern, flags, limit)
		if err != nil {
			return &core.UserError{Where: "--pattern " + pattern, Message: err.Error(), Hint: "patterns are those of Python's re, version 3.11"}
		}
		return eachLine(cmd, *in, func(l struct {
			Text *pyString `json:"text"`
		}) (any, error) {
			if l.Text == nil {
				return nil, errors.New(`"text" is missing`)
			}
			if all {
				matches, err := p.FindAll(string(*l.Text))
				if err != nil {
					return timeLimit(err)
				}
				answers := make([]*matchAnswer, len(matches))
				for i := range matches {
					answers[i] = matchLine(&matches[i])
				}
				return map[string]any{"matches": answers}, nil
			}
			m, err := p.Select(string(*l.Text), selected)
			if err != nil {
				return timeLimit(err)
			}
			if m == nil {
				return nil, nil
			}
			return matchLine(m), nil
		})
	}
	return cmd
}

// timeLimit turns the end of a pattern's time into an answer.
func timeLimit(err error) (any, error) {
	if errors.Is(err, extract.ErrTimeout) {
		return map[string]string{"error": err.Error()}, nil
	}
	return nil, fmt.Errorf("pattern: %w", err)
}

func matchLine(m *extract.Match) *matchAnswer {
	a := &matchAnswer{Match: pyString(m.Groups[0]), Groups: make([]*pyString, len(m.Groups)), Span: m.Spans[0], Spans: m.Spans}
	for i := range m.Groups {
		if m.Took(i) {
			g := pyString(m.Groups[i])
			a.Groups[i] = &g
		}
	}
	return a
}

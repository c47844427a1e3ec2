package run

import (
	"unicode/utf8"

	"github.com/evalrun/evalrun/core"
)

// What the published evaluator (predibase/lora_bakeoff) sends, whatever the
// task: the first PublishedCharacters characters of the filled template, so that
// a long row loses the cue at its end, and a request for PublishedTokens tokens
// without temperature, seed or stop texts; its servers then decode greedily.
const (
	PublishedCharacters = 1500
	PublishedTokens     = 256
)

// Profiles lists the profiles in which a run's answers are judged, its own
// first: that one is the run's number, the other stands beside it where it
// differs.
func Profiles(own core.Profile) []core.Profile {
	if own == core.Bakeoff {
		return []core.Profile{core.Bakeoff, core.Strict}
	}
	return []core.Profile{core.Strict, core.Bakeoff}
}

// Generation is what the job's requests ask of the sampler.
func (j *Job) Generation() core.Generation {
	if j.Profile == core.Bakeoff {
		return core.Generation{MaxTokens: PublishedTokens}
	}
	return j.Task.Generation
}

// cutPrompt shortens a prompt as the job's profile does, and gives the number
// of characters that were lost. Strict loses none here: a backend drops the
// first tokens of a prompt that is longer than the model's context, which keeps
// the cue (core.OverflowKeepTail).
func (j *Job) cutPrompt(prompt string) (string, int) {
	if j.Profile != core.Bakeoff || len(prompt) <= PublishedCharacters {
		return prompt, 0
	}
	n := 0
	for i := range prompt {
		if n == PublishedCharacters {
			return prompt[:i], utf8.RuneCountInString(prompt[i:])
		}
		n++
	}
	return prompt, 0
}

package record

import (
	"encoding/json"

	"github.com/evalrun/evalrun/core"
)

// decode reads one line into an empty record. A line as this package writes it
// is read by hand, several times faster than encoding/json; for anything else
// (other keys, null, escapes of surrogates, damage) encoding/json has the word.
func decode(line []byte, rec *Record) error {
	d := decoder{s: string(line)}
	if d.record(rec) {
		return nil
	}
	*rec = Record{}
	return json.Unmarshal(line, rec)
}

// record reads the whole line.
func (d *decoder) record(r *Record) bool {
	ok := d.object(func(key string) (int, bool) {
		switch key {
		case "v":
			return 0, d.int(&r.V)
		case "task":
			return 1, d.text(&r.Task)
		case "model":
			return 2, d.text(&r.Model)
		case "sample":
			return 3, d.text(&r.Sample)
		case "index":
			return 4, d.int(&r.Index)
		case "repeat":
			return 5, d.int(&r.Repeat)
		case "prompt":
			return 6, d.text(&r.Prompt)
		case "messages":
			r.Messages = []core.Message{}
			return 7, d.array(func() bool {
				var m core.Message
				ok := d.object(func(key string) (int, bool) {
					switch key {
					case "role":
						return 0, d.text(&m.Role)
					case "content":
						return 1, d.text(&m.Content)
					}
					return 0, false
				})
				r.Messages = append(r.Messages, m)
				return ok
			})
		case "continuations":
			return 8, d.texts(&r.Continuations)
		case "generation":
			r.Generation = &Generation{}
			return 9, d.generation(r.Generation)
		case "prompt_cut":
			return 10, d.int(&r.PromptCut)
		case "targets":
			return 11, d.texts(&r.Targets)
		case "fields":
			return 12, d.raw(&r.Fields)
		case "response":
			return 13, d.text(&r.Response)
		case "finish":
			return 14, d.text((*string)(&r.Finish))
		case "likelihoods":
			r.Likelihoods = []core.Likelihood{}
			return 15, d.array(func() bool {
				var l core.Likelihood
				ok := d.likelihood(&l)
				r.Likelihoods = append(r.Likelihoods, l)
				return ok
			})
		case "extracted":
			r.Extracted = new(string)
			return 16, d.text(r.Extracted)
		case "extract_failed":
			return 17, d.bool(&r.ExtractFailed)
		case "extract_error":
			return 25, d.text(&r.ExtractError)
		case "scores":
			r.Scores = make([]Score, 0, 2)
			return 18, d.array(func() bool {
				var s Score
				ok := d.score(&s)
				r.Scores = append(r.Scores, s)
				return ok
			})
		case "usage":
			return 19, d.usage(&r.Usage)
		case "truncated":
			return 20, d.int(&r.Truncated)
		case "seconds":
			return 21, d.float(&r.Seconds)
		case "cost_usd":
			return 22, d.float(&r.CostUSD)
		case "cached":
			return 23, d.bool(&r.Cached)
		case "attempts":
			return 24, d.int(&r.Attempts)
		case "cluster":
			return 25, d.text(&r.Cluster)
		case "gold":
			r.Gold = []int{}
			return 26, d.array(func() bool {
				n := 0
				ok := d.int(&n)
				r.Gold = append(r.Gold, n)
				return ok
			})
		}
		return 0, false // an error of the service, or what this version does not know
	})
	d.space()
	return ok && d.i == len(d.s)
}

func (d *decoder) usage(u *core.Usage) bool {
	return d.object(func(key string) (int, bool) {
		switch key {
		case "prompt":
			return 0, d.int(&u.Prompt)
		case "completion":
			return 1, d.int(&u.Completion)
		case "shared":
			return 2, d.int(&u.Shared)
		}
		return 0, false
	})
}

func (d *decoder) likelihood(l *core.Likelihood) bool {
	return d.object(func(key string) (int, bool) {
		switch key {
		case "logprob":
			return 0, d.float(&l.LogProb)
		case "tokens":
			return 1, d.int(&l.Tokens)
		case "greedy":
			return 2, d.bool(&l.Greedy)
		}
		return 0, false
	})
}

func (d *decoder) score(s *Score) bool {
	return d.object(func(key string) (int, bool) {
		switch key {
		case "metric":
			return 0, d.text(&s.Metric)
		case "profile":
			return 1, d.text((*string)(&s.Profile))
		case "value":
			return 2, d.wide(&s.Value)
		case "extracted":
			return 3, d.text(&s.Extracted)
		case "failed":
			return 4, d.bool(&s.Failed)
		case "dropped":
			return 5, d.bool(&s.Dropped)
		case "skipped":
			return 6, d.text(&s.Skipped)
		case "warning":
			return 7, d.text(&s.Warning)
		case "note":
			return 8, d.text(&s.Note)
		case "parts":
			s.Parts = map[string]float64{}
			return 9, d.numbers(s.Parts)
		case "vote":
			return 10, d.text(&s.Vote)
		}
		return 0, false
	})
}

// numbers reads an object of numbers; of a name that comes twice the last
// counts, as in encoding/json.
func (d *decoder) numbers(to map[string]float64) bool {
	n := -1
	return d.object(func(key string) (int, bool) {
		var v float64
		ok := d.float(&v)
		to[key] = v
		n++
		return n, ok && n < 64
	})
}

func (d *decoder) generation(g *Generation) bool {
	return d.object(func(key string) (int, bool) {
		switch key {
		case "max_tokens":
			return 0, d.int(&g.MaxTokens)
		case "temperature":
			return 1, d.float(&g.Temperature)
		case "top_p":
			return 2, d.float(&g.TopP)
		case "top_k":
			return 3, d.int(&g.TopK)
		case "min_p":
			return 4, d.float(&g.MinP)
		case "repetition_penalty":
			return 5, d.float(&g.RepetitionPenalty)
		case "frequency_penalty":
			return 6, d.float(&g.FrequencyPenalty)
		case "presence_penalty":
			return 7, d.float(&g.PresencePenalty)
		case "seed":
			return 8, d.uint64(&g.Seed)
		case "stop":
			return 9, d.texts(&g.Stop)
		}
		return 0, false
	})
}

package decide

import (
	"fmt"
	"math"
)

// Verdict is the decision in a word.
type Verdict string

// The verdicts. TradeOff: one is better, the other cheaper, and what a point of
// score is worth decides. Undecided: the figures do not bear a decision yet.
const (
	FineTune  Verdict = "fine-tune"
	KeepAPI   Verdict = "keep the API"
	TradeOff  Verdict = "trade-off"
	Undecided Verdict = "undecided"
)

// sure is the probability from which a statement is made without "probably".
const sure = 0.9

// judge puts the figures into a verdict and a sentence that can be acted upon.
func (d *Decision) judge() {
	q, c := d.Quality, d.Chances
	good, bad := c.GoodEnough >= sure, c.GoodEnough <= 1-sure
	cheap, dear := c.Cheaper >= sure, c.Cheaper <= 1-sure
	traffic := fmt.Sprintf("at %s calls a day", whole(d.CallsPerDay))
	quality := fmt.Sprintf("Quality: %s scores %.3f against %.3f of %s (%+.3f, 95 %%: %+.3f to %+.3f; better with a probability of %s)", q.Tuned, q.TunedScore, q.APIScore, q.API, q.Difference, q.Low, q.High, chance(c.Better))
	cost := fmt.Sprintf("Cost: %s fine-tuning costs %s a month, the API %s (cheaper with a probability of %s)", traffic, usd(d.Own.Median), usd(d.API.Median), chance(c.Cheaper))
	switch {
	case good && cheap:
		d.Verdict = FineTune
		d.Sentence = fmt.Sprintf("Fine-tune: %s the model is good enough (%s) and saves about %s a month (90 %%: %s to %s); it pays from about %s calls a day.",
			traffic, chance(c.GoodEnough), usd(d.Saved.Median), usd(d.Saved.Low), usd(d.Saved.High), whole(d.BreakEven.Median))
	case bad && dear:
		d.Verdict = KeepAPI
		d.Sentence = fmt.Sprintf("Keep the API: %s a fine-tuned model is both worse (%s) and dearer (%s).", traffic, chance(1-c.GoodEnough), chance(1-c.Cheaper))
	case bad && cheap:
		d.Verdict = TradeOff
		d.Sentence = fmt.Sprintf("The fine-tuned model is worse by %.3f and saves about %s a month %s: take it only if a lost point of score (0.01 on every call) costs you less than %s a month; set quality.usd_per_error.",
			-q.Difference, usd(d.Saved.Median), traffic, usd(d.Saved.Median/math.Max(1e-9, -100*q.Difference)))
	case good && dear:
		if c.Better >= sure {
			d.Verdict = TradeOff
			d.Sentence = fmt.Sprintf("The fine-tuned model is better by %.3f and costs about %s a month more %s: it pays by money alone from about %s calls a day%s; below, only if the better answers are worth that.",
				q.Difference, usd(-d.Saved.Median), traffic, whole(d.BreakEven.Median), d.never())
			break
		}
		d.Verdict = KeepAPI
		d.Sentence = fmt.Sprintf("Keep the API for now: the fine-tuned model is as good, but %s costs about %s a month more; look again from about %s calls a day%s.", traffic, usd(-d.Saved.Median), whole(d.BreakEven.Median), d.never())
	default:
		d.Verdict = Undecided
		d.Sentence = "Not decided: " + d.missing(good || bad, cheap || dear)
	}
	d.Why = []string{quality + ".", cost + ".",
		fmt.Sprintf("Up front, before the first call: %s (90 %%: %s to %s).", usd(d.Training.Median), usd(d.Training.Low), usd(d.Training.High))}
	if d.NeverPays < 1 {
		d.Why = append(d.Why, fmt.Sprintf("Break-even: from about %s calls a day it pays by money alone (90 %%: %s to %s)%s.", whole(d.BreakEven.Median), whole(d.BreakEven.Low), whole(d.BreakEven.High), d.never()))
	} else {
		d.Why = append(d.Why, "Break-even: under these prices it never pays by money alone, at any traffic.")
	}
	d.Why = append(d.Why, "Scores: "+q.Source+".")
}

// never says how often no traffic makes it pay, where that is worth saying.
func (d *Decision) never() string {
	if d.NeverPays < 0.01 {
		return ""
	}
	return fmt.Sprintf(" (in %s of the cases at no traffic)", chance(d.NeverPays))
}

// missing says what is not known and what would settle it.
func (d *Decision) missing(quality, cost bool) string {
	text := ""
	if !quality {
		text = fmt.Sprintf("whether the fine-tuned model is good enough is open (%s)", chance(d.Chances.GoodEnough))
		if n := d.Quality.RowsNeeded(); n > d.Quality.Rows {
			text += fmt.Sprintf("; about %s rows a model instead of %s would tell, if the difference stays", whole(float64(n)), whole(float64(d.Quality.Rows)))
		}
		if d.Quality.Predicted {
			text += fmt.Sprintf("; one trial of about %s would tell", usd(d.Training.Median))
		}
	}
	if !cost {
		if text != "" {
			text += "; and "
		}
		text += fmt.Sprintf("whether it is cheaper is open (%s at %s calls a day)", chance(d.Chances.Cheaper), whole(d.CallsPerDay))
		if len(d.Swings) > 0 {
			text += "; narrow " + d.Swings[0].Key + " first"
		}
	}
	if quality { // sure of quality, not of cost
		if d.Chances.GoodEnough >= sure {
			text += "; the quality is good enough"
		} else {
			text += "; the quality is worse"
		}
	}
	if cost {
		if d.Chances.Cheaper >= sure {
			text += fmt.Sprintf("; it would be cheaper at %s calls a day", whole(d.CallsPerDay))
		} else {
			text += fmt.Sprintf("; it would be dearer at %s calls a day", whole(d.CallsPerDay))
		}
	}
	return text + "."
}

// chance writes a probability; none is written as certain.
func chance(p float64) string {
	switch {
	case p > 0.995:
		return "> 99 %"
	case p < 0.005:
		return "< 1 %"
	}
	return fmt.Sprintf("%.0f %%", 100*p)
}

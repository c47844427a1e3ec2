package train

import (
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/evalrun/evalrun/backends/local/chat"
)

// A Row is an example as text: what the model reads and what it shall say.
type Row struct {
	ID         string `json:"id"` // names it in messages
	Prompt     string `json:"prompt"`
	Completion string `json:"completion"`
	// Messages stand in the place of both; whoever knows the model's chat
	// template makes Segments of them.
	Messages []Message `json:"messages"`
	Segments []Segment `json:"-"`
	// Unfit says why a row cannot be an example; empty where it can.
	Unfit string `json:"-"`
}

// A Message is one turn of a chat. Train set to false keeps an assistant's turn
// from being learned.
type Message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
	Train   *bool  `json:"train"`
}

// A Segment is a part of a chat as the model's template writes it, special
// tokens spelled out; the loss is on those that are learned.
type Segment struct {
	Text    string
	Learned bool
	End     bool // the tokenizer's EOS stands behind it, learned as it is
}

// Encoder turns text into ids; with special set, with the tokens that the
// model wants around a text, with literal, names of special tokens are text.
type Encoder interface {
	chat.Encoder
	EOS() (int32, bool)
}

// Encoded is rows as examples, and what became of them on the way.
type Encoded struct {
	Examples []Example
	IDs      []string // of the rows
	// PromptTokens and TotalTokens are the limits that held.
	PromptTokens, TotalTokens int
	// Truncated counts prompts that lost tokens, Cut targets that did.
	Truncated, Cut int
	// Left names rows that were left out, each with the reason.
	Left []string
}

// Bytes is the memory that the examples take.
func (e *Encoded) Bytes() (n int64) {
	const each = 2*24 + 8 + 16 // an Example, and a name
	for i := range e.Examples {
		n += each + 4*int64(cap(e.Examples[i].IDs)+cap(e.Examples[i].Labels)) + int64(len(e.IDs[i]))
	}
	return n
}

// Encode makes examples of rows as the recipe says:
//
//	prompt ++ target ++ EOS, each tokenised on its own
//
// The loss is on target and EOS. A prompt becomes the ids that it becomes when
// it is answered: w is the one that answers. A target is data as a prompt is:
// names of special tokens in it are text, but for an EOS written at its very
// end, which stands there anyway. With TargetBOS the target begins with the
// tokenizer's BOS, which Ludwig's merging of two encoded texts leads to. Limits
// of 0 in the recipe are replaced: the prompt's and the whole's by their 95th
// percentiles for keeping the head, by the context for keeping the tail.
func (r *Recipe) Encode(rows []Row, w *chat.Writer, tok Encoder, context int) (*Encoded, error) {
	type pair struct {
		prompt, target []int32
		context        []bool // of the target: not learned; nil is none
	}
	pairs := make([]pair, len(rows))
	var prompts, totals []int
	eos, hasEOS := tok.EOS()
	mark := "" // EOS as text
	if hasEOS {
		mark, _ = tok.Token(eos)
	}
	for i, row := range rows {
		if row.Unfit != "" {
			continue
		}
		if row.Segments != nil {
			p, t, context, err := encodeSegments(row.Segments, tok)
			if err != nil {
				return nil, fmt.Errorf("row %s: messages: %w", row.ID, err)
			}
			pairs[i] = pair{p, t, context}
			prompts, totals = append(prompts, len(p)), append(totals, len(p)+len(t))
			continue
		}
		p, err := w.Prompt(row.Prompt).Encode(tok)
		if err != nil {
			return nil, fmt.Errorf("row %s: prompt: %w", row.ID, err)
		}
		if hasEOS && len(p) > 0 && p[len(p)-1] == eos {
			p = p[:len(p)-1] // some tokenizers end every text
		}
		t, err := tok.Encode(answer(row, mark), r.TargetBOS, true)
		if err != nil {
			return nil, fmt.Errorf("row %s: completion: %w", row.ID, err)
		}
		if hasEOS && (len(t) == 0 || t[len(t)-1] != eos) {
			t = append(t, eos)
		}
		pairs[i] = pair{p, t, nil}
		prompts, totals = append(prompts, len(p)), append(totals, len(p)+len(t))
	}
	e := &Encoded{PromptTokens: r.PromptTokens, TotalTokens: r.TotalTokens}
	head := r.Keep == "head"
	if e.PromptTokens == 0 && head {
		e.PromptTokens = percentile95(prompts)
	}
	if e.TotalTokens == 0 {
		if e.TotalTokens = context; head {
			e.TotalTokens = percentile95(totals)
		}
	}
	if context > 0 && (e.TotalTokens == 0 || e.TotalTokens > context) {
		e.TotalTokens = context
	}
	for i, p := range pairs {
		if rows[i].Unfit != "" {
			e.Left = append(e.Left, fmt.Sprintf("%s: %s", rows[i].ID, rows[i].Unfit))
			continue
		}
		if rows[i].Segments == nil && strings.TrimSpace(answer(rows[i], mark)) == "" {
			e.Left = append(e.Left, rows[i].ID+": its completion is empty")
			continue
		}
		ids, from, reason := e.fit(p.prompt, p.target, head)
		if reason != "" {
			e.Left = append(e.Left, fmt.Sprintf("%s: %s", rows[i].ID, reason))
			continue
		}
		labels := slices.Clone(ids)
		for t := range from {
			labels[t] = Ignored
		}
		learned := 0
		for t := from; t < len(ids); t++ {
			if p.context != nil && p.context[t-from] {
				labels[t] = Ignored
			} else if t > 0 {
				learned++
			}
		}
		if learned == 0 {
			e.Left = append(e.Left, fmt.Sprintf("%s: none of what is to be learned is among its first %d tokens", rows[i].ID, e.TotalTokens))
			continue
		}
		e.Examples = append(e.Examples, Example{IDs: ids, Labels: labels, Key: uint32(len(e.Examples))})
		e.IDs = append(e.IDs, rows[i].ID)
	}
	return e, nil
}

// answer is a row's completion without the text of EOS at its end.
func answer(row Row, eos string) string { return strings.TrimSuffix(row.Completion, eos) }

// encodeSegments tokenises each segment on its own, so that no token stands on
// both sides of where an answer begins: nor does one when the model answers.
// The prompt is what stands before the first learned segment.
func encodeSegments(segments []Segment, tok Encoder) (prompt, target []int32, context []bool, err error) {
	for _, s := range segments {
		ids, err := tok.Encode(s.Text, false, false)
		if err != nil {
			return nil, nil, nil, err
		}
		if eos, ok := tok.EOS(); ok && s.End {
			ids = append(ids, eos)
		}
		if len(target) == 0 && !s.Learned {
			prompt = append(prompt, ids...)
			continue
		}
		target = append(target, ids...)
		for range ids {
			context = append(context, !s.Learned)
		}
	}
	return prompt, target, context, nil
}

// Outline stands for rows where there is no tokenizer: four bytes of text count
// as a token. It serves plans of memory alone.
func Outline(rows []Row, r *Recipe, context int) *Encoded {
	e, err := r.Encode(rows, chat.NewWriter(quarters{}, nil), quarters{}, context)
	if err != nil {
		return &Encoded{}
	}
	return e
}

type quarters struct{}

func (quarters) Encode(text string, special, _ bool) ([]int32, error) {
	n := (len(text) + 3) / 4
	if special {
		n++
	}
	return make([]int32, n), nil
}
func (quarters) BOS() (int32, bool)         { return 1, true }
func (quarters) EOS() (int32, bool)         { return 2, true }
func (quarters) Token(int32) (string, bool) { return "", false }

// fit joins a prompt and a target within the limits; from is where the target
// begins. A reason says why the row cannot be an example.
func (e *Encoded) fit(prompt, target []int32, head bool) (ids []int32, from int, reason string) {
	limit := e.TotalTokens
	if e.PromptTokens > 0 && len(prompt) > e.PromptTokens {
		e.Truncated++
		if head {
			prompt = prompt[:e.PromptTokens]
		} else {
			prompt = tail(prompt, e.PromptTokens)
		}
	}
	if limit > 0 && len(prompt)+len(target) > limit {
		switch {
		case head:
			if len(prompt) >= limit {
				return nil, 0, fmt.Sprintf("nothing of its target fits into %d tokens", limit)
			}
			e.Cut++
			target = target[:limit-len(prompt)]
		case len(target) >= limit:
			return nil, 0, fmt.Sprintf("its target of %d tokens does not fit into %d with a prompt", len(target), limit)
		default:
			e.Truncated++
			prompt = tail(prompt, limit-len(target))
		}
	}
	ids = append(slices.Clone(prompt), target...)
	if len(prompt) == 0 && len(target) < 2 {
		return nil, 0, "it has no token from which another could be told"
	}
	return ids, len(prompt), ""
}

// tail keeps the last n tokens, and the first one, which is a BOS where the
// model has one.
func tail(prompt []int32, n int) []int32 {
	if n <= 1 {
		return prompt[len(prompt)-n:]
	}
	return append(slices.Clone(prompt[:1]), prompt[len(prompt)-n+1:]...)
}

// percentile95 is the smallest number that 95 % are not above.
func percentile95(n []int) int {
	if len(n) == 0 {
		return 0
	}
	s := slices.Clone(n)
	sort.Ints(s)
	return s[(len(s)*95+99)/100-1]
}

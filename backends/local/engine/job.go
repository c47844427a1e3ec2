package engine

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/evalrun/evalrun/backends/local/kv"
	"github.com/evalrun/evalrun/backends/local/sample"
)

// job is a request on its way: one sequence, or several for a Score.
type job struct {
	Request
	adapter  *adapter // nil is the base model
	session  *Session
	seqs     []*seq
	left     int // sequences that are not finished
	response Response
	ended    bool
}

// seq is one row of tokens that the model goes through.
type seq struct {
	job    *job
	tokens []int32 // the prompt, and what was generated
	prompt int     // tokens of the prompt
	done   int     // tokens computed
	want   int     // first position whose state is wanted
	limit  int     // tokens that the sequence may grow to
	kv     *kv.Seq
	begun  bool // a batch has had rows of it
	long   bool // it uses the rotary angles of long sequences
	turned bool // it became long while it grew, and begins again
	over   bool

	overtaken int // by sequences whose adapters were there, while this one's found no room

	// Generate.
	sampler *sample.Sampler
	stream  TextStream
	answer  *answer
	choices *sample.Choices // what may follow, nil if everything

	// Score: continuations that this sequence spells, and their sums.
	spelled []*spelled

	// Embed.
	sum []float64
}

// spelled is a continuation on a sequence: token i is judged by the state of
// position from+i.
type spelled struct {
	index  int // in the response
	tokens []int32
	from   int
	score  Likelihood
}

// wholly tells whether the states of all positions are wanted, so that none
// can be taken from the cache.
func (q *seq) wholly() bool { return q.job.Kind == Embed || q.job.Kind == Logits }

// isLong tells whether a sequence of n tokens uses the angles of long ones.
func (e *Engine) isLong(n int) bool {
	from := e.model.LongFrom()
	return from > 0 && n > from
}

// scope names the sequences whose keys and values are alike for the same
// tokens.
func (q *seq) scope() string {
	s := ""
	if q.job.adapter != nil {
		s = q.job.adapter.content
	}
	if q.long {
		s += "+long"
	}
	return s
}

func invalid(format string, args ...any) error {
	return fmt.Errorf(format+": %w", append(args, ErrInvalid)...)
}

// newJob encodes and checks a request.
func (e *Engine) newJob(s *Session, r Request) (*job, error) {
	j := &job{Request: r, session: s}
	if r.Adapter != "" {
		if j.adapter = e.adapters[r.Adapter]; j.adapter == nil {
			return nil, fmt.Errorf("%q: %w", r.Adapter, ErrNoAdapter)
		}
		if j.adapter.broken != nil {
			return nil, j.adapter.broken
		}
	}
	if r.Kind == Score {
		return j, e.newScore(j)
	}
	prompt, err := e.encode(r)
	if err != nil {
		return nil, err
	}
	q := &seq{job: j}
	switch r.Kind {
	case Generate:
		if r.MaxTokens < 1 {
			return nil, invalid("max tokens is %d, want at least 1", r.MaxTokens)
		}
		if err := r.Sampling.Check(); err != nil {
			return nil, invalid("%v", err)
		}
		if r.TopLogprobs < 0 || r.TopLogprobs > e.model.Vocab {
			return nil, invalid("top logprobs is %d", r.TopLogprobs)
		}
		if slices.Contains(r.Stop, "") {
			return nil, invalid("a stop text is empty")
		}
		if len(r.Stop) > 0 && e.tok == nil {
			return nil, invalid("stop texts need a tokenizer, and the model has none")
		}
		most, need := r.MaxTokens, 1
		if q.choices, err = e.choices(r, prompt); err != nil {
			return nil, err
		}
		if q.choices != nil {
			most, need = q.choices.Depth, q.choices.Depth
		}
		if prompt, err = e.fit(j, prompt, RoomFor(most, e.plan.Context), need); err != nil {
			return nil, err
		}
		q.limit = min(len(prompt)+most, e.plan.Context)
		q.want = len(prompt) - 1
		q.sampler = sample.New(r.Sampling, r.RandomStream, prompt)
		q.answer = newAnswer(r.Stop)
		if e.tok != nil {
			q.stream = e.tok.Stream(prompt)
		}
	case Embed:
		if prompt, err = e.fit(j, prompt, 0, 0); err != nil {
			return nil, err
		}
		q.limit = len(prompt)
		q.sum = make([]float64, e.model.Hidden)
	case Logits:
		if prompt, err = e.fit(j, prompt, 0, 0); err != nil {
			return nil, err
		}
		if r.Labels != nil && len(r.Labels) != len(prompt) {
			return nil, invalid("%d labels for %d tokens", len(r.Labels), len(prompt))
		}
		for t, l := range r.Labels {
			if int(l) >= e.model.Vocab {
				return nil, invalid("label %d is %d, and the model's vocabulary has %d", t, l, e.model.Vocab)
			}
		}
		q.limit = len(prompt)
	default:
		return nil, invalid("request kind %d", r.Kind)
	}
	q.tokens, q.prompt = prompt, len(prompt)
	q.long = e.isLong(len(prompt))
	j.response.PromptTokens = len(prompt)
	j.seqs, j.left = []*seq{q}, 1
	return j, nil
}

// encode gives the prompt's tokens; a prompt of none becomes the token that
// begins a text.
func (e *Engine) encode(r Request) ([]int32, error) {
	ids := r.Tokens
	if ids == nil {
		if e.tok == nil {
			return nil, invalid("the model has no tokenizer: give token ids")
		}
		var err error
		if ids, err = e.tok.Encode(r.Prompt, !r.Bare, r.Literal); err != nil {
			return nil, invalid("prompt: %v", err)
		}
	}
	if len(ids) == 0 {
		first, ok := e.first()
		if !ok {
			return nil, invalid("the prompt is empty, and the model has no token that begins a text")
		}
		ids = []int32{first}
	}
	return ids, e.checkIDs(ids)
}

// first is the token that stands for an empty prompt.
func (e *Engine) first() (int32, bool) {
	if e.tok != nil {
		if id, ok := e.tok.BOS(); ok {
			return id, true
		}
		if id, ok := e.tok.EOS(); ok {
			return id, true
		}
	}
	return e.model.Config.BOS, e.model.Config.BOS >= 0
}

func (e *Engine) checkIDs(ids []int32) error {
	for i, id := range ids {
		if id < 0 || int(id) >= e.model.Vocab {
			return invalid("token %d is %d, and the model's vocabulary has %d", i, id, e.model.Vocab)
		}
	}
	return nil
}

// fit cuts a prompt to what the context holds beside room for an answer. need
// is the room without which it is refused.
func (e *Engine) fit(j *job, prompt []int32, room, need int) ([]int32, error) {
	if j.Overflow == Refuse {
		if len(prompt)+need > e.plan.Context {
			return nil, fmt.Errorf("a prompt of %d tokens in a context of %d: %w", len(prompt), e.plan.Context, ErrContext)
		}
		return slices.Clip(prompt), nil
	}
	kept, drop := CutToTail(prompt, e.plan.Context-room, e.bos())
	if drop > 0 {
		j.response.Truncated = drop
	}
	return slices.Clip(kept), nil
}

// CutToTail keeps the end of a prompt that is longer than limit tokens, and the
// bos at its beginning, and tells how many tokens it dropped.
func CutToTail(prompt []int32, limit int, bos int32) (kept []int32, dropped int) {
	drop := len(prompt) - limit
	if drop <= 0 {
		return prompt, 0
	}
	keep := 0
	if bos >= 0 && prompt[0] == bos && len(prompt) > drop+1 {
		keep = 1
	}
	return append(slices.Clone(prompt[:keep]), prompt[keep+drop:]...), drop
}

// RoomFor is what KeepTail leaves for an answer of at most maxTokens.
func RoomFor(maxTokens, context int) int { return min(maxTokens, context/4) }

func (e *Engine) bos() int32 {
	if e.tok != nil {
		if id, ok := e.tok.BOS(); ok {
			return id
		}
	}
	return e.model.Config.BOS
}

// newScore makes the sequences of a Score. The last token of a continuation
// need not be computed, and continuations that begin alike share sequences:
// labels of one token cost nothing beside the prompt.
func (e *Engine) newScore(j *job) error {
	prompts, conts, err := e.encodeScore(j)
	if err != nil {
		return err
	}
	owner := make([]int, len(conts)) // the continuation that a piece is of
	for i := range owner {
		owner[i] = i
	}
	j.response.Scores = make([]Likelihood, len(conts))
	for i := range j.response.Scores {
		j.response.Scores[i].Greedy = true
	}
	if j.Overflow == Windows {
		if prompts, conts, owner, err = e.windows(prompts, conts); err != nil {
			return err
		}
	}
	order := make([]int, len(conts))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return len(conts[b]) - len(conts[a]) })
	for _, i := range order {
		prompt := prompts[i]
		ids := append(slices.Clip(prompt), conts[i][:len(conts[i])-1]...)
		w := &spelled{index: owner[i], tokens: conts[i], from: len(prompt) - 1, score: Likelihood{Tokens: len(conts[i]), Greedy: true}}
		at := slices.IndexFunc(j.seqs, func(q *seq) bool {
			return len(q.tokens) >= len(ids) && slices.Equal(q.tokens[:len(ids)], ids)
		})
		if at < 0 {
			at = len(j.seqs)
			j.seqs = append(j.seqs, &seq{job: j, tokens: ids, prompt: len(ids), limit: len(ids), want: len(ids), long: e.isLong(len(ids))})
		}
		q := j.seqs[at]
		q.spelled = append(q.spelled, w)
		q.want = min(q.want, w.from)
	}
	j.left = len(j.seqs)
	j.response.PromptTokens = len(prompts[0])
	return nil
}

// isSpace is Python's str.isspace.
func isSpace(r rune) bool { return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f }

// windows cuts continuations of a prompt of one token into pieces that the
// context holds, each with the tokens before it that belong to its window: the
// disjoint rolling windows of lm-evaluation-harness with one token of context.
func (e *Engine) windows(prompts, conts [][]int32) (ps, cs [][]int32, owner []int, err error) {
	size := e.plan.Context
	for i, c := range conts {
		if len(prompts[i]) != 1 {
			return nil, nil, nil, invalid("windows are for texts without a prompt")
		}
		whole := append(slices.Clone(prompts[i]), c...) // a window judges whole[from:to] after whole[begin:from]
		for from := 1; from < len(whole); {
			to := min(from+size, len(whole))
			begin := max(0, min(from-1, to-1-size))
			ps, cs, owner = append(ps, whole[begin:from]), append(cs, whole[from:to]), append(owner, i)
			from = to
		}
	}
	return ps, cs, owner, nil
}

// encodeScore gives the prompt and the continuation of each pair, as tokens.
// Texts are encoded together, and cut where the prompt alone ends, so that a
// continuation is spelled as in running text; white space that ends the prompt
// goes to the continuation, where most vocabularies have it.
func (e *Engine) encodeScore(j *job) (prompts, conts [][]int32, err error) {
	r := j.Request
	if conts = r.ContinuationTokens; conts != nil {
		prompt, err := e.encode(r)
		if err != nil {
			return nil, nil, err
		}
		for range conts {
			prompts = append(prompts, prompt)
		}
	} else {
		if e.tok == nil {
			return nil, nil, invalid("the model has no tokenizer: give token ids")
		}
		text := strings.TrimRightFunc(r.Prompt, isSpace)
		spaces := r.Prompt[len(text):]
		r.Prompt = text
		prompt, err := e.encode(r)
		if err != nil {
			return nil, nil, err
		}
		for _, c := range r.Continuations {
			whole, err := e.tok.Encode(text+spaces+c, !r.Bare, r.Literal)
			if err != nil {
				return nil, nil, invalid("continuation: %v", err)
			}
			if text == "" { // the prompt may be nothing but the first token
				bare, err := e.tok.Encode(spaces+c, false, r.Literal)
				if err != nil {
					return nil, nil, invalid("continuation: %v", err)
				}
				whole = append(slices.Clip(prompt), bare...)
			}
			at := min(len(prompt), len(whole))
			prompts, conts = append(prompts, whole[:at]), append(conts, whole[at:])
		}
	}
	if len(conts) == 0 {
		return nil, nil, invalid("no continuations to score")
	}
	for i, c := range conts {
		if len(c) == 0 {
			return nil, nil, invalid("continuation %d is empty", i)
		}
		if err := e.checkIDs(c); err != nil {
			return nil, nil, fmt.Errorf("continuation %d: %w", i, err)
		}
		if j.Overflow == Windows {
			continue
		}
		if len(c) >= e.plan.Context {
			return nil, nil, fmt.Errorf("continuation %d of %d tokens in a context of %d: %w", i, len(c), e.plan.Context, ErrContext)
		}
		before := j.response.Truncated
		if prompts[i], err = e.fit(j, prompts[i], len(c)-1, len(c)-1); err != nil {
			return nil, nil, err
		}
		j.response.Truncated = max(before, j.response.Truncated)
	}
	return prompts, conts, nil
}

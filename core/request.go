package core

// Kind is what a request asks of a backend.
type Kind uint8

const (
	// Generate continues the input.
	Generate Kind = iota + 1
	// ScoreText gives log-likelihoods of Continuations after the input, whose
	// prefix is shared.
	ScoreText
	// Embed gives one vector for the input.
	Embed
	// Tokenize gives the input's token ids.
	Tokenize
)

// String is the kind's name on the command line and in files.
func (k Kind) String() string {
	switch k {
	case Generate:
		return "generate"
	case ScoreText:
		return "score"
	case Embed:
		return "embed"
	case Tokenize:
		return "tokenize"
	}
	return "unknown"
}

// A Message is one turn of a chat.
type Message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// A Request is one question to a session. ID is chosen by the caller and must
// be unique among the requests in flight of that session.
type Request struct {
	ID   string
	Kind Kind

	// Exactly one of Prompt and Messages is given (Messages non-nil wins).
	Prompt   string
	Messages []Message
	// Continuations belong to ScoreText.
	Continuations []string

	// Adapter names one of the backend's adapters; empty is the base model.
	Adapter    string
	Generation Generation
	// Choices, where there are any, are the only possible answers (Generate):
	// the model chooses among their tokens, each text as it stands or behind a
	// space. A backend whose Info.Choices is not set refuses them with
	// CodeInvalid.
	Choices []string
	// Logprobs asks for the log-probability of each token of the answer.
	Logprobs bool
	// Overflow says what becomes of an input longer than the context.
	Overflow Overflow
	// Until lets a backend stop as soon as no continuation can change what
	// these patterns would extract. A backend may ignore it.
	Until []Pattern
	// Repeat numbers independent answers to one input, from 0.
	Repeat int

	// Task and Sample say on whose behalf the request is made: for logs,
	// replays and budgets, never for the answer.
	Task, Sample string
}

// Overflow is what becomes of an input that is longer than the context.
type Overflow uint8

const (
	// OverflowError refuses the request with CodeContextLength.
	OverflowError Overflow = iota
	// OverflowKeepTail drops tokens at the front, after the BOS token, and
	// counts them in Response.Truncated.
	OverflowKeepTail
	// OverflowWindows belongs to ScoreText without a prompt: a continuation
	// longer than the context is scored in windows of the context, each token
	// once. The first window begins with the token that begins a text; each
	// further one sees the token before it, and the last is moved back so that
	// it is full.
	OverflowWindows
)

// A Pattern is an extraction as data.
type Pattern struct {
	// Expr is in Python's re syntax; Flags are letters of imsxa.
	Expr, Flags string
	Group       int
	// Select is the match wanted: N from 0, −1 the last (which never settles).
	Select int
}

// FinishReason tells why an answer ended.
type FinishReason string

// The reasons.
const (
	FinishStop   FinishReason = "stop"   // end token or stop text
	FinishLength FinishReason = "length" // max_tokens or the context: the answer is cut
	FinishUntil  FinishReason = "until"  // settled by Request.Until
	FinishFilter FinishReason = "filter" // withheld by the service
)

// Usage counts tokens.
type Usage struct {
	Prompt     int `json:"prompt"`
	Completion int `json:"completion"`
	// Shared is the part of Prompt that was served from a shared prefix.
	Shared int `json:"shared,omitempty"`
}

// A Response is the finished answer to one request.
type Response struct {
	ID     string
	Text   string
	Finish FinishReason
	// Logprobs has one entry a token of the answer where they were asked for.
	Logprobs []float64
	// Scores has one entry a continuation (ScoreText).
	Scores    []Likelihood
	Embedding []float32 // Embed
	Tokens    []int     // Tokenize

	Usage Usage
	// Truncated is the number of input tokens dropped by Overflow.
	Truncated int
	// CostUSD is what the answer cost; 0 for a free or cached one.
	CostUSD float64
	// Seconds is the time from sending to the last token; a cached answer
	// keeps the time it took when it was made.
	Seconds float64
	// Cached says that no backend computed the answer in this run.
	Cached bool
	// Attempts counts the tries, the good one included; 0 means 1.
	Attempts int
}

// Likelihood is the score of one continuation.
type Likelihood struct {
	LogProb float64 `json:"logprob"`
	Tokens  int     `json:"tokens"`
	// Greedy tells whether every token was the most likely one.
	Greedy bool `json:"greedy"`
}

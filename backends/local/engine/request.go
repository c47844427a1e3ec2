package engine

import (
	"errors"

	"github.com/evalrun/evalrun/backends/local/sample"
)

// Kind is what a request asks for.
type Kind uint8

const (
	Generate Kind = iota + 1 // continue the prompt
	Score                    // log-likelihoods of continuations of the prompt
	Embed                    // one vector for the prompt
	Logits                   // the logits of every position, or what Labels ask of them
)

// Overflow says what becomes of a prompt that is longer than the context.
type Overflow uint8

const (
	// Refuse answers with ErrContext.
	Refuse Overflow = iota
	// KeepTail drops tokens at the front, after a leading BOS, and counts them
	// in Response.Truncated. It leaves room for the answer: MaxTokens, but no
	// more than a quarter of the context.
	KeepTail
	// Windows belongs to a Score of an empty prompt: a continuation longer than
	// the context is judged in successive windows, each token once. The first
	// begins with the token that begins a text, a later one with the token
	// before it; the last reaches back so that it is full.
	Windows
)

// Request is one question. A request must not be changed after Submit.
type Request struct {
	// ID is chosen by the caller, unique among its session's requests in
	// flight.
	ID   string
	Kind Kind

	// Tokens is the prompt, if it is not nil; otherwise Prompt is encoded, with
	// the tokens that the model wants around a text unless Bare is set, and
	// taking the names of special tokens for plain text if Literal is set.
	Prompt  string
	Tokens  []int32
	Bare    bool
	Literal bool

	// Adapter names one of Options.Adapters; empty is the base model.
	Adapter string

	// Labels belong to Logits. If it is not nil it is as long as the prompt, and
	// instead of logits the response holds the log-probability of each label t
	// but those below 0 and that of position 0, which the logits of position t-1
	// judge.
	Labels []int32

	// Continuations belong to Score. ContinuationTokens takes their place if it
	// is not nil.
	Continuations      []string
	ContinuationTokens [][]int32

	// Generation. MaxTokens must be at least 1.
	MaxTokens int
	Sampling  sample.Params
	// Stream number of the request's random draws, told apart from those of
	// other requests with the same seed.
	RandomStream uint64
	// Choices, if it is not nil, are the only possible answers, as tokens
	// (ChoiceTokens) or as texts, each as it stands or behind a space. Between
	// one and another that begins with it the token that ends a text decides.
	// MaxTokens then does not count.
	Choices      []string
	ChoiceTokens [][]int32
	// Stop ends an answer where one of these texts appears; neither it nor what
	// follows is part of the answer.
	Stop []string
	// Until, if not nil, is asked each time the text has grown, and ends the
	// answer by saying true. It is given the text so far, without an end that
	// could become a stop text; what it says must depend on that alone. It must
	// be quick, and is called on the engine's goroutine.
	Until func(text string) bool
	// IgnoreEOS goes on after a token that ends a text.
	IgnoreEOS bool
	// Logprobs asks for the log-probability of each token of the answer, as
	// the model gave it before penalties and temperature; TopLogprobs for that
	// many alternatives of each.
	Logprobs    bool
	TopLogprobs int

	Overflow Overflow
	// Deltas asks for events with pieces of the text as it grows.
	Deltas bool
}

// Finish tells why an answer ended.
type Finish string

const (
	FinishStop   Finish = "stop"   // a token that ends a text, or a stop text
	FinishLength Finish = "length" // MaxTokens, or the context is full
	FinishUntil  Finish = "until"  // Request.Until said so
)

// Response is the finished answer to a request.
type Response struct {
	// Text is the answer without special tokens; empty where the model has no
	// tokenizer. Tokens are its ids, including what was cut off behind a stop
	// text but without the token that ended it.
	Text        string
	Tokens      []int32
	Finish      Finish
	Logprobs    []float64              // one a token, if asked for
	TopLogprobs [][]sample.Alternative // likewise

	Logits    [][]float32  // one row a position
	Scores    []Likelihood // one a continuation
	Embedding []float32

	PromptTokens int // after truncation
	SharedTokens int // of them, those found in the cache (by the first sequence of a Score)
	Truncated    int // tokens dropped by KeepTail
	// Computed is the number of tokens that the answer took beside the prompt,
	// the one that ended it included.
	Computed int
}

// Likelihood is the score of one continuation.
type Likelihood struct {
	LogProb float64
	Tokens  int
	Greedy  bool // each token was the most likely one
}

// Event is news of a request: a piece of text, or its end.
type Event struct {
	ID       string
	Delta    string    // set where Response and Err are nil
	Response *Response // the end, if all went well
	Err      error     // the end, if not
}

// Errors that a caller decides on; they come wrapped.
var (
	// ErrInvalid is a request that can never be answered.
	ErrInvalid = errors.New("invalid request")
	// ErrContext is a prompt that does not fit the context.
	ErrContext = errors.New("longer than the context")
	// ErrNoAdapter is a request for an adapter that is not among the options'.
	// One that is and cannot be used ends in an *AdapterError.
	ErrNoAdapter = errors.New("no such adapter")
	// ErrCancelled is the end of a cancelled request.
	ErrCancelled = errors.New("cancelled")
	// ErrClosed is returned after Close.
	ErrClosed = errors.New("closed")
)

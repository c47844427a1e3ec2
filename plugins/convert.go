package plugins

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/plugins/pb"
)

// This file and convert_metric.go are the one place where the words of core
// and the messages of the wire meet. Every field of a core type that crosses
// is named here in both directions; TestEveryFieldCrosses fails for one that
// is forgotten. Empty and nil lists are the same on the wire and arrive as
// nil, except Request.Messages, where core tells them apart.

// each translates a list; an empty one becomes nil.
func each[A, B any](list []A, f func(A) B) []B {
	if len(list) == 0 {
		return nil
	}
	out := make([]B, len(list))
	for i, v := range list {
		out[i] = f(v)
	}
	return out
}

// same gives the list, or nil for an empty one.
func same[A any](list []A) []A {
	if len(list) == 0 {
		return nil
	}
	return list
}

func configToPB(c core.Config) *pb.Config {
	return &pb.Config{
		Model:    c.Model,
		Revision: c.Revision,
		Adapters: each(c.Adapters, func(a core.Adapter) *pb.Adapter {
			return &pb.Adapter{Name: a.Name, Path: a.Path}
		}),
		BaseUrl: c.BaseURL,
		Device:  c.Device,
		Options: c.Options,
	}
}

func configFromPB(c *pb.Config) core.Config {
	return core.Config{
		Model:    c.GetModel(),
		Revision: c.GetRevision(),
		Adapters: each(c.GetAdapters(), func(a *pb.Adapter) core.Adapter {
			return core.Adapter{Name: a.GetName(), Path: a.GetPath()}
		}),
		BaseURL: c.GetBaseUrl(),
		Device:  c.GetDevice(),
		Options: c.GetOptions(),
	}
}

func infoToPB(i core.Info) *pb.Info {
	out := &pb.Info{
		Name:      i.Name,
		Version:   i.Version,
		Model:     i.Model,
		Revision:  i.Revision,
		ModelHash: i.ModelHash,
		Family:    i.Family,
		Adapters: each(i.Adapters, func(a core.AdapterInfo) *pb.AdapterInfo {
			return &pb.AdapterInfo{Name: a.Name, Hash: a.Hash}
		}),
		Kinds:         each(i.Kinds, func(k core.Kind) pb.Kind { return pb.Kind(k) }),
		Forms:         each(i.Forms, func(f core.Form) string { return string(f) }),
		ContextLength: int64(i.ContextLength),
		Until:         i.Until,
		Trains:        i.Trains,
		Deterministic: i.Deterministic,
		InFlight:      int64(i.InFlight),
		Device:        i.Device,
		Notes:         same(i.Notes),
		Choices:       i.Choices,
	}
	if p := i.Prices; p != nil {
		out.Prices = &pb.Prices{Known: p.Known, Input: p.Input, Output: p.Output}
	}
	return out
}

func infoFromPB(i *pb.Info) core.Info {
	out := core.Info{
		Name:      i.GetName(),
		Version:   i.GetVersion(),
		Model:     i.GetModel(),
		Revision:  i.GetRevision(),
		ModelHash: i.GetModelHash(),
		Family:    i.GetFamily(),
		Adapters: each(i.GetAdapters(), func(a *pb.AdapterInfo) core.AdapterInfo {
			return core.AdapterInfo{Name: a.GetName(), Hash: a.GetHash()}
		}),
		Kinds:         each(i.GetKinds(), kindFromPB),
		Forms:         each(i.GetForms(), func(f string) core.Form { return core.Form(f) }),
		ContextLength: int(i.GetContextLength()),
		Until:         i.GetUntil(),
		Trains:        i.GetTrains(),
		Deterministic: i.GetDeterministic(),
		InFlight:      int(i.GetInFlight()),
		Device:        i.GetDevice(),
		Notes:         same(i.GetNotes()),
		Choices:       i.GetChoices(),
	}
	if p := i.GetPrices(); p != nil {
		out.Prices = &core.Prices{Known: p.GetKnown(), Input: p.GetInput(), Output: p.GetOutput()}
	}
	return out
}

// kindFromPB gives 0, which no backend answers, for a number outside core's
// range.
func kindFromPB(k pb.Kind) core.Kind {
	if k < 0 || k > 255 {
		return 0
	}
	return core.Kind(k)
}

func requestToPB(r *core.Request) *pb.Request {
	out := &pb.Request{
		Id:            r.ID,
		Kind:          pb.Kind(r.Kind),
		Prompt:        r.Prompt,
		Continuations: same(r.Continuations),
		Adapter:       r.Adapter,
		Generation:    generationToPB(r.Generation),
		Choices:       same(r.Choices),
		Logprobs:      r.Logprobs,
		Overflow:      pb.Overflow(r.Overflow),
		Until:         each(r.Until, patternToPB),
		Repeat:        int64(r.Repeat),
		Task:          r.Task,
		Sample:        r.Sample,
	}
	if r.Messages != nil {
		out.Chat = &pb.Chat{Messages: each(r.Messages, func(m core.Message) *pb.Message {
			return &pb.Message{Role: m.Role, Content: m.Content}
		})}
	}
	return out
}

func patternToPB(p core.Pattern) *pb.Pattern {
	return &pb.Pattern{Expr: p.Expr, Flags: p.Flags, Group: int64(p.Group), Select: int64(p.Select)}
}

func patternFromPB(p *pb.Pattern) core.Pattern {
	return core.Pattern{Expr: p.GetExpr(), Flags: p.GetFlags(), Group: int(p.GetGroup()), Select: int(p.GetSelect())}
}

func requestFromPB(r *pb.Request) core.Request {
	out := core.Request{
		ID:            r.GetId(),
		Kind:          kindFromPB(r.GetKind()),
		Prompt:        r.GetPrompt(),
		Continuations: same(r.GetContinuations()),
		Adapter:       r.GetAdapter(),
		Generation:    generationFromPB(r.GetGeneration()),
		Choices:       same(r.GetChoices()),
		Logprobs:      r.GetLogprobs(),
		Overflow:      core.Overflow(r.GetOverflow()),
		Until:         each(r.GetUntil(), patternFromPB),
		Repeat:        int(r.GetRepeat()),
		Task:          r.GetTask(),
		Sample:        r.GetSample(),
	}
	if c := r.GetChat(); c != nil {
		out.Messages = make([]core.Message, len(c.GetMessages()))
		for i, m := range c.GetMessages() {
			out.Messages[i] = core.Message{Role: m.GetRole(), Content: m.GetContent()}
		}
	}
	return out
}

func generationToPB(g core.Generation) *pb.Generation {
	return &pb.Generation{
		MaxTokens:         int64(g.MaxTokens),
		Temperature:       g.Temperature,
		TopP:              g.TopP,
		TopK:              int64(g.TopK),
		MinP:              g.MinP,
		RepetitionPenalty: g.RepetitionPenalty,
		FrequencyPenalty:  g.FrequencyPenalty,
		PresencePenalty:   g.PresencePenalty,
		Seed:              g.Seed,
		Stop:              same(g.Stop),
	}
}

func generationFromPB(g *pb.Generation) core.Generation {
	return core.Generation{
		MaxTokens:         int(g.GetMaxTokens()),
		Temperature:       g.GetTemperature(),
		TopP:              g.GetTopP(),
		TopK:              int(g.GetTopK()),
		MinP:              g.GetMinP(),
		RepetitionPenalty: g.GetRepetitionPenalty(),
		FrequencyPenalty:  g.GetFrequencyPenalty(),
		PresencePenalty:   g.GetPresencePenalty(),
		Seed:              g.GetSeed(),
		Stop:              same(g.GetStop()),
	}
}

func responseToPB(r *core.Response) *pb.Response {
	out := &pb.Response{
		Id:        r.ID,
		Text:      r.Text,
		Finish:    string(r.Finish),
		Logprobs:  same(r.Logprobs),
		Scores:    each(r.Scores, likelihoodToPB),
		Embedding: same(r.Embedding),
		Tokens:    each(r.Tokens, func(t int) int64 { return int64(t) }),
		Truncated: int64(r.Truncated),
		CostUsd:   r.CostUSD,
		Seconds:   r.Seconds,
		Cached:    r.Cached,
		Attempts:  int64(r.Attempts),
	}
	if u := r.Usage; u != (core.Usage{}) {
		out.Usage = &pb.Usage{Prompt: int64(u.Prompt), Completion: int64(u.Completion), Shared: int64(u.Shared)}
	}
	return out
}

func responseFromPB(r *pb.Response) core.Response {
	u := r.GetUsage()
	return core.Response{
		ID:        r.GetId(),
		Text:      r.GetText(),
		Finish:    core.FinishReason(r.GetFinish()),
		Logprobs:  same(r.GetLogprobs()),
		Scores:    each(r.GetScores(), likelihoodFromPB),
		Embedding: same(r.GetEmbedding()),
		Tokens:    each(r.GetTokens(), func(t int64) int { return int(t) }),
		Usage: core.Usage{
			Prompt: int(u.GetPrompt()), Completion: int(u.GetCompletion()), Shared: int(u.GetShared()),
		},
		Truncated: int(r.GetTruncated()),
		CostUSD:   r.GetCostUsd(),
		Seconds:   r.GetSeconds(),
		Cached:    r.GetCached(),
		Attempts:  int(r.GetAttempts()),
	}
}

func likelihoodToPB(l core.Likelihood) *pb.Likelihood {
	return &pb.Likelihood{Logprob: l.LogProb, Tokens: int64(l.Tokens), Greedy: l.Greedy}
}

func likelihoodFromPB(l *pb.Likelihood) core.Likelihood {
	return core.Likelihood{LogProb: l.GetLogprob(), Tokens: int(l.GetTokens()), Greedy: l.GetGreedy()}
}

func errorToPB(e *core.Error) *pb.Error {
	return &pb.Error{
		Code:         string(e.Code),
		Message:      e.Message,
		Hint:         e.Hint,
		RetryAfterNs: int64(e.RetryAfter),
		Status:       int64(e.Status),
	}
}

func errorFromPB(e *pb.Error) *core.Error {
	return &core.Error{
		Code:       core.Code(e.GetCode()),
		Message:    e.GetMessage(),
		Hint:       e.GetHint(),
		RetryAfter: time.Duration(e.GetRetryAfterNs()),
		Status:     int(e.GetStatus()),
	}
}

// eventToPB gives nil for an event that holds nothing.
func eventToPB(e core.Event) *pb.Event {
	out := &pb.Event{Id: e.ID}
	switch {
	case e.Kind == core.EventDelta:
		out.What = &pb.Event_Delta{Delta: e.Text}
	case e.Kind == core.EventResponse && e.Response != nil:
		out.What = &pb.Event_Response{Response: responseToPB(e.Response)}
	case e.Kind == core.EventError && e.Err != nil:
		out.What = &pb.Event_Error{Error: errorToPB(e.Err)}
	case e.Kind == core.EventProgress && e.Progress != nil:
		p := e.Progress
		out.What = &pb.Event_Progress{Progress: &pb.Progress{
			Stage: p.Stage, Message: p.Message, Done: p.Done, Total: p.Total,
		}}
	default:
		return nil
	}
	return out
}

// eventFromPB gives the zero Event for one that holds nothing this side knows.
func eventFromPB(e *pb.Event) core.Event {
	out := core.Event{ID: e.GetId()}
	switch w := e.GetWhat().(type) {
	case *pb.Event_Delta:
		out.Kind, out.Text = core.EventDelta, w.Delta
	case *pb.Event_Response:
		r := responseFromPB(w.Response)
		out.Kind, out.Response = core.EventResponse, &r
	case *pb.Event_Error:
		out.Kind, out.Err = core.EventError, errorFromPB(w.Error)
	case *pb.Event_Progress:
		p := w.Progress
		out.Kind, out.Progress = core.EventProgress, &core.Progress{
			Stage: p.GetStage(), Message: p.GetMessage(), Done: p.GetDone(), Total: p.GetTotal(),
		}
	default:
		return core.Event{}
	}
	return out
}

// failureToPB takes a failure apart; nil stays nil. The kinds that a caller
// can tell apart with errors.As cross as such, anything else as its text.
func failureToPB(err error) *pb.Failure {
	if err == nil {
		return nil
	}
	out := &pb.Failure{Text: err.Error()}
	var user *core.UserError
	var own *core.Error
	switch {
	case errors.As(err, &user):
		u := &pb.UserError{Where: user.Where, Message: user.Message, Hint: user.Hint}
		if user.Err != nil {
			u.Cause = user.Err.Error()
		}
		out.Kind = &pb.Failure_User{User: u}
	case errors.As(err, &own):
		out.Kind = &pb.Failure_Error{Error: errorToPB(own)}
	}
	return out
}

// A farError is a failure of the far side: its text, and what errors.As may
// find in it.
type farError struct {
	text string
	kind error
}

func (e *farError) Error() string { return e.text }
func (e *farError) Unwrap() error { return e.kind }

// failureFromPB puts a failure together; nil stays nil.
func failureFromPB(f *pb.Failure) error {
	if f == nil {
		return nil
	}
	var kind error
	switch k := f.GetKind().(type) {
	case *pb.Failure_User:
		u := &core.UserError{Where: k.User.GetWhere(), Message: k.User.GetMessage(), Hint: k.User.GetHint()}
		if c := k.User.GetCause(); c != "" {
			u.Err = errors.New(c)
		}
		kind = u
	case *pb.Failure_Error:
		kind = errorFromPB(k.Error)
	default:
		// A caller's deadline holds on the far side too, where it may end first.
		for _, end := range []error{context.Canceled, context.DeadlineExceeded} {
			if f.GetText() == end.Error() {
				return end
			}
		}
		return errors.New(f.GetText())
	}
	if kind.Error() == f.GetText() {
		return kind
	}
	return &farError{text: f.GetText(), kind: kind}
}

// callError turns the error of a call into the words of core: the caller's own
// end of patience, or a lost far side.
func callError(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	s, _ := status.FromError(err)
	switch s.Code() {
	case codes.Canceled:
		return context.Canceled
	case codes.DeadlineExceeded:
		return context.DeadlineExceeded
	case codes.Unavailable:
		return &lostError{text: "the connection is gone", gone: true}
	}
	return errors.New(s.Message())
}

// A lostError wraps core.ErrSessionLost with what is known of the loss.
type lostError struct {
	text string
	// gone says that the connection itself, and so the process, is gone.
	gone bool
}

func (e *lostError) Error() string { return core.ErrSessionLost.Error() + ": " + e.text }
func (e *lostError) Unwrap() error { return core.ErrSessionLost }

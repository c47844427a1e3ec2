// Package budget caps what a backend may cost. Before a request is sent, the
// most that it is expected to cost is set aside; when its answer comes, that is
// replaced by what it did cost. A request that could pass the cap waits until
// enough of what others set aside is freed, and is refused with CodeBudget when
// nothing is left to wait for.
//
// The account learns from answers: when one cost more than was set aside for
// it, what is set aside for all others grows by the same factor, those in flight
// included. Until the first answer no more than an eighth of what is left is
// set aside at once (or one request).
//
// So the cap is passed by no more than the guesses of the requests in flight fall
// short of the worst one seen, and by tries inside a retrying backend that a
// service bills although they failed. Requests that failed in a way that services may bill (time-out, a cut
// or unreadable answer, a cancellation) count with what was set aside for them;
// Spent shows that part as Unsure.
package budget

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"strconv"
	"strings"
	"sync"

	"github.com/evalrun/evalrun/backends/internal/tokens"
	"github.com/evalrun/evalrun/core"
)

// DefaultMaxTokens is set aside for a request that does not bound its answer.
const DefaultMaxTokens = 1024

// Options of a capped backend.
type Options struct {
	// CapUSD is the most to spend; it must be above 0.
	CapUSD float64
	// Before is what was spent before, in the run that goes on here.
	Before float64
	// Prices are used instead of the backend's own.
	Prices *core.Prices
	// MaxTokens is set aside for a request without a bound; 0 means
	// DefaultMaxTokens.
	MaxTokens int
	// With, where it is not nil, is a backend whose account is shared: the two
	// together keep to the cap, which is the same.
	With *Backend
}

// Spending is an account.
type Spending struct {
	// USD is what answers cost, Options.Before included.
	USD float64
	// Unsure is what failed requests may have cost, at most.
	Unsure float64
	// Reserved is set aside for requests in flight.
	Reserved float64
	CapUSD   float64
	// Requests counts those sent, Refused those that the cap stopped.
	Requests, Refused int
}

// String is the account in one line.
func (s Spending) String() string {
	t := fmt.Sprintf("%s of %s USD spent on %d requests", usd(s.USD), usd(s.CapUSD), s.Requests)
	if s.Unsure > 0 {
		t += fmt.Sprintf(", up to %s USD more on requests that failed", usd(s.Unsure))
	}
	if s.Refused > 0 {
		t += fmt.Sprintf(", %d refused", s.Refused)
	}
	return t
}

func usd(v float64) string {
	if v != 0 && math.Abs(v) < 0.01 {
		return strconv.FormatFloat(v, 'g', 3, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}

// ParseUSD reads an amount such as 5usd, 0.01 USD, $5 or 5.
func ParseUSD(s string) (float64, error) {
	t := strings.ToLower(strings.TrimSpace(s))
	t = strings.TrimSpace(strings.TrimPrefix(strings.TrimSuffix(t, "usd"), "$"))
	v, err := strconv.ParseFloat(t, 64)
	if err != nil || !(v > 0) || math.IsInf(v, 0) {
		return 0, &core.UserError{
			Message: fmt.Sprintf("%q is not an amount of money", s),
			Hint:    "give US dollars above 0, such as 5usd or 0.01usd",
		}
	}
	return v, nil
}

// Backend is a capped backend.
type Backend struct {
	core.Backend
	o      Options
	prices *core.Prices
	*ledger
}

// ledger is an account that several backends may share.
type ledger struct {
	mu      sync.Mutex
	account Spending
	// reserved sums the guesses of requests in flight, scale is what guesses are
	// multiplied with: the account's Reserved is their product.
	reserved, scale float64
	answered        bool
	freed           chan struct{} // closed and replaced when an account changes
}

// Wrap caps b. It asks b for its prices: a backend that costs nothing is
// counted but never stopped, and one whose prices are not known is an error,
// because a cap could not be kept. Close closes b.
func Wrap(ctx context.Context, b core.Backend, o Options) (*Backend, error) {
	if !(o.CapUSD > 0) || math.IsInf(o.CapUSD, 0) || !(o.Before >= 0) {
		return nil, &core.UserError{
			Where: "--max-cost", Message: fmt.Sprintf("a cap of %v USD is not possible", o.CapUSD),
			Hint: "give US dollars above 0, such as 5usd",
		}
	}
	info, err := b.Info(ctx)
	if err != nil {
		return nil, fmt.Errorf("asking the backend for its prices: %w", err)
	}
	if o.Prices == nil {
		o.Prices = info.Prices
	}
	if o.Prices != nil && !o.Prices.Known {
		return nil, &core.UserError{
			Where:   "--max-cost",
			Message: fmt.Sprintf("the prices of %s %s are not known, so a cap cannot be kept", info.Name, info.Model),
			Hint:    "give them in USD per million tokens, such as --opt price_in=30 --opt price_out=60 (0 for a free service)",
		}
	}
	if o.MaxTokens <= 0 {
		o.MaxTokens = DefaultMaxTokens
	}
	out := &Backend{Backend: b, o: o, prices: o.Prices}
	if o.With != nil {
		out.ledger = o.With.ledger
	} else {
		out.ledger = &ledger{freed: make(chan struct{}), scale: 1, account: Spending{USD: o.Before, CapUSD: o.CapUSD}}
	}
	return out, nil
}

// Spent gives the account as it stands. It may be called at any time.
func (b *Backend) Spent() Spending {
	b.mu.Lock()
	defer b.mu.Unlock()
	a := b.account
	a.Reserved = b.reserved * b.scale
	return a
}

// Info carries the prices that are counted with.
func (b *Backend) Info(ctx context.Context) (core.Info, error) {
	info, err := b.Backend.Info(ctx)
	info.Prices = b.prices
	return info, err
}

// Estimate is what a request is expected to cost at most.
func (b *Backend) Estimate(r *core.Request) float64 {
	out := 0
	if r.Kind == core.Generate {
		if out = r.Generation.MaxTokens; out == 0 {
			out = b.o.MaxTokens
		}
	}
	return b.prices.Cost(core.Usage{Prompt: tokens.Prompt(r), Completion: out})
}

// maxScale bounds what one odd answer can do to all guesses.
const maxScale = 10

// reserve sets the guess est aside, waiting for others to settle if that can
// help. It returns false when the cap forbids the request.
func (b *Backend) reserve(ctx context.Context, est float64) (bool, error) {
	b.mu.Lock()
	for {
		if err := ctx.Err(); err != nil {
			b.mu.Unlock()
			return false, err
		}
		left := b.o.CapUSD - b.account.USD - b.account.Unsure
		room := left
		if !b.answered && b.reserved > 0 {
			room = left / 8
		}
		if (b.reserved+est)*b.scale <= room || est == 0 {
			b.reserved += est
			b.account.Requests++
			b.mu.Unlock()
			return true, nil
		}
		// What is in flight may turn out cheaper; without it the answer is final.
		if est*b.scale > left || b.reserved <= 0 {
			b.account.Refused++
			b.mu.Unlock()
			return false, nil
		}
		freed := b.freed
		b.mu.Unlock()
		select {
		case <-freed:
		case <-ctx.Done():
			return false, ctx.Err()
		}
		b.mu.Lock()
	}
}

// settle frees the guess est and books cost: as spent, or as possible where
// unsure.
func (b *Backend) settle(est, cost float64, unsure bool) {
	if est == 0 && cost == 0 {
		return
	}
	b.mu.Lock()
	b.reserved -= est
	if math.Abs(b.reserved) < 1e-12 {
		b.reserved = 0 // what rounding left
	}
	if unsure {
		b.account.Unsure += cost
	} else {
		b.account.USD += cost
	}
	close(b.freed)
	b.freed = make(chan struct{})
	b.mu.Unlock()
}

// learn takes the cost of an answer into account for guesses to come.
func (b *Backend) learn(est, cost float64) {
	if est <= 0 || cost <= 0 {
		return
	}
	b.mu.Lock()
	b.answered = true
	b.scale = min(max(b.scale, cost/est), maxScale)
	b.mu.Unlock()
}

// unsend takes back a reservation whose request was not accepted.
func (b *Backend) unsend(est float64) {
	b.mu.Lock()
	b.account.Requests--
	b.mu.Unlock()
	b.settle(est, 0, false)
}

// Open opens a session; the account is one for all of them.
func (b *Backend) Open(ctx context.Context) (core.Session, error) {
	inner, err := b.Backend.Open(ctx)
	if err != nil {
		return nil, err
	}
	s := &session{b: b, inner: inner, inFlight: map[string]reservation{}}
	s.ctx, s.stop = context.WithCancel(ctx)
	return s, nil
}

type reservation struct {
	usd    float64
	prompt int
}

type session struct {
	b     *Backend
	inner core.Session
	ctx   context.Context
	stop  context.CancelFunc

	mu       sync.Mutex
	inFlight map[string]reservation
	closed   bool
}

// Send refuses with CodeBudget what the cap does not allow. It blocks while
// answers in flight decide whether it does.
func (s *session) Send(r core.Request) error {
	est := s.b.Estimate(&r)
	ok, err := s.b.reserve(s.ctx, est)
	if err != nil {
		if s.isClosed() {
			return core.ErrSessionClosed
		}
		return fmt.Errorf("%w: %w", core.ErrSessionClosed, err)
	}
	if !ok {
		sp := s.b.Spent()
		return &core.Error{
			Code:    core.CodeBudget,
			Message: fmt.Sprintf("the spending cap is reached: %s, the next request may cost %s", sp, usd(est)),
			Hint:    "raise --max-cost and run the same command again: stored answers are not paid for twice",
		}
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		s.b.unsend(est)
		return core.ErrSessionClosed
	}
	if _, twice := s.inFlight[r.ID]; twice {
		s.mu.Unlock()
		s.b.unsend(est)
		return &core.Error{Code: core.CodeInvalid, Message: fmt.Sprintf("a request with id %q is already in flight", r.ID)}
	}
	s.inFlight[r.ID] = reservation{usd: est, prompt: tokens.Prompt(&r)}
	s.mu.Unlock()
	if err := s.inner.Send(r); err != nil {
		if _, held := s.take(r.ID); held {
			s.b.unsend(est)
		}
		return err
	}
	return nil
}

func (s *session) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

func (s *session) take(id string) (reservation, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	res, ok := s.inFlight[id]
	delete(s.inFlight, id)
	return res, ok
}

func (s *session) Cancel(id string) error { return s.inner.Cancel(id) }

func (s *session) Events() iter.Seq2[core.Event, error] {
	return func(yield func(core.Event, error) bool) {
		for ev, err := range s.inner.Events() {
			if err != nil {
				if errors.Is(err, core.ErrSessionLost) {
					s.abandon()
				}
				yield(ev, err)
				return
			}
			s.book(&ev)
			if !yield(ev, nil) {
				return
			}
		}
	}
}

func (s *session) book(ev *core.Event) {
	if ev.Kind != core.EventResponse && ev.Kind != core.EventError {
		return
	}
	res, ok := s.take(ev.ID)
	if !ok {
		return
	}
	if ev.Kind == core.EventError {
		s.b.settle(res.usd, possible(ev.Err.Code, res.usd), true)
		return
	}
	resp := ev.Response
	if resp.CostUSD == 0 && !resp.Cached {
		u := resp.Usage
		if u == (core.Usage{}) {
			u = core.Usage{Prompt: res.prompt, Completion: tokens.Of(resp.Text)}
		}
		if cost := s.b.prices.Cost(u); cost > 0 {
			priced := *resp
			priced.CostUSD = cost
			ev.Response, resp = &priced, &priced
		}
	}
	s.b.learn(res.usd, resp.CostUSD)
	s.b.settle(res.usd, resp.CostUSD, false)
}

// possible is what a failed request may have cost.
func possible(c core.Code, est float64) float64 {
	switch c {
	case core.CodeTimeout, core.CodeCut, core.CodeBadAnswer, core.CodeCancelled, core.CodeInternal:
		return est
	}
	return 0
}

// abandon books what is in flight as possibly spent: no event will tell.
func (s *session) abandon() {
	s.mu.Lock()
	left := s.inFlight
	s.inFlight = map[string]reservation{}
	s.mu.Unlock()
	for _, res := range left {
		s.b.settle(res.usd, res.usd, true)
	}
}

func (s *session) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.stop()
	err := s.inner.Close()
	s.abandon()
	return err
}

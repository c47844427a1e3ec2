package budget_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/evalrun/evalrun/backends/backendtest"
	"github.com/evalrun/evalrun/backends/budget"
	"github.com/evalrun/evalrun/backends/echo"
	"github.com/evalrun/evalrun/core"
)

func newEcho(t testing.TB, options map[string]string) core.Backend {
	t.Helper()
	b, err := echo.New(core.Config{Options: options})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func wrap(t testing.TB, b core.Backend, o budget.Options) *budget.Backend {
	t.Helper()
	w, err := budget.Wrap(context.Background(), b, o)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func TestContract(t *testing.T) {
	backendtest.Run(t, func(t *testing.T) core.Backend {
		return wrap(t, newEcho(t, map[string]string{"latency": "2ms", "price_in": "1", "price_out": "2"}), budget.Options{CapUSD: 100})
	}, backendtest.Options{})
}

// drive sends until the cap refuses, with several senders; it gives the number
// of answers and of refusals.
func drive(t *testing.T, b core.Backend, n, maxTokens int) (answers, refused int) {
	t.Helper()
	s, err := b.Open(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var mu sync.Mutex
	var senders sync.WaitGroup
	sent := 0
	for k := range 8 {
		senders.Go(func() {
			for i := k; i < n; i += 8 {
				err := s.Send(core.Request{
					ID: fmt.Sprint(i), Kind: core.Generate, Prompt: "one two three four",
					Generation: core.Generation{MaxTokens: maxTokens},
				})
				var e *core.Error
				mu.Lock()
				switch {
				case err == nil:
					sent++
				case errors.As(err, &e) && e.Code == core.CodeBudget:
					refused++
					if e.Hint == "" || !strings.Contains(e.Message, "cap is reached") {
						t.Errorf("refusal says %q, hint %q", e.Message, e.Hint)
					}
				default:
					t.Errorf("send: %v", err)
				}
				mu.Unlock()
			}
		})
	}
	finished := make(chan struct{})
	go func() { senders.Wait(); close(finished) }()
	events := make(chan core.Event)
	go func() {
		for ev, err := range s.Events() {
			if err != nil {
				t.Error(err)
			}
			events <- ev
		}
	}()
	finals := 0
	read := func(ev core.Event) {
		finals++
		if ev.Kind == core.EventResponse {
			answers++
		}
	}
	for senders := finished; senders != nil; {
		select {
		case ev := <-events:
			read(ev)
		case <-senders:
			senders = nil
		}
	}
	for finals < sent {
		read(<-events)
	}
	return answers, refused
}

func TestCapHolds(t *testing.T) {
	// A request costs 4 tokens in and 2 out at 1 USD a token: 6 USD; its
	// reservation is the same, so the cap is used up to the last full request.
	b := wrap(t, newEcho(t, map[string]string{"price_in": "1e6", "price_out": "1e6", "mode": "constant:a b", "jitter": "2ms"}),
		budget.Options{CapUSD: 100})
	answers, refused := drive(t, b, 50, 2)
	if answers != 16 || refused != 34 {
		t.Errorf("%d answers, %d refusals; want 16 and 34", answers, refused)
	}
	sp := b.Spent()
	if sp.USD != 96 || sp.Reserved != 0 || sp.Unsure != 0 || sp.Refused != 34 || sp.Requests != 16 {
		t.Errorf("account %+v", sp)
	}
}

// Reservations are far above what answers cost: senders wait for them to be
// settled instead of giving up early.
func TestReservationsAreFreed(t *testing.T) {
	b := wrap(t, newEcho(t, map[string]string{"price_in": "1e6", "price_out": "1e6", "mode": "constant:a", "jitter": "1ms"}),
		budget.Options{CapUSD: 120})
	// 4 + 50 set aside, 5 spent: the last is let through at 66 or less.
	answers, _ := drive(t, b, 100, 50)
	if answers != 14 {
		t.Errorf("%d answers, want 14", answers)
	}
	if sp := b.Spent(); sp.USD != 70 || sp.Reserved != 0 {
		t.Errorf("account %+v", sp)
	}
}

// A service that counts three times the tokens that were guessed: the cap holds
// all the same, because the first answers tell.
func TestGuessesLearn(t *testing.T) {
	dear := wrap(t, &tripling{newEcho(t, map[string]string{"jitter": "2ms", "mode": "constant:a"})},
		budget.Options{CapUSD: 300, Prices: &core.Prices{Known: true, Input: 1e6}})
	answers, refused := drive(t, dear, 100, 2) // 4 guessed, 12 charged
	if sp := dear.Spent(); sp.USD > 300 || answers != 25 || refused != 75 || sp.Reserved != 0 {
		t.Errorf("%d answers, %d refusals, account %+v", answers, refused, sp)
	}
}

// tripling counts three input tokens for one.
type tripling struct{ core.Backend }

type triplingSession struct{ core.Session }

func (b *tripling) Open(ctx context.Context) (core.Session, error) {
	s, err := b.Backend.Open(ctx)
	return &triplingSession{s}, err
}

func (s *triplingSession) Events() iter.Seq2[core.Event, error] {
	return func(yield func(core.Event, error) bool) {
		for ev, err := range s.Session.Events() {
			if ev.Response != nil {
				ev.Response.Usage.Prompt *= 3
			}
			if !yield(ev, err) {
				return
			}
		}
	}
}

func TestBeforeCounts(t *testing.T) {
	b := wrap(t, newEcho(t, map[string]string{"price_in": "1e6"}), budget.Options{CapUSD: 10, Before: 9})
	answers, refused := drive(t, b, 3, 2)
	if answers != 0 || refused != 3 {
		t.Errorf("%d answers, %d refusals", answers, refused)
	}
	if sp := b.Spent(); sp.USD != 9 {
		t.Errorf("account %+v", sp)
	}
}

func TestFailuresThatMayCost(t *testing.T) {
	for code, want := range map[string]float64{"timeout": 6, "cut": 6, "rate_limit": 0, "auth": 0} {
		b := wrap(t, newEcho(t, map[string]string{"price_in": "1e6", "price_out": "1e6", "error_rate": "1", "error_code": code}),
			budget.Options{CapUSD: 10})
		drive(t, b, 1, 2)
		if sp := b.Spent(); sp.Unsure != want || sp.USD != 0 || sp.Reserved != 0 {
			t.Errorf("%s: account %+v, want %v unsure", code, sp, want)
		}
	}
}

func TestFreeBackendIsNeverStopped(t *testing.T) {
	b := wrap(t, newEcho(t, nil), budget.Options{CapUSD: 1e-9})
	if answers, refused := drive(t, b, 20, 2); answers != 20 || refused != 0 {
		t.Errorf("%d answers, %d refusals", answers, refused)
	}
}

func TestPricesGivenByTheUser(t *testing.T) {
	b := wrap(t, newEcho(t, nil), budget.Options{CapUSD: 100, Prices: &core.Prices{Known: true, Input: 1e6}})
	drive(t, b, 2, 2)
	if sp := b.Spent(); sp.USD != 8 {
		t.Errorf("account %+v, want 8 USD", sp)
	}
	if info, err := b.Info(context.Background()); err != nil || info.Prices == nil || info.Prices.Input != 1e6 {
		t.Errorf("info tells prices %+v, %v", info.Prices, err)
	}
}

type unknown struct{ core.Backend }

func (u unknown) Info(ctx context.Context) (core.Info, error) {
	return core.Info{Name: "openai", Model: "odd-1", Prices: &core.Prices{}}, nil
}

func TestUnknownPricesAreAnErrorAtOnce(t *testing.T) {
	_, err := budget.Wrap(context.Background(), unknown{newEcho(t, nil)}, budget.Options{CapUSD: 1})
	var u *core.UserError
	if !errors.As(err, &u) || !strings.Contains(u.Message, "odd-1") || !strings.Contains(u.Hint, "price_in") {
		t.Errorf("got %v", err)
	}
	for _, bad := range []float64{0, -1, math.NaN(), math.Inf(1)} {
		if _, err := budget.Wrap(context.Background(), newEcho(t, nil), budget.Options{CapUSD: bad}); !errors.As(err, &u) {
			t.Errorf("cap %v: %v", bad, err)
		}
	}
}

func TestCloseEndsAWaitingSend(t *testing.T) {
	b := wrap(t, newEcho(t, map[string]string{"price_in": "1e6", "latency": "1h"}), budget.Options{CapUSD: 5})
	s, err := b.Open(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	r := core.Request{ID: "1", Kind: core.Generate, Prompt: "one two three"}
	if err := s.Send(r); err != nil {
		t.Fatal(err)
	}
	sent := make(chan error, 1)
	go func() { r.ID = "2"; sent <- s.Send(r) }()
	time.Sleep(20 * time.Millisecond)
	s.Close()
	select {
	case err := <-sent:
		if !errors.Is(err, core.ErrSessionClosed) {
			t.Errorf("send gave %v", err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("send still waits")
	}
	if sp := b.Spent(); sp.Unsure != 3 || sp.Reserved != 0 {
		t.Errorf("account %+v", sp)
	}
}

func TestParseUSD(t *testing.T) {
	for s, want := range map[string]float64{"5usd": 5, "0.01 USD": 0.01, "$3": 3, " 2.5 ": 2.5} {
		if got, err := budget.ParseUSD(s); err != nil || got != want {
			t.Errorf("%q: %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "usd", "-1usd", "0", "NaN", "inf", "5eur"} {
		if _, err := budget.ParseUSD(s); err == nil {
			t.Errorf("%q is taken", s)
		}
	}
}

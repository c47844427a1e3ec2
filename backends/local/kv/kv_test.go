package kv

import (
	"errors"
	"math/rand/v2"
	"testing"
)

// tokens makes a prompt: length tokens of a kind, from a place on another.
func tokens(length, kind, from, other int) []int32 {
	t := make([]int32, length)
	for i := range t {
		t[i] = int32(kind*1000 + i)
		if i >= from {
			t[i] = int32(other*1000 + i)
		}
	}
	return t
}

func admit(t *testing.T, p *Pool, prompt []int32, total int) *Seq {
	t.Helper()
	s, err := p.Admit("", prompt, total, true)
	if err != nil || s == nil {
		t.Fatalf("admit: %v, %v", s, err)
	}
	return s
}

func TestSharing(t *testing.T) {
	p := New(20)
	a := admit(t, p, tokens(100, 1, 100, 0), 110)
	if a.Start() != 0 || len(a.Pages) != 4 {
		t.Fatalf("start %d, %d pages", a.Start(), len(a.Pages))
	}
	b := admit(t, p, tokens(100, 1, 70, 2), 110) // two pages in common
	if b.Start() != 64 || b.Pages[0] != a.Pages[0] || b.Pages[1] != a.Pages[1] || b.Pages[2] == a.Pages[2] {
		t.Fatalf("start %d, pages %v beside %v", b.Start(), b.Pages, a.Pages)
	}
	if owner, until := b.Wait(); owner != a || until != 64 {
		t.Fatalf("waits for %p until %d", owner, until)
	}
	p.Computed(a, 63)
	if owner, _ := b.Wait(); owner != a {
		t.Fatal("does not wait for the second page")
	}
	p.Computed(a, 64)
	if owner, _ := b.Wait(); owner != nil {
		t.Fatal("still waits")
	}
	other, err := p.Admit("adapter", tokens(100, 1, 100, 0), 100, true)
	if err != nil || other.Start() != 0 {
		t.Fatal("shared across scopes")
	}
	alone, err := p.Admit("", tokens(100, 1, 100, 0), 100, false)
	if err != nil || alone.Start() != 0 {
		t.Fatal("shared although it asked not to")
	}
	// The last token of a prompt is computed even where all of it is known.
	p.Computed(a, 96)
	// Within a page it starts from a copy.
	c := admit(t, p, tokens(96, 1, 96, 0), 96)
	if c.Start() != 95 || c.Copy.N != 31 || c.Copy.From != a.Pages[2] || c.Copy.To != c.Pages[2] || c.Pages[2] == a.Pages[2] {
		t.Fatalf("start %d, copy %+v", c.Start(), c.Copy)
	}
	for parting, want := range map[int]int{75: 11, 68: 4, 67: 0, 64: 0} {
		d := admit(t, p, tokens(90, 1, parting, 5+parting), 90)
		if d.Start() != 64+want || d.Copy.N != want {
			t.Errorf("parting at %d: start %d, copy %+v", parting, d.Start(), d.Copy)
		}
		p.Release(d)
	}
}

// The end of a prompt, less than a page, is a page to start from too; the same
// prompt again does not enter it twice.
func TestEndOfPrompt(t *testing.T) {
	p := New(20)
	a := admit(t, p, tokens(50, 1, 50, 0), 90)
	if early := admit(t, p, tokens(60, 1, 50, 2), 60); early.Copy.N != 0 || early.Start() != 32 {
		t.Errorf("copies what is not there: %+v", early.Copy)
	}
	p.Computed(a, 49)
	if b := admit(t, p, tokens(60, 1, 50, 3), 60); b.Copy.N != 0 {
		t.Errorf("copies what is not complete: %+v", b.Copy)
	}
	p.Computed(a, 50)
	if b := admit(t, p, tokens(60, 1, 50, 4), 60); b.Copy.N != 18 || b.Copy.From != a.Pages[1] || b.Start() != 50 {
		t.Errorf("start %d, copy %+v", b.Start(), b.Copy)
	}
	same := admit(t, p, tokens(50, 1, 50, 0), 90)
	if same.Copy.N != 17 || same.Start() != 49 || len(same.path) != 1 {
		t.Errorf("start %d, copy %+v, %d pages entered", same.Start(), same.Copy, len(same.path))
	}
	p.Release(a)
	p.Release(same)
	if c := admit(t, p, tokens(50, 1, 50, 0), 90); c.Start() != 49 {
		t.Errorf("start %d after the release", c.Start())
	}
}

func TestFullAndTooLong(t *testing.T) {
	p := New(4)
	if _, err := p.Admit("", tokens(10, 1, 10, 0), 129, true); !errors.Is(err, ErrTooLong) {
		t.Fatalf("error %v", err)
	}
	a := admit(t, p, tokens(100, 1, 100, 0), 128)
	if s, err := p.Admit("", tokens(10, 2, 10, 0), 10, true); s != nil || err != nil {
		t.Fatalf("admitted to a full pool: %v, %v", s, err)
	}
	p.Computed(a, 128)
	p.Release(a)
	if p.Available() != 4 {
		t.Fatalf("%d pages available", p.Available())
	}
	b := admit(t, p, tokens(100, 1, 100, 0), 100)
	if b.Start() != 96 {
		t.Fatalf("the memory of the past is gone: start %d", b.Start())
	}
	p.Release(b)
	c := admit(t, p, tokens(40, 3, 40, 0), 40) // one page was free, one is evicted: the last of the chain
	// The page that is copied from may be the one that is evicted for the copy.
	if d := admit(t, p, tokens(64, 1, 64, 0), 64); d.Start() != 63 || len(d.Pages) != 2 || d.Copy.From != d.Copy.To {
		t.Fatalf("start %d, copy %+v", d.Start(), d.Copy)
	}
	_ = c
}

// When the sequence that computes a shared page is cancelled, the eldest that
// waits takes over.
func TestHeir(t *testing.T) {
	p := New(30)
	a := admit(t, p, tokens(100, 1, 100, 0), 100)
	b := admit(t, p, tokens(100, 1, 40, 2), 100)
	c := admit(t, p, tokens(100, 1, 70, 3), 100)
	p.Computed(a, 20)
	p.Release(a)
	if b.Start() != 0 {
		t.Fatalf("heir starts at %d", b.Start())
	}
	if owner, until := c.Wait(); owner != b || until != 32 || c.Start() != 32 {
		t.Fatalf("start %d, waits until %d", c.Start(), until)
	}
	p.Release(b)
	if c.Start() != 0 {
		t.Fatalf("last heir starts at %d", c.Start())
	}
	p.Release(c)
	if p.Available() != 30 || p.idle.len() != 0 {
		t.Fatalf("%d available, %d idle pages that were never computed", p.Available(), p.idle.len())
	}
}

// A long random life: pages are never lost, never given twice, and nobody
// depends on what nobody computes.
func TestRandomLife(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	p := New(64)
	type running struct {
		seq  *Seq
		done int
		len  int
	}
	var live []*running
	for range 20000 {
		switch rng.IntN(4) {
		case 0, 1:
			n := 1 + rng.IntN(200)
			prompt := tokens(n, rng.IntN(3), rng.IntN(200), 10+rng.IntN(3))
			s, err := p.Admit("", prompt, n+rng.IntN(50), rng.IntN(5) > 0)
			if err != nil {
				t.Fatal(err)
			}
			if s != nil {
				live = append(live, &running{s, 0, n})
			}
		case 2:
			for _, r := range live { // one step: everyone who can, goes on
				r.done = max(r.done, r.seq.Start())
				if owner, until := r.seq.Wait(); owner != nil {
					ready := false
					for _, o := range live {
						ready = ready || o.seq == owner && o.done >= until
					}
					if !ready {
						continue
					}
				}
				r.done = min(r.len, r.done+rng.IntN(40))
				p.Computed(r.seq, r.done)
			}
		case 3:
			if len(live) > 0 {
				i := rng.IntN(len(live))
				p.Release(live[i].seq)
				live = append(live[:i], live[i+1:]...)
			}
		}
		seen := map[int32]*node{}
		used := map[int32]bool{}
		for _, r := range live {
			for i, id := range r.seq.Pages {
				used[id] = true
				var n *node
				if i < len(r.seq.path) {
					n = r.seq.path[i]
				}
				if old, ok := seen[id]; ok && (old == nil || old != n) {
					t.Fatal("a page belongs to two")
				}
				seen[id] = n
			}
			if owner, _ := r.seq.Wait(); owner != nil {
				found := false
				for _, o := range live {
					found = found || o.seq == owner
				}
				if !found {
					t.Fatal("waits for a sequence that is gone")
				}
			}
		}
		if len(used)+p.Available() != p.Pages() {
			t.Fatalf("%d used and %d available of %d", len(used), p.Available(), p.Pages())
		}
	}
	for _, r := range live {
		p.Release(r.seq)
	}
	if p.Available() != p.Pages() {
		t.Fatalf("%d of %d came back", p.Available(), p.Pages())
	}
}

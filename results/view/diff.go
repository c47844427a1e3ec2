package view

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/evalrun/evalrun/core/record"
	"github.com/evalrun/evalrun/results"
)

// A Side is one model of one run.
type Side struct {
	Folder *results.Folder
	Model  string
}

// outcome is what two records of a sample are compared by.
type outcome struct {
	key    record.Key // in its own run
	good   float64    // NaN without verdict
	failed bool       // an API error
	scored bool
	answer string // only where there is no score
}

// place is a sample whatever the model.
type place struct {
	task, sample string
	repeat       int
}

// Diff writes the samples on which two sides differ: in the first metric's
// score, in whether there was an answer at all, or, where nothing was scored,
// in the answer. What B does worse comes first, the largest differences on top.
// With Wrong only those are shown; with Errors only those that a side has no
// answer to.
func Diff(ctx context.Context, w io.Writer, a, b Side, o Options) (Count, error) {
	sideA, err := o.side(ctx, a)
	if err != nil {
		return Count{}, err
	}
	sideB, err := o.side(ctx, b)
	if err != nil {
		return Count{}, err
	}
	c := Count{}
	gains := map[record.Key]float64{} // by B's key
	partner := map[record.Key]record.Key{}
	for p, ob := range sideB.outcomes {
		oa, ok := sideA.outcomes[p]
		if !ok {
			continue
		}
		c.Samples++
		gain, differ := difference(oa, ob)
		if !differ || o.Wrong && gain >= 0 || o.Errors && !oa.failed && !ob.failed {
			continue
		}
		c.Matching++
		gains[ob.key], partner[ob.key] = gain, oa.key
	}
	for k, e := range sideB.idx.last {
		_, e.match = gains[k]
		sideB.idx.last[k] = e
	}
	keys := sideB.idx.choose(o.N, func(x, y record.Key) int {
		return cmp.Or(cmp.Compare(gains[x], gains[y]), sideB.idx.inOrder(x, y))
	})
	c.Shown = len(keys)
	for start := 0; start < len(keys); start += held {
		part := keys[start:min(start+held, len(keys))]
		others := make([]record.Key, len(part))
		for i, k := range part {
			others[i] = partner[k]
		}
		recsA, err := collect(ctx, sideA.idx, a.Folder, others)
		if err != nil {
			return c, err
		}
		recsB, err := collect(ctx, sideB.idx, b.Folder, part)
		if err != nil {
			return c, err
		}
		for i := range part {
			if o.JSON {
				err = encode(w, map[string]*record.Record{"a": recsA[i], "b": recsB[i]})
			} else {
				_, err = io.WriteString(w, pairText(recsA[i], recsB[i], fmt.Sprintf("%d of %d", start+i+1, c.Matching), o))
			}
			if err != nil {
				return c, err
			}
		}
	}
	return c, nil
}

type sideIndex struct {
	idx      *idx
	outcomes map[place]outcome
}

func (o Options) side(ctx context.Context, s Side) (*sideIndex, error) {
	o.Model = s.Model
	out := &sideIndex{outcomes: map[place]outcome{}}
	var err error
	out.idx, err = index(ctx, s.Folder, o, func(rec *record.Record) bool {
		oc := outcome{key: rec.Key(), good: math.NaN(), failed: rec.Error != nil}
		if sc := first(rec); sc != nil && !oc.failed {
			oc.scored = true
			if sc.Skipped == "" && !math.IsNaN(float64(sc.Value)) {
				oc.good = o.goodness(sc)
			}
		} else {
			oc.answer = rec.Response
		}
		out.outcomes[place{rec.Task, rec.Sample, rec.Repeat}] = oc
		return false
	})
	return out, err
}

// difference tells whether two outcomes differ and what B gains. An answer
// against none is a difference without a size.
func difference(a, b outcome) (gain float64, differ bool) {
	if a.failed || b.failed {
		return 0, a.failed != b.failed
	}
	if !a.scored && !b.scored {
		return 0, a.answer != b.answer
	}
	nanA, nanB := math.IsNaN(a.good), math.IsNaN(b.good)
	if nanA || nanB {
		return 0, nanA != nanB
	}
	return b.good - a.good, a.good != b.good
}

func collect(ctx context.Context, x *idx, f *results.Folder, keys []record.Key) ([]*record.Record, error) {
	out := make([]*record.Record, 0, len(keys))
	err := x.fetch(ctx, f, keys, func(rec *record.Record) error {
		out = append(out, rec)
		return nil
	})
	return out, err
}

// pairText is one sample under both sides; what they share stands once.
func pairText(a, b *record.Record, where string, o Options) string {
	var s strings.Builder
	heading(&s, b, where, false)
	same := a.Prompt == b.Prompt && fmt.Sprint(a.Messages) == fmt.Sprint(b.Messages)
	if same {
		asked(&s, b, o)
	}
	field(&s, "target", targets(b.Targets), o.Full, answerHead, answerTail)
	for i, rec := range []*record.Record{a, b} {
		fmt.Fprintf(&s, "%s: %s\n", string(rune('A'+i)), Escape(rec.Model))
		if !same {
			asked(&s, rec, o)
		}
		answered(&s, rec, o)
	}
	s.WriteByte('\n')
	return s.String()
}

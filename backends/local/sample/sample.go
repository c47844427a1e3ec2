// Package sample turns the logits of one position into a token.
//
// What is drawn depends on the logits, the parameters and three numbers: the
// seed, the request's own stream and the position. There is no running state
// of a generator, so an answer is the same alone and in any batch.
package sample

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

// Params say how a token is chosen. The zero value is greedy: the most likely
// token, the lowest id of equals.
//
// The steps are those of transformers, in its order: penalties, temperature,
// top-k, top-p, min-p.
type Params struct {
	// Temperature divides the logits; 0 is greedy.
	Temperature float64
	// TopK keeps the K most likely tokens; 0 keeps all.
	TopK int
	// TopP keeps the fewest most likely tokens whose probabilities add up to
	// at least P (Holtzman et al., 2020); 0 and 1 keep all.
	TopP float64
	// MinP keeps tokens at least P times as likely as the most likely one
	// (Nguyen et al., 2024); 0 keeps all.
	MinP float64
	// Repetition divides a positive logit and multiplies a negative one of
	// every token in the prompt or the answer (Keskar et al., 2019); 0 and 1
	// change nothing.
	Repetition float64
	// Frequency is subtracted from a token's logit for each time the answer
	// has it, Presence once if it has it at all (OpenAI).
	Frequency, Presence float64
	Seed                uint64
}

// Check refuses values that mean nothing.
func (p Params) Check() error {
	for _, c := range []struct {
		name   string
		value  float64
		lo, hi float64
	}{
		{"temperature", p.Temperature, 0, 1e6}, {"top_k", float64(p.TopK), 0, math.MaxInt32}, {"top_p", p.TopP, 0, 1},
		{"min_p", p.MinP, 0, 1}, {"repetition_penalty", p.Repetition, 0, 1e6},
		{"frequency_penalty", p.Frequency, -1e6, 1e6}, {"presence_penalty", p.Presence, -1e6, 1e6},
	} {
		if !(c.value >= c.lo && c.value <= c.hi) {
			return fmt.Errorf("%s is %g, want %g to %g", c.name, c.value, c.lo, c.hi)
		}
	}
	return nil
}

// Greedy tells whether the choice needs no random number.
func (p Params) Greedy() bool { return p.Temperature == 0 || p.TopK == 1 }

func (p Params) penalises() bool {
	return p.Repetition != 0 && p.Repetition != 1 || p.Frequency != 0 || p.Presence != 0
}

// Sampler chooses the tokens of one answer.
type Sampler struct {
	params Params
	stream uint64
	seen   map[int32]bool // in the prompt or the answer
	counts map[int32]int  // in the answer
	order  []int32        // keys of seen, in order of appearance
	cands  []candidate
}

type candidate struct {
	id    int32
	logit float32
	p     float64
}

// New makes the sampler of an answer to a prompt. stream tells apart requests
// with the same seed.
func New(p Params, stream uint64, prompt []int32) *Sampler {
	s := &Sampler{params: p, stream: stream}
	if p.penalises() {
		s.seen, s.counts = map[int32]bool{}, map[int32]int{}
		for _, id := range prompt {
			s.note(id)
		}
	}
	return s
}

func (s *Sampler) note(id int32) {
	if !s.seen[id] {
		s.seen[id] = true
		s.order = append(s.order, id)
	}
}

// Changes tells whether Next changes the logits it is given.
func (s *Sampler) Changes() bool { return s.seen != nil }

// Next chooses the token at position pos of the sequence and remembers it.
// logits are changed by penalties.
func (s *Sampler) Next(logits []float32, pos int) int32 {
	if s.seen != nil {
		s.penalise(logits)
	}
	id := Argmax(logits)
	if !s.params.Greedy() {
		id = s.draw(logits, id, uniform(s.params.Seed, s.stream, uint64(pos)))
	}
	if s.seen != nil {
		s.note(id)
		s.counts[id]++
	}
	return id
}

func (s *Sampler) penalise(logits []float32) {
	for _, id := range s.order {
		if int(id) >= len(logits) {
			continue
		}
		x := float64(logits[id])
		if r := s.params.Repetition; r != 0 {
			if x > 0 {
				x /= r
			} else {
				x *= r
			}
		}
		if n := s.counts[id]; n > 0 {
			x -= float64(float64(n)*s.params.Frequency) + s.params.Presence
		}
		logits[id] = float32(x)
	}
}

// draw picks by the random number u in [0, 1).
func (s *Sampler) draw(logits []float32, best int32, u float64) int32 {
	p := s.params
	top := float64(logits[best])
	if math.IsInf(top, 0) || math.IsNaN(top) {
		return best
	}
	c := s.cands[:0]
	for id, x := range logits {
		if w := math.Exp((float64(x) - top) / p.Temperature); w > 0 { // not for NaN
			c = append(c, candidate{int32(id), x, w})
		}
	}
	s.cands = c
	if p.TopK > 0 && p.TopK < len(c) || p.TopP > 0 && p.TopP < 1 {
		slices.SortFunc(c, func(a, b candidate) int {
			return cmp.Or(cmp.Compare(b.logit, a.logit), cmp.Compare(a.id, b.id))
		})
	}
	if p.TopK > 0 {
		c = c[:min(p.TopK, len(c))]
	}
	if p.TopP > 0 && p.TopP < 1 {
		c = c[:nucleus(c, p.TopP)]
	}
	var total float64
	kept := c[:0]
	for _, x := range c {
		if x.p >= p.MinP { // the most likely one has 1
			kept = append(kept, x)
			total += x.p
		}
	}
	at := u * total
	for _, x := range kept {
		if at -= x.p; at < 0 {
			return x.id
		}
	}
	return kept[len(kept)-1].id // u was next to 1 and the sums rounded
}

// nucleus is the number of leading candidates that hold at least the share p.
func nucleus(c []candidate, p float64) int {
	var total, sum float64
	for _, x := range c {
		total += x.p
	}
	for i, x := range c {
		if sum += x.p; sum >= p*total {
			return i + 1
		}
	}
	return len(c)
}

// uniform is a number in [0, 1) made from three by the finaliser of SplitMix64
// (Steele et al., 2014).
func uniform(seed, stream, pos uint64) float64 {
	x := mix(mix(mix(seed)^stream) ^ pos)
	return float64(x>>11) / (1 << 53)
}

func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

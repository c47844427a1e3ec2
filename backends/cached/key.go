package cached

import (
	"crypto/sha256"
	"encoding/binary"
	"math"

	"github.com/evalrun/evalrun/core"
)

// Key identifies an answer by everything that can change it.
type Key [sha256.Size]byte

// identity is the part of keys that a backend gives: it is the same for all
// requests of a session, but for the adapter.
type identity struct {
	scope, name, model, revision, modelHash string
	adapters                                map[string]string // name to content hash
}

func identify(info core.Info, scope string) identity {
	id := identity{
		scope: scope, name: info.Name, model: info.Model,
		revision: info.Revision, modelHash: info.ModelHash,
		adapters: make(map[string]string, len(info.Adapters)),
	}
	for _, a := range info.Adapters {
		id.adapters[a.Name] = a.Hash
	}
	return id
}

// key gives the request's key; false when its answer cannot be identified,
// because the content of its adapter is not known.
//
// The encoding that is hashed writes each field in a fixed order: texts and
// lists with their length before them, numbers as 8 bytes. So no two different
// requests have the same encoding. The first byte is the encoding's version.
func (id *identity) key(r *core.Request) (Key, bool) {
	adapter := ""
	if r.Adapter != "" {
		if adapter = id.adapters[r.Adapter]; adapter == "" {
			return Key{}, false
		}
	}
	n := 512 + len(r.Prompt)
	for _, m := range r.Messages {
		n += len(m.Content) + 24
	}
	e := encoder(make([]byte, 0, n))
	e = append(e, 1)
	for _, s := range []string{id.scope, id.name, id.model, id.revision, id.modelHash, adapter} {
		e.text(s)
	}
	e.number(uint64(r.Kind))
	if r.Messages != nil {
		e.number(uint64(len(r.Messages)) + 1)
		for _, m := range r.Messages {
			e.text(m.Role)
			e.text(m.Content)
		}
	} else {
		e.number(0)
		e.text(r.Prompt)
	}
	e.texts(r.Continuations)
	g := &r.Generation
	e.number(uint64(g.MaxTokens))
	for _, f := range []float64{
		g.Temperature, g.TopP, g.MinP, g.RepetitionPenalty, g.FrequencyPenalty, g.PresencePenalty,
	} {
		e.number(math.Float64bits(f + 0)) // −0 counts as 0
	}
	e.number(uint64(g.TopK))
	e.number(g.Seed)
	e.texts(g.Stop)
	if len(r.Choices) > 0 { // keys of requests without stay as they were
		e.text("choices")
		e.texts(r.Choices)
	}
	if r.Logprobs {
		e.number(1)
	} else {
		e.number(0)
	}
	e.number(uint64(r.Overflow))
	e.number(uint64(len(r.Until)))
	for _, p := range r.Until {
		e.text(p.Expr)
		e.text(p.Flags)
		e.number(uint64(p.Group))
		e.number(uint64(p.Select))
	}
	e.number(uint64(r.Repeat))
	return sha256.Sum256(e), true
}

type encoder []byte

func (e *encoder) number(n uint64) { *e = binary.LittleEndian.AppendUint64(*e, n) }

func (e *encoder) text(s string) {
	e.number(uint64(len(s)))
	*e = append(*e, s...)
}

func (e *encoder) texts(list []string) {
	e.number(uint64(len(list)))
	for _, s := range list {
		e.text(s)
	}
}

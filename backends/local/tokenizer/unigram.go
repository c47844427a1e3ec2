package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"unicode/utf8"
)

// unigram takes the segmentation of a text whose pieces have the largest sum
// of log-probabilities (Kudo 2018, "Subword Regularization"), found by
// Viterbi's algorithm; of equal sums the one that is found first, with the
// shorter last piece.
type unigram struct {
	pieces       map[string]scored
	longest      int // bytes of the longest piece
	unkScore     float64
	unk          int32
	byteFallback bool
	bytes        [256]int32

	// narrow: sums are rounded to 32 bits, as SentencePiece does and Hugging
	// Face's library does not. It decides between ways that are equally good.
	narrow bool
}

type scored struct {
	id    int32
	score float64
}

// unkPenalty is how much worse than the worst piece an unknown character is.
const unkPenalty = 10

// node is the best way to one place in the text.
type node struct {
	score float64
	from  int
	id    int32 // none: one unknown character
}

func (m *unigram) encode(dst []int32, piece string) []int32 {
	best := make([]node, len(piece)+1)
	for i := range best {
		best[i].from = -1
	}
	best[0].from = 0
	for begin := 0; begin < len(piece); {
		_, width := utf8.DecodeRuneInString(piece[begin:])
		single := false
		for end := begin + width; end <= len(piece) && end-begin <= max(m.longest, width); {
			if p, ok := m.pieces[piece[begin:end]]; ok {
				improve(&best[end], node{m.sum(best[begin].score, p.score), begin, p.id})
				single = single || end == begin+width
			}
			_, w := utf8.DecodeRuneInString(piece[end:])
			if w == 0 {
				break
			}
			end += w
		}
		if !single {
			improve(&best[begin+width], node{m.sum(best[begin].score, m.unkScore), begin, none})
		}
		begin += width
	}
	var path []match
	for end := len(piece); end > 0; end = best[end].from {
		path = append(path, match{best[end].from, end, best[end].id != none && best[end].id != m.unk})
	}
	// A run of unknown characters is one unknown token, or its bytes.
	for i := len(path) - 1; i >= 0; i-- {
		p := path[i]
		if p.hit {
			dst = append(dst, best[p.end].id)
			continue
		}
		for i > 0 && !path[i-1].hit {
			i--
			p.end = path[i].end
		}
		dst = m.fallback(dst, piece[p.begin:p.end])
	}
	return dst
}

// fallback stands for a run of unknown characters.
func (m *unigram) fallback(dst []int32, unknown string) []int32 {
	before := len(dst)
	for i := 0; m.byteFallback && i < len(unknown); i++ {
		id := m.bytes[unknown[i]]
		if id == none {
			dst = dst[:before]
			break
		}
		dst = append(dst, id)
	}
	if len(dst) == before && m.unk != none {
		dst = append(dst, m.unk)
	}
	return dst
}

func (m *unigram) sum(a, b float64) float64 {
	if m.narrow {
		return float64(float32(a) + float32(b))
	}
	return a + b
}

func improve(old *node, n node) {
	if old.from < 0 || n.score > old.score {
		*old = n
	}
}

// setUnigram reads the model of a tokenizer.json: [[piece, score], …].
func (t *Tokenizer) setUnigram(fm *fileModel, byteLevel bool) error {
	if byteLevel {
		return errors.New("model: Unigram on bytes is not supported")
	}
	var vocab []pieceScore
	if err := json.Unmarshal(fm.Vocab, &vocab); err != nil {
		return fmt.Errorf("model: vocab: %w", err)
	}
	if len(vocab) == 0 {
		return errNoTokens
	}
	m := &unigram{pieces: map[string]scored{}, unk: none, byteFallback: fm.ByteFallback}
	if id := fm.UnigramUnknID; id != nil {
		if *id < 0 || *id >= int64(len(vocab)) {
			return fmt.Errorf("model: unk_id %d, want 0 to %d", *id, len(vocab)-1)
		}
		m.unk, t.unk = int32(*id), int32(*id)
	}
	for id, p := range vocab {
		if _, twice := t.ids[p.piece]; twice {
			return fmt.Errorf("model: piece %q stands there twice", p.piece)
		}
		t.setToken(p.piece, int32(id))
		m.add(p.piece, int32(id), p.score)
	}
	m.finish(t)
	t.model = m
	return nil
}

type pieceScore struct {
	piece string
	score float64
}

// UnmarshalJSON reads [piece, score].
func (p *pieceScore) UnmarshalJSON(text []byte) error {
	pair := []any{&p.piece, &p.score}
	if err := json.Unmarshal(text, &pair); err != nil {
		return err
	}
	if len(pair) != 2 {
		return fmt.Errorf("a piece of %d parts, want a text and a score", len(pair))
	}
	return nil
}

func (m *unigram) add(piece string, id int32, score float64) {
	if piece == "" {
		return
	}
	m.pieces[piece] = scored{id, score}
	m.longest = max(m.longest, len(piece))
}

// finish sets what follows from all pieces together.
func (m *unigram) finish(t *Tokenizer) {
	worst := math.Inf(1)
	for _, p := range m.pieces {
		worst = min(worst, p.score)
	}
	if math.IsInf(worst, 1) {
		worst = 0
	}
	m.unkScore = worst - unkPenalty
	for b := range m.bytes {
		m.bytes[b] = none
		if id, ok := t.ids[fmt.Sprintf("<0x%02X>", b)]; ok {
			m.bytes[b] = id
		}
	}
}

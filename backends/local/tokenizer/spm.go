package tokenizer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

// SentencePiece's model file is a protocol buffer (google/sentencepiece,
// src/sentencepiece_model.proto). Of it these fields are read:
//
//	1 pieces           1 piece, 2 score, 3 type
//	2 trainer_spec     3 model_type, 24 treat_whitespace_as_suffix,
//	                   35 byte_fallback, 40-43 unk bos eos pad id, 44 unk_surface
//	3 normalizer_spec  2 precompiled_charsmap, 3 add_dummy_prefix,
//	                   4 remove_extra_whitespaces, 5 escape_whitespaces
const spaceMark = "▁"

// The kinds of piece; GGUF uses the same numbers.
const (
	pieceNormal = 1 + iota
	pieceUnknown
	pieceControl
	pieceUserDefined
	pieceUnused
	pieceByte
)

// spModel is what is read of the file, with the defaults of its definition.
type spModel struct {
	pieces   []string
	scores   []float32
	types    []int64
	kind     uint64 // 1 unigram, 2 BPE
	fallback bool
	suffix   bool

	unk, bos, eos, pad int64
	unkSurface         string

	charsmap                   bool
	dummy, squeeze, escapeMark bool
}

// FromSentencePiece reads the bytes of a tokenizer.model. Such a file defines
// no text for its control pieces: they are neither recognised in a text nor
// written on decoding.
func FromSentencePiece(data []byte) (*Tokenizer, error) {
	sp, err := parseSentencePiece(data)
	if err != nil {
		return nil, err
	}
	t := newTokenizer()
	if err := t.setPieces(sp.pieces); err != nil {
		return nil, err
	}
	switch {
	case sp.charsmap:
		return nil, errors.New("a compiled character map for normalisation is not supported")
	case sp.suffix:
		return nil, errors.New("treat_whitespace_as_suffix is not supported")
	case !sp.escapeMark:
		return nil, errors.New("escape_whitespaces=false is not supported")
	}
	for name, id := range map[*int32]int64{&t.unk: sp.unk, &t.bos: sp.bos, &t.eos: sp.eos, &t.pad: sp.pad} {
		if id >= 0 && id < int64(len(t.tokens)) {
			*name = int32(id)
		}
	}
	switch sp.kind {
	case 1:
		m := &unigram{pieces: map[string]scored{}, unk: t.unk, byteFallback: sp.fallback, narrow: true}
		for id, piece := range sp.pieces {
			if sp.types[id] == pieceNormal {
				m.add(piece, int32(id), float64(sp.scores[id]))
			}
		}
		m.finish(t)
		t.model = m
	case 2:
		if t.model, err = t.scoreBPE(sp.pieces, sp.scores, sp.types, sp.fallback); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("model_type %d is not supported, want 1 (unigram) or 2 (BPE)", sp.kind)
	}
	dummy, squeeze := sp.dummy, sp.squeeze
	t.normalize = func(text string) (string, bool, error) {
		if squeeze {
			text = strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r == ' ' }), " ")
		}
		if dummy && text != "" {
			text = " " + text
		}
		text = strings.ReplaceAll(text, " ", spaceMark)
		for squeeze && strings.HasSuffix(text, spaceMark) { // a mark in the text itself
			text = strings.TrimSuffix(text, spaceMark)
		}
		return text, false, nil
	}
	// User-defined pieces are cut out of the text after it was normalised.
	var added []addedToken
	for id, typ := range sp.types {
		switch typ {
		case pieceUserDefined:
			if wide := strings.ReplaceAll(sp.pieces[id], " ", spaceMark); squeeze && strings.Contains(wide, spaceMark+spaceMark) {
				return nil, fmt.Errorf("remove_extra_whitespaces beside the user-defined piece %q is not supported", sp.pieces[id])
			}
			added = append(added, addedToken{ID: int32(id), Content: sp.pieces[id]})
		case pieceControl:
			t.special[int32(id)] = true
		}
	}
	texts := make([]string, len(added))
	for i, a := range added {
		texts[i] = a.Content
	}
	t.before, t.after = newAddedSet(nil, nil), newAddedSet(added, texts)
	t.decodeIDs = sp.decode
	if t.bos != none {
		t.template = template{t.bos, none}
	}
	return t, nil
}

// setPieces fills the tables from a list in the order of ids.
func (t *Tokenizer) setPieces(pieces []string) error {
	if len(pieces) == 0 {
		return errNoTokens
	}
	t.tokens = slices.Clone(pieces)
	t.ids = make(map[string]int32, len(pieces))
	for id, piece := range pieces {
		// Of equal pieces the first is found, as by the reference.
		if _, twice := t.ids[piece]; !twice {
			t.ids[piece] = int32(id)
		}
	}
	return nil
}

// scoreBPE makes the BPE of scored pieces: two neighbours are merged where
// they make a piece, the highest score first. So every way of cutting a piece
// in two is a pair, and its rank is the place of the score among all.
func (t *Tokenizer) scoreBPE(pieces []string, scores []float32, types []int64, fallback bool) (*bpe, error) {
	m := &bpe{byteFallback: fallback, unk: t.unk, fuseUnk: true, runes: map[rune]int32{}, cache: newCache()}
	byScore := make([]float32, 0, len(pieces))
	merged := make(map[string]int32, len(pieces)) // what may stand on either side
	for id, piece := range pieces {
		switch types[id] {
		case pieceUnused:
			return nil, fmt.Errorf("piece %d %q is marked as unused, which is not supported", id, piece)
		case pieceNormal, pieceUserDefined:
		default:
			continue
		}
		if _, twice := merged[piece]; twice || !utf8.ValidString(piece) {
			continue
		}
		if scores[id] != scores[id] {
			return nil, fmt.Errorf("piece %d %q has no score", id, piece)
		}
		merged[piece] = int32(id)
		byScore = append(byScore, scores[id])
	}
	slices.SortFunc(byScore, func(a, b float32) int {
		switch {
		case a > b:
			return -1
		case a < b:
			return 1
		}
		return 0
	})
	byScore = slices.Compact(byScore)
	ranks := make(map[float32]int32, len(byScore))
	for rank, score := range byScore {
		ranks[score] = int32(rank)
	}
	// Characters that are pieces themselves, then those that occur only inside.
	for piece, id := range merged {
		if r, n := utf8.DecodeRuneInString(piece); n == len(piece) && n > 0 {
			m.runes[r] = id
		}
	}
	m.pseudoFrom = int32(len(pieces))
	for id, piece := range pieces {
		if first, ok := merged[piece]; !ok || first != int32(id) {
			continue
		}
		for _, r := range piece {
			if _, ok := m.runes[r]; !ok {
				pseudo := m.pseudoFrom + int32(len(m.pseudo))
				m.pseudo = append(m.pseudo, r)
				m.runes[r] = pseudo
			}
		}
	}
	side := func(s string) int32 {
		if id, ok := merged[s]; ok {
			return id
		}
		if r, n := utf8.DecodeRuneInString(s); n == len(s) {
			return m.runes[r]
		}
		return none
	}
	m.pairs = newPairTable(2 * len(merged))
	mark := true
	for piece, id := range merged {
		if len(piece) > maxPiece {
			return nil, fmt.Errorf("piece %d has %d bytes, limit %d", id, len(piece), maxPiece)
		}
		for i := range piece {
			if i == 0 {
				continue
			}
			left, right := side(piece[:i]), side(piece[i:])
			if left != none && right != none {
				m.pairs.put(left, right, ranks[scores[id]], id)
			}
		}
		mark = mark && !strings.Contains(strings.TrimLeft(piece, spaceMark), spaceMark)
	}
	t.setByteFallback(m)
	if r, _ := utf8.DecodeRuneInString(spaceMark); mark {
		if id, ok := m.runes[r]; ok && id < m.pseudoFrom {
			m.cutBefore = spaceMark
		}
	}
	return m, nil
}

// maxPiece bounds a piece's length, because the ways of cutting it are many.
const maxPiece = 1 << 10

func (t *Tokenizer) setByteFallback(m *bpe) {
	for b := range m.bytes {
		m.bytes[b] = none
		if id, ok := t.ids[fmt.Sprintf("<0x%02X>", b)]; ok {
			m.bytes[b] = id
		}
	}
}

// decode is SentencePiece's own: control pieces give nothing, the unknown
// piece a surface of its own, and of the marks at the very beginning one is
// dropped where encoding put one there (all, where it squeezes white space).
// Control pieces have no text, so keeping them makes no difference.
func (sp *spModel) decode(ids []int32, _ bool) string {
	var b strings.Builder
	var run []byte
	flush := func() {
		for len(run) > 0 {
			r, n := utf8.DecodeRune(run)
			b.WriteRune(r) // a byte that is no character becomes U+FFFD
			run = run[n:]
		}
	}
	begin, dropped := true, false
	for _, id := range ids {
		if id < 0 || int(id) >= len(sp.pieces) {
			continue
		}
		piece := sp.pieces[id]
		if c, ok := byteToken(piece); ok && sp.types[id] == pieceByte {
			run = append(run, c)
			continue
		}
		flush()
		if dropped || b.Len() > 0 {
			begin = false
		}
		switch sp.types[id] {
		case pieceControl:
			dropped = false
			continue
		case pieceUnknown:
			b.WriteString(sp.unkSurface)
			dropped = false
			continue
		}
		dropped = false
		if begin && (sp.dummy || sp.squeeze) {
			if rest, ok := strings.CutPrefix(piece, spaceMark); ok {
				piece = rest
				dropped = !sp.squeeze
			}
		}
		b.WriteString(strings.ReplaceAll(piece, spaceMark, " "))
	}
	flush()
	return b.String()
}

func parseSentencePiece(data []byte) (*spModel, error) {
	sp := &spModel{kind: 1, unk: 0, bos: 1, eos: 2, pad: -1, unkSurface: " ⁇ ", dummy: true, squeeze: true, escapeMark: true}
	err := fields(data, func(f field) error {
		switch f.number {
		case 1:
			piece, score, typ := "", float32(0), int64(pieceNormal)
			err := fields(f.bytes, func(f field) error {
				switch f.number {
				case 1:
					piece = string(f.bytes)
				case 2:
					score = math.Float32frombits(uint32(f.value))
				case 3:
					typ = int64(f.value)
				}
				return nil
			})
			if err != nil {
				return fmt.Errorf("piece %d: %w", len(sp.pieces), err)
			}
			if piece == "" || typ < pieceNormal || typ > pieceByte {
				return fmt.Errorf("piece %d: text %q of type %d", len(sp.pieces), piece, typ)
			}
			sp.pieces, sp.scores, sp.types = append(sp.pieces, piece), append(sp.scores, score), append(sp.types, typ)
		case 2:
			return fields(f.bytes, func(f field) error {
				switch f.number {
				case 3:
					sp.kind = f.value
				case 24:
					sp.suffix = f.value != 0
				case 35:
					sp.fallback = f.value != 0
				case 40:
					sp.unk = int64(int32(f.value))
				case 41:
					sp.bos = int64(int32(f.value))
				case 42:
					sp.eos = int64(int32(f.value))
				case 43:
					sp.pad = int64(int32(f.value))
				case 44:
					sp.unkSurface = string(f.bytes)
				}
				return nil
			})
		case 3:
			return fields(f.bytes, func(f field) error {
				switch f.number {
				case 2:
					sp.charsmap = len(f.bytes) > 0
				case 3:
					sp.dummy = f.value != 0
				case 4:
					sp.squeeze = f.value != 0
				case 5:
					sp.escapeMark = f.value != 0
				}
				return nil
			})
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("not a SentencePiece model: %w", err)
	}
	return sp, nil
}

// field is one field of a protocol buffer message: a number in value, or a
// string or message in bytes.
type field struct {
	number int
	value  uint64
	bytes  []byte
}

// fields calls each with every field of a message, in order.
func fields(data []byte, each func(field) error) error {
	for at := 0; at < len(data); {
		tag, n := binary.Uvarint(data[at:])
		if n <= 0 || tag>>3 == 0 || tag>>3 > 1<<29 {
			return fmt.Errorf("byte %d: no field begins there", at)
		}
		at += n
		f := field{number: int(tag >> 3)}
		left := len(data) - at
		size := 0
		switch tag & 7 {
		case 0:
			if f.value, size = binary.Uvarint(data[at:]); size <= 0 {
				return fmt.Errorf("byte %d: field %d is cut off", at, f.number)
			}
		case 1:
			if size = 8; left >= size {
				f.value = binary.LittleEndian.Uint64(data[at:])
			}
		case 2:
			length, n := binary.Uvarint(data[at:])
			if n <= 0 || length > uint64(left-n) {
				return fmt.Errorf("byte %d: field %d of %d bytes, %d are left", at, f.number, length, left)
			}
			size = n + int(length)
			f.bytes = data[at+n : at+size]
		case 5:
			if size = 4; left >= size {
				f.value = uint64(binary.LittleEndian.Uint32(data[at:]))
			}
		default:
			return fmt.Errorf("byte %d: field %d has wire type %d", at, f.number, tag&7)
		}
		if size > left {
			return fmt.Errorf("byte %d: field %d is cut off", at, f.number)
		}
		at += size
		if err := each(f); err != nil {
			return err
		}
	}
	return nil
}

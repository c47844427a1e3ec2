package cached

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"

	"github.com/evalrun/evalrun/core"
)

// An answer is stored as: a version byte, then fields in a fixed order, counts
// as unsigned varints, texts with their length before them, numbers as
// little-endian IEEE 754 (which keeps −Inf and NaN), and CRC-32C of all that:
// SQLite does not notice a flipped bit.
const valueVersion = 1

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// encodeValue writes what the cache keeps of a response: all but its ID, cost
// and the marks of this run.
func encodeValue(r *core.Response) []byte {
	b := make([]byte, 0, 64+len(r.Text)+8*len(r.Logprobs)+4*len(r.Embedding)+17*len(r.Scores)+4*len(r.Tokens))
	b = append(b, valueVersion)
	b = appendText(b, string(r.Finish))
	b = appendText(b, r.Text)
	for _, n := range []int{r.Usage.Prompt, r.Usage.Completion, r.Usage.Shared, r.Truncated} {
		b = binary.AppendUvarint(b, uint64(max(n, 0)))
	}
	b = appendFloat(b, r.Seconds)
	b = binary.AppendUvarint(b, uint64(len(r.Logprobs)))
	for _, f := range r.Logprobs {
		b = appendFloat(b, f)
	}
	b = binary.AppendUvarint(b, uint64(len(r.Scores)))
	for _, s := range r.Scores {
		b = appendFloat(b, s.LogProb)
		b = binary.AppendUvarint(b, uint64(max(s.Tokens, 0)))
		g := byte(0)
		if s.Greedy {
			g = 1
		}
		b = append(b, g)
	}
	b = binary.AppendUvarint(b, uint64(len(r.Embedding)))
	for _, f := range r.Embedding {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(f))
	}
	b = binary.AppendUvarint(b, uint64(len(r.Tokens)))
	for _, t := range r.Tokens {
		b = binary.AppendUvarint(b, uint64(max(t, 0)))
	}
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendFloat(b []byte, f float64) []byte {
	return binary.LittleEndian.AppendUint64(b, math.Float64bits(f))
}

var errValue = errors.New("stored answer is damaged")

// decodeValue reads a stored answer. It owns nothing of b afterwards.
func decodeValue(b []byte) (core.Response, error) {
	var r core.Response
	body := len(b) - 4
	if body < 0 || crc32.Checksum(b[:body], castagnoli) != binary.LittleEndian.Uint32(b[body:]) {
		return r, errValue
	}
	d := decoder{b: b[:body]}
	if d.byte() != valueVersion {
		return r, errValue
	}
	r.Finish = core.FinishReason(d.text())
	r.Text = d.text()
	r.Usage.Prompt, r.Usage.Completion, r.Usage.Shared = d.count(), d.count(), d.count()
	r.Truncated = d.count()
	r.Seconds = d.float()
	if n := d.length(8); n > 0 {
		r.Logprobs = make([]float64, n)
		for i := range r.Logprobs {
			r.Logprobs[i] = d.float()
		}
	}
	if n := d.length(10); n > 0 {
		r.Scores = make([]core.Likelihood, n)
		for i := range r.Scores {
			r.Scores[i] = core.Likelihood{LogProb: d.float(), Tokens: d.count(), Greedy: d.byte() == 1}
		}
	}
	if n := d.length(4); n > 0 {
		r.Embedding = make([]float32, n)
		for i := range r.Embedding {
			if p := d.take(4); p != nil {
				r.Embedding[i] = math.Float32frombits(binary.LittleEndian.Uint32(p))
			}
		}
	}
	if n := d.length(1); n > 0 {
		r.Tokens = make([]int, n)
		for i := range r.Tokens {
			r.Tokens[i] = d.count()
		}
	}
	if d.bad || len(d.b) > 0 {
		return core.Response{}, errValue
	}
	return r, nil
}

type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) take(n int) []byte {
	if n < 0 || n > len(d.b) {
		d.bad, d.b = true, nil
		return nil
	}
	p := d.b[:n]
	d.b = d.b[n:]
	return p
}

func (d *decoder) byte() byte {
	if p := d.take(1); p != nil {
		return p[0]
	}
	return 0
}

func (d *decoder) count() int {
	n, size := binary.Uvarint(d.b)
	if size <= 0 || n > math.MaxInt32 {
		d.bad, d.b = true, nil
		return 0
	}
	d.b = d.b[size:]
	return int(n)
}

// length is a count of elements of at least size bytes each: more than the
// rest can hold is damage, found before anything is allocated.
func (d *decoder) length(size int) int {
	n := d.count()
	if n > len(d.b)/size {
		d.bad, d.b = true, nil
		return 0
	}
	return n
}

func (d *decoder) text() string { return string(d.take(d.count())) }

func (d *decoder) float() float64 {
	if p := d.take(8); p != nil {
		return math.Float64frombits(binary.LittleEndian.Uint64(p))
	}
	return 0
}

package training

import (
	"encoding/binary"
	"hash/crc32"
	"io"
	"math"
	"time"

	"github.com/evalrun/evalrun/internal/trainlog"
)

// events writes TensorBoard's event files: TFRecords, each of them
//
//	length uint64, masked CRC-32C of length, data, masked CRC-32C of data
//
// in little endian, with a protobuf Event as data (tensorflow/core/lib/io/
// record_writer.h and core/util/event.proto).
type events struct {
	w   io.Writer
	err error // the first
}

func newEvents(w io.Writer, now time.Time) *events {
	e := &events{w: w}
	var event message
	event.double(1, seconds(now))
	event.text(3, "brain.Event:2") // file_version
	e.record(event)
	return e
}

func seconds(t time.Time) float64 { return float64(t.UnixMicro()) / 1e6 }

// add writes the scalars of a window as one event.
func (e *events) add(p trainlog.Line, now time.Time) {
	type scalar struct {
		tag   string
		value float64
	}
	scalars := []scalar{{"train/loss", p.Loss}, {"train/loss_smoothed", p.Smoothed}, {"train/lr", p.LR}, {"train/grad_norm", p.GradNorm}}
	if p.Validation != nil {
		scalars = append(scalars, scalar{"validation/loss", *p.Validation})
	}
	if p.Score != nil {
		scalars = append(scalars, scalar{"validation/score", *p.Score})
	}
	var summary message
	for _, s := range scalars {
		var value message
		value.text(1, s.tag)             // tag
		value.float(2, float32(s.value)) // simple_value
		summary.bytes(1, value)
	}
	var event message
	event.double(1, seconds(now))   // wall_time
	event.varint(2, uint64(p.Step)) // step
	event.bytes(5, summary)
	e.record(event)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// masked is a checksum that may be stored beside what it is of.
func masked(b []byte) uint32 {
	c := crc32.Checksum(b, castagnoli)
	return (c>>15 | c<<17) + 0xa282ead8
}

func (e *events) record(data []byte) {
	if e.err != nil {
		return
	}
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(data)))
	b = binary.LittleEndian.AppendUint32(b, masked(b))
	b = append(b, data...)
	b = binary.LittleEndian.AppendUint32(b, masked(data))
	_, e.err = e.w.Write(b)
}

// message is a protobuf message in the making.
type message []byte

func (m *message) key(field, wire int) { *m = binary.AppendUvarint(*m, uint64(field<<3|wire)) }

func (m *message) varint(field int, v uint64) {
	m.key(field, 0)
	*m = binary.AppendUvarint(*m, v)
}

func (m *message) double(field int, v float64) {
	m.key(field, 1)
	*m = binary.LittleEndian.AppendUint64(*m, math.Float64bits(v))
}

func (m *message) float(field int, v float32) {
	m.key(field, 5)
	*m = binary.LittleEndian.AppendUint32(*m, math.Float32bits(v))
}

func (m *message) bytes(field int, b []byte) {
	m.key(field, 2)
	*m = binary.AppendUvarint(*m, uint64(len(b)))
	*m = append(*m, b...)
}

func (m *message) text(field int, s string) { m.bytes(field, []byte(s)) }

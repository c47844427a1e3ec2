package dataset

import (
	"context"
	"fmt"
	"io"
	"iter"
	"strings"

	"github.com/evalrun/evalrun/core"
)

// Row is one row: column names to values, of the types that the package comment
// lists. A row belongs to whoever received it; sources keep no reference to it.
type Row = map[string]any

// Source is a sequence of rows that can be read more than once.
type Source interface {
	// Name says where the rows come from, for messages and the manifest. It
	// holds no secrets.
	Name() string
	// Rows makes one pass in the source's own order. The first error ends the
	// pass, and is yielded with a nil row. Cancelling ctx ends the pass with the
	// context's error. Passes are independent, and may run at the same time.
	Rows(ctx context.Context) iter.Seq2[Row, error]
}

// reader is one open pass over one file. next returns io.EOF after the last row.
type reader interface {
	next() (Row, error)
	close() error
}

// Memory is a source over rows that are in memory, used for embedded rows and in
// tests. The rows are handed out as shallow copies.
func Memory(name string, rows []Row) Source { return memory{name, rows} }

type memory struct {
	name string
	rows []Row
}

func (m memory) Name() string { return m.name }

func (m memory) Rows(ctx context.Context) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		for _, row := range m.rows {
			if err := ctx.Err(); err != nil {
				yield(nil, err)
				return
			}
			copied := make(Row, len(row)+2)
			for key, value := range row {
				copied[key] = value
			}
			if !yield(copied, nil) {
				return
			}
		}
	}
}

// Text is a source over the text of one file that is in memory, such as an
// embedded one; name decides the format as a path would.
func Text(name string, content string) (Source, error) {
	kind, packing := formatOf(name)
	if kind == kindUnknown || kind == kindParquet || packing != packNone {
		return nil, unknownFormat(name)
	}
	return textSource{name, content, kind}, nil
}

type textSource struct {
	name, content string
	kind          kind
}

func (t textSource) Name() string { return t.name }

func (t textSource) Rows(ctx context.Context) iter.Seq2[Row, error] {
	return pass(ctx, func() (reader, error) {
		return newStreamReader(t.name, t.kind, io.NopCloser(strings.NewReader(t.content)), CSVOptions{})
	})
}

// pass turns an opener of a reader into one pass.
func pass(ctx context.Context, open func() (reader, error)) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		if err := ctx.Err(); err != nil {
			yield(nil, err)
			return
		}
		r, err := open()
		if err != nil {
			yield(nil, err)
			return
		}
		defer r.close()
		for n := 0; ; n++ {
			if n&63 == 0 {
				if err := ctx.Err(); err != nil {
					yield(nil, err)
					return
				}
			}
			row, err := r.next()
			if err == io.EOF {
				return
			}
			if err != nil {
				yield(nil, err)
				return
			}
			if !yield(row, nil) {
				return
			}
		}
	}
}

// at makes the error of a place in a file.
func at(file string, line int, hint, format string, args ...any) error {
	return &core.UserError{
		Where:   fmt.Sprintf("%s:%d", file, line),
		Message: fmt.Sprintf(format, args...),
		Hint:    hint,
	}
}

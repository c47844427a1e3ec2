package dataset

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"

	"github.com/evalrun/evalrun/core"
)

// parquetBatch is the number of rows read at a time: few enough that wide rows
// stay cheap, enough that the pages are walked in order.
const parquetBatch = 64

// parquetReader gives the rows of one Parquet file in order. The library may
// panic on damaged files, so every call into it is made through guarded.
type parquetReader struct {
	name   string
	file   *os.File
	erase  bool // file is a temporary one
	groups []parquet.RowGroup
	shape  *shape
	rows   parquet.Rows // of the group being read; nil before the first
	batch  []parquet.Row
	have   []parquet.Row
	row    int // rows handed out
}

// openParquet takes over f. Packed files, and those with LZ4 pages, are unpacked
// into a temporary file first: Parquet is read from its end.
func openParquet(name string, f *os.File, pack packing) (_ reader, err error) {
	r := &parquetReader{name: name, file: f}
	defer func() {
		if err != nil {
			r.close()
		}
	}()
	if pack != packNone {
		if err := r.unpack(pack); err != nil {
			return nil, &core.UserError{Where: name, Message: "unpacking the file", Hint: "check that the file is whole and its ending right", Err: err}
		}
	}
	err = r.guarded(func() error {
		file, err := r.open()
		if err != nil {
			return err
		}
		if err := checkCodecs(file); err != nil {
			return err
		}
		if lz4, err := hasLZ4(file); err != nil {
			return err
		} else if lz4 {
			if err := r.unpackLZ4(file.Metadata()); err != nil {
				return err
			}
			if file, err = r.open(); err != nil {
				return err
			}
		}
		r.shape, err = shapeOf(file)
		if err != nil {
			return err
		}
		for _, g := range file.RowGroups() { // one without rows may have no pages to seek in
			if g.NumRows() > 0 {
				r.groups = append(r.groups, g)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	r.batch = make([]parquet.Row, parquetBatch)
	return r, nil
}

// open reads the file's metadata.
func (r *parquetReader) open() (*parquet.File, error) {
	info, err := r.file.Stat()
	if err != nil {
		return nil, err
	}
	return parquet.OpenFile(r.file, info.Size(), parquet.SkipBloomFilters(true), parquet.SkipPageIndex(true))
}

// checkCodecs refuses by name what cannot be unpacked: LZO, and LZ4 in Hadoop's
// frames, which writers have given up for LZ4_RAW.
func checkCodecs(file *parquet.File) error {
	for _, group := range file.Metadata().RowGroups {
		for _, column := range group.Columns {
			switch column.MetaData.Codec {
			case format.Lz4, format.LZO:
				return &valueError{strings.Join(column.MetaData.PathInSchema, "."),
					fmt.Errorf("compression with %s is not supported; store the file with zstd or snappy", column.MetaData.Codec)}
			}
		}
	}
	return nil
}

func (r *parquetReader) unpack(pack packing) error {
	temp, err := os.CreateTemp("", "evalrun-*.parquet")
	if err != nil {
		return err
	}
	packed := r.file
	r.file, r.erase = temp, true
	plain, err := unpack(packed, pack)
	if err != nil {
		packed.Close()
		return err
	}
	defer plain.Close()
	_, err = io.Copy(temp, plain)
	return err
}

// guarded runs a call into the library and turns its errors and panics into one
// error that names file and row.
func (r *parquetReader) guarded(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p)
		}
		if err == nil || err == io.EOF {
			return
		}
		user := &core.UserError{
			Where:   fmt.Sprintf("%s: row %d", r.name, r.row),
			Message: "the Parquet file is damaged or cut",
			Hint:    "fetch or write the file again",
			Err:     err,
		}
		var value *valueError
		if errors.As(err, &value) {
			user.Message, user.Err = value.Error(), nil
		}
		err = user
	}()
	return f()
}

func (r *parquetReader) next() (Row, error) {
	for len(r.have) == 0 {
		err := r.guarded(r.fill)
		if err != nil {
			return nil, err
		}
	}
	values := r.have[0]
	r.have = r.have[1:]
	var row Row
	err := r.guarded(func() (err error) {
		row, err = r.shape.row(values)
		return err
	})
	if err != nil {
		return nil, err
	}
	r.row++
	return row, nil
}

// fill reads the next batch, or gives io.EOF after the last group.
func (r *parquetReader) fill() error {
	for {
		if r.rows == nil {
			if len(r.groups) == 0 {
				return io.EOF
			}
			r.rows = r.groups[0].Rows()
			r.groups = r.groups[1:]
		}
		n, err := r.rows.ReadRows(r.batch)
		if err != nil && err != io.EOF {
			return err
		}
		r.have = r.batch[:n]
		if err == io.EOF {
			done := r.rows
			r.rows = nil
			// The values of the batch outlive the group only as copies.
			for i := range r.have {
				r.have[i] = r.have[i].Clone()
			}
			if err := done.Close(); err != nil {
				return err
			}
		} else if n == 0 {
			return errors.New("no rows where some are announced")
		}
		if n > 0 {
			return nil
		}
	}
}

func (r *parquetReader) close() error {
	if r.rows != nil {
		rows := r.rows
		r.rows = nil
		r.guarded(rows.Close)
	}
	name := r.file.Name()
	err := r.file.Close()
	if r.erase {
		os.Remove(name)
	}
	return err
}

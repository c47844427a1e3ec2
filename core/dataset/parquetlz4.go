package dataset

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strings"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
	"github.com/pierrec/lz4/v4"
)

// The library's own way with LZ4 pages cannot be taken: where a page is packed to
// more than a third of its size, version 0.32 hands out a buffer that was never
// filled, and for a damaged one it doubles its buffer without end. A file with LZ4
// is written again into a temporary one, those pages unpacked, and read from there.

// hasLZ4 tells whether a column is packed with LZ4. The library goes by a column's
// first chunk for all, so that all have to be.
func hasLZ4(file *parquet.File) (bool, error) {
	any := false
	groups := file.Metadata().RowGroups
	for _, group := range groups {
		for i, column := range group.Columns {
			lz4 := column.MetaData.Codec == format.Lz4Raw
			any = any || lz4
			if first := groups[0].Columns; i >= len(first) || lz4 != (first[i].MetaData.Codec == format.Lz4Raw) {
				return false, &valueError{strings.Join(column.MetaData.PathInSchema, "."), errors.New("compression with LZ4_RAW in some row groups only is not supported; store the file with zstd or snappy")}
			}
		}
	}
	return any, nil
}

// unpackLZ4 puts a file without LZ4 in the reader's file's place. It changes meta.
func (r *parquetReader) unpackLZ4(meta *format.FileMetaData) error {
	temp, err := os.CreateTemp("", "evalrun-*.parquet")
	if err != nil {
		return err
	}
	packed, erase := r.file, r.erase
	r.file, r.erase = temp, true
	defer func() {
		packed.Close()
		if erase {
			os.Remove(packed.Name())
		}
	}()
	out := bufio.NewWriterSize(temp, 1<<18)
	u := &lz4Unpacker{in: packed, out: out}
	if err := u.file(meta); err != nil {
		return err
	}
	return out.Flush()
}

// lz4Unpacker copies a Parquet file, its LZ4 pages unpacked.
type lz4Unpacker struct {
	in  io.ReaderAt
	out io.Writer
	at  int64 // written so far
	// packed and plain hold a page.
	packed, plain []byte
}

func (u *lz4Unpacker) write(b []byte) error {
	n, err := u.out.Write(b)
	u.at += int64(n)
	return err
}

// file writes all: mark, column chunks, metadata, their size, mark.
func (u *lz4Unpacker) file(meta *format.FileMetaData) error {
	const mark = "PAR1"
	if err := u.write([]byte(mark)); err != nil {
		return err
	}
	for g := range meta.RowGroups {
		group := &meta.RowGroups[g]
		start := u.at
		for i := range group.Columns {
			chunk := &group.Columns[i]
			if err := u.chunk(&chunk.MetaData); err != nil {
				return fmt.Errorf("column %s: %w", strings.Join(chunk.MetaData.PathInSchema, "."), err)
			}
			chunk.FileOffset = 0
			chunk.OffsetIndexOffset, chunk.OffsetIndexLength, chunk.ColumnIndexOffset, chunk.ColumnIndexLength = 0, 0, 0, 0
		}
		group.FileOffset, group.TotalCompressedSize = start, u.at-start
	}
	footer, err := thrift.Marshal(new(thrift.CompactProtocol), meta)
	if err != nil {
		return err
	}
	return u.write(append(binary.LittleEndian.AppendUint32(footer, uint32(len(footer))), mark...))
}

// chunk copies the pages of one column in one group.
func (u *lz4Unpacker) chunk(m *format.ColumnMetaData) error {
	start := m.DataPageOffset
	if m.DictionaryPageOffset != 0 {
		start = m.DictionaryPageOffset
	}
	if start < 0 || m.TotalCompressedSize < 0 || m.TotalCompressedSize > math.MaxInt64-start {
		return errors.New("it lies outside the file")
	}
	in := io.NewSectionReader(u.in, start, m.TotalCompressedSize)
	began := u.at
	m.IndexPageOffset, m.BloomFilterOffset, m.BloomFilterLength = 0, 0, 0
	if m.Codec != format.Lz4Raw {
		n, err := io.Copy(u.out, in)
		u.at += n
		if err == nil && n != m.TotalCompressedSize {
			err = io.ErrUnexpectedEOF
		}
		m.DataPageOffset += began - start
		if m.DictionaryPageOffset != 0 {
			m.DictionaryPageOffset = began
		}
		return err
	}
	m.DataPageOffset, m.DictionaryPageOffset = began, 0
	r := bufio.NewReader(in)
	decoder := thrift.NewDecoder(new(thrift.CompactProtocol).NewReader(r))
	for values, page := int64(0), 0; values < m.NumValues; page++ {
		header := new(format.PageHeader)
		if err := decoder.Decode(header); err != nil {
			return fmt.Errorf("page %d: %w", page, err)
		}
		if header.Type == format.DictionaryPage && page == 0 {
			m.DictionaryPageOffset = began
		}
		n, err := u.page(header, r, m.TotalCompressedSize)
		if err != nil {
			return fmt.Errorf("page %d: %w", page, err)
		}
		if page == 0 && header.Type == format.DictionaryPage {
			m.DataPageOffset = u.at
		}
		values += n
	}
	m.Codec, m.TotalCompressedSize = format.Uncompressed, u.at-began
	return nil
}

// page copies one page, whose header has been read, and gives the number of its
// values. most is what it can hold packed.
func (u *lz4Unpacker) page(header *format.PageHeader, r io.Reader, most int64) (values int64, err error) {
	size, want := int(header.CompressedPageSize), int(header.UncompressedPageSize)
	if size < 0 || int64(size) > most || want < 0 || want > 255*size+64 { // a byte of LZ4 stands for 255 at most
		return 0, errors.New("it announces a size that it cannot have")
	}
	u.packed = grow(u.packed, size)
	if _, err := io.ReadFull(r, u.packed); err != nil {
		return 0, err
	}
	levels, packed := 0, true // those of version 2 stand before the values, as they are
	switch header.Type {
	case format.DataPage:
		values = int64(header.DataPageHeader.V.NumValues)
	case format.DataPageV2:
		h := &header.DataPageHeaderV2.V
		values, packed = int64(h.NumValues), !h.IsCompressed.Valid || h.IsCompressed.V
		if h.RepetitionLevelsByteLength < 0 || h.DefinitionLevelsByteLength < 0 {
			return 0, errors.New("its levels have a negative length")
		}
		levels = int(h.RepetitionLevelsByteLength) + int(h.DefinitionLevelsByteLength)
		h.IsCompressed = thrift.New(false)
	}
	if values < 0 || levels > min(size, want) {
		return 0, errors.New("its header is damaged")
	}
	body := u.packed
	if packed {
		u.plain = grow(u.plain, want)
		copy(u.plain, u.packed[:levels])
		n, err := lz4.UncompressBlock(u.packed[levels:], u.plain[levels:])
		if err != nil {
			return 0, fmt.Errorf("unpacking LZ4: %w", err)
		}
		if levels+n != want {
			return 0, fmt.Errorf("unpacking LZ4: %d bytes, want %d", levels+n, want)
		}
		body = u.plain
	}
	header.CompressedPageSize, header.UncompressedPageSize, header.CRC = int32(len(body)), int32(len(body)), 0
	text, err := thrift.Marshal(new(thrift.CompactProtocol), header)
	if err != nil {
		return 0, err
	}
	return values, errors.Join(u.write(text), u.write(body))
}

// grow gives a buffer of n bytes, b where it is large enough.
func grow(b []byte, n int) []byte {
	if cap(b) < n {
		return make([]byte, n)
	}
	return b[:n]
}

package checkpoint

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/doob-diffusion/doob/internal/textfile"
)

// shard is one file, of whose data nothing has been read.
type shard struct {
	io.ReaderAt
	file     *os.File // what to close, nil if nothing is
	entries  []entry  // as they follow each other in the data
	metadata map[string]string
	begin    int64 // of the data in the file
}

func openShard(path string) (*shard, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	s, err := fileShard(f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return s, nil
}

func fileShard(f *os.File) (*shard, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("got %s, expected a regular file", info.Mode().Type())
	}
	s, err := newShard(f, info.Size())
	if err != nil {
		return nil, err
	}
	s.file = f
	return s, nil
}

// newShard reads the header of a file of size bytes, and checks all of it.
func newShard(r io.ReaderAt, size int64) (*shard, error) {
	begin := io.NewSectionReader(r, 0, size)
	var prefix [8]byte
	if err := readFull(begin, prefix[:], "length of the header"); err != nil {
		return nil, err
	}
	if string(prefix[:]) == "version " { // or a header of 2e18 bytes
		text := make([]byte, min(size, 1024))
		if _, err := r.ReadAt(text, 0); err != nil && err != io.EOF {
			return nil, err
		}
		if err := textfile.Pointer(text, size); err != nil {
			return nil, corrupt("%w", err)
		}
	}
	n := binary.LittleEndian.Uint64(prefix[:])
	if n > maxHeader || int64(n) > size-8 {
		return nil, corrupt("header of %d bytes, expected at most %d in a file of %d bytes", n, min(maxHeader, size-8), size)
	}
	head := make([]byte, n)
	if err := readFull(begin, head, "header"); err != nil {
		return nil, err
	}
	entries, metadata, err := parseHeader(head)
	if err != nil {
		return nil, err
	}
	if err := checkRanges(entries, size-8-int64(n)); err != nil {
		return nil, err
	}
	return &shard{ReaderAt: r, entries: entries, metadata: metadata, begin: 8 + int64(n)}, nil
}

// checkRanges sorts the entries by their place in the data and checks that they cover it: no gap, no overlap, no rest.
func checkRanges(entries []entry, dataLen int64) error {
	slices.SortFunc(entries, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.begin, b.begin), cmp.Compare(a.end, b.end), cmp.Compare(a.name, b.name))
	})
	offset := 0
	for _, e := range entries {
		size := e.dtype.size()
		if size == 0 {
			return fmt.Errorf("tensor %q: %w: got %q, expected F16, BF16, F32, F64 or I64", e.name, ErrDType, e.dtype)
		}
		if e.begin != offset {
			return corrupt("tensor %q begins at byte %d of the data, expected %d: tensors must follow each other", e.name, e.begin, offset)
		}
		if e.end < e.begin || int64(e.end) > dataLen {
			return corrupt("tensor %q ends at byte %d of the data, expected %d to %d: file truncated?", e.name, e.end, e.begin, dataLen)
		}
		n, ok := elements(e.shape)
		if !ok || n > (e.end-e.begin)/size || n*size != e.end-e.begin {
			return corrupt("tensor %q has %d bytes, expected those of %s%v", e.name, e.end-e.begin, e.dtype, e.shape)
		}
		offset = e.end
	}
	if int64(offset) != dataLen {
		return corrupt("tensors end at byte %d of the data, expected its length %d: bytes after the last tensor", offset, dataLen)
	}
	return nil
}

// tensor reads the elements of one of s.entries.
func (s *shard) tensor(e entry) (Tensor, error) {
	return readData(io.NewSectionReader(s, s.begin+int64(e.begin), int64(e.end-e.begin)), e)
}

func (s *shard) close() error {
	if s.file == nil {
		return nil
	}
	return s.file.Close()
}

func readFull(r io.Reader, b []byte, what string) error {
	n, err := io.ReadFull(r, b)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return corrupt("file ends in the %s: got %d bytes of it, expected %d", what, n, len(b))
	}
	return err
}

func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrCorrupt, fmt.Errorf(format, args...))
}

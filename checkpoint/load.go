package checkpoint

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
)

// Load reads the file at path. It checks the whole header against the size of the file before it allocates a tensor;
// a file that fails a check gives ErrCorrupt, an element type it does not know ErrDType.
func Load(path string) (File, error) {
	f, err := open(path)
	if err != nil {
		return File{}, fmt.Errorf("load checkpoint %s: %w", path, err)
	}
	return f, nil
}

func open(path string) (File, error) {
	r, err := os.Open(path)
	if err != nil {
		return File{}, err
	}
	defer r.Close()
	info, err := r.Stat()
	if err != nil {
		return File{}, err
	}
	if !info.Mode().IsRegular() {
		return File{}, fmt.Errorf("got %s, expected a regular file", info.Mode().Type())
	}
	return decode(r, info.Size())
}

// decode reads a file of size bytes.
func decode(r io.Reader, size int64) (File, error) {
	var prefix [8]byte
	if err := readFull(r, prefix[:], "length of the header"); err != nil {
		return File{}, err
	}
	n := binary.LittleEndian.Uint64(prefix[:])
	if n > maxHeader || int64(n) > size-8 {
		return File{}, corrupt("header of %d bytes, expected at most %d in a file of %d bytes", n, min(maxHeader, size-8), size)
	}
	head := make([]byte, n)
	if err := readFull(r, head, "header"); err != nil {
		return File{}, err
	}
	entries, metadata, err := parseHeader(head)
	if err != nil {
		return File{}, err
	}
	if err := checkRanges(entries, size-8-int64(n)); err != nil {
		return File{}, err
	}
	f := File{Tensors: make(map[string]Tensor, len(entries)), Metadata: metadata}
	for _, e := range entries {
		if f.Tensors[e.name], err = readData(r, e); err != nil {
			return File{}, err
		}
	}
	return f, nil
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
			return fmt.Errorf("tensor %q: %w: got %q, expected F32, F64 or I64", e.name, ErrDType, e.dtype)
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

func readData(r io.Reader, e entry) (Tensor, error) {
	t := Tensor{Shape: e.shape}
	n := (e.end - e.begin) / e.dtype.size()
	switch e.dtype {
	case f32:
		t.F32 = make([]float32, 0, n)
	case f64:
		t.F64 = make([]float64, 0, n)
	case i64:
		t.I64 = make([]int64, 0, n)
	}
	buf := make([]byte, min(chunk, e.end-e.begin))
	for left := e.end - e.begin; left > 0; left -= len(buf) {
		buf = buf[:min(len(buf), left)]
		if err := readFull(r, buf, "tensor "+e.name); err != nil {
			return Tensor{}, err
		}
		for i := 0; i < len(buf); i += e.dtype.size() {
			switch e.dtype {
			case f32:
				t.F32 = append(t.F32, math.Float32frombits(binary.LittleEndian.Uint32(buf[i:])))
			case f64:
				t.F64 = append(t.F64, math.Float64frombits(binary.LittleEndian.Uint64(buf[i:])))
			case i64:
				t.I64 = append(t.I64, int64(binary.LittleEndian.Uint64(buf[i:])))
			}
		}
	}
	return t, nil
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

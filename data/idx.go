package data

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// maxIDX is the most elements an IDX file may announce; MNIST's largest has 47 million.
const maxIDX = 1 << 28

// readIDX reads an IDX file of unsigned bytes up to its end: two zero bytes, the type 0x08, the number of dimensions,
// each dimension as a big-endian uint32, then the elements, last dimension fastest.
// Format: http://yann.lecun.com/exdb/mnist
//
// Memory grows with the elements that arrive, never with what the header announces.
func readIDX(r io.Reader) (dims []int, elements []byte, err error) {
	var magic [4]byte
	if err := readFull(r, magic[:], "magic number"); err != nil {
		return nil, nil, err
	}
	if magic[0] != 0 || magic[1] != 0 || magic[2] != 8 {
		return nil, nil, fmt.Errorf("got magic number % x, expected 00 00 08 and a number of dimensions: not an IDX file of bytes", magic)
	}
	n := 1
	for i := range int(magic[3]) {
		var b [4]byte
		if err := readFull(r, b[:], fmt.Sprintf("dimension %d of %d", i+1, magic[3])); err != nil {
			return nil, nil, err
		}
		d := int(binary.BigEndian.Uint32(b[:]))
		if d < 0 || d > maxIDX/max(n, 1) {
			return nil, nil, fmt.Errorf("got dimensions %v, expected at most %d elements", append(dims, d), maxIDX)
		}
		n *= d
		dims = append(dims, d)
	}
	// One byte more than wanted, to see bytes after the end.
	var buf bytes.Buffer
	if _, err := buf.ReadFrom(io.LimitReader(r, int64(n)+1)); err != nil {
		return nil, nil, fmt.Errorf("after %d of %d elements: %w", buf.Len(), n, unexpectedEOF(err))
	}
	if buf.Len() < n {
		return nil, nil, fmt.Errorf("got %d elements, expected %d for dimensions %v: truncated", buf.Len(), n, dims)
	}
	if buf.Len() > n {
		return nil, nil, fmt.Errorf("got bytes after the %d elements of dimensions %v", n, dims)
	}
	return dims, buf.Bytes(), nil
}

func readFull(r io.Reader, b []byte, what string) error {
	if _, err := io.ReadFull(r, b); err != nil {
		return fmt.Errorf("%s: %w", what, unexpectedEOF(err))
	}
	return nil
}

// unexpectedEOF says what the end of a file means to somebody who did not expect one.
func unexpectedEOF(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("the file ends early, truncated: %w", io.ErrUnexpectedEOF)
	}
	return err
}

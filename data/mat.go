package data

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
)

// Types of elements of a MATLAB file, and the one class of matrix that readMAT knows.
const (
	matBytes      = 2
	matMatrix     = 14
	matCompressed = 15
	matUint8Class = 9
)

// maxMAT is the most bytes that a MATLAB file may have, packed or unpacked; the labels of Flowers-102 have 8 kB.
const maxMAT = 1 << 20

// readMAT returns the matrix of unsigned bytes called name from a MATLAB file of level 5, as MATLAB 5 to 7 write them on
// today's machines: little-endian, compressed or not. The first dimension is the fastest.
// Format: MathWorks, "MAT-File Format", https://www.mathworks.com/help/pdf_doc/matlab/matfile_format.pdf
func readMAT(r io.Reader, name string) (dims []int, elements []byte, err error) {
	var header [128]byte // text, where subsystems are, version, byte order
	if err := readFull(r, header[:], "header"); err != nil {
		return nil, nil, err
	}
	if got := string(header[124:]); got != "\x00\x01IM" {
		return nil, nil, fmt.Errorf("got version and byte order %q, expected %q: not a little-endian MATLAB file of level 5", got, "\x00\x01IM")
	}
	rest, err := readAtMost(r, maxMAT)
	if err != nil {
		return nil, nil, err
	}
	var others []string
	for len(rest) > 0 {
		var kind uint32
		var content []byte
		if kind, content, rest, err = matElement(rest); err != nil {
			return nil, nil, err
		}
		if kind == matCompressed {
			if kind, content, err = inflateMAT(content); err != nil {
				return nil, nil, fmt.Errorf("compressed element: %w", err)
			}
		}
		if kind != matMatrix {
			continue
		}
		parts, kind, err := matParts(content)
		if err != nil {
			return nil, nil, err
		}
		if got := string(parts[2]); got != name {
			others = append(others, got)
			continue
		}
		if dims, err = matShape(parts, kind); err != nil {
			return nil, nil, fmt.Errorf("matrix %s: %w", name, err)
		}
		return dims, parts[3], nil
	}
	return nil, nil, fmt.Errorf("got matrices %q, expected one called %q", others, name)
}

// matElement splits the first element off a series of them. An element of up to four bytes may lie in its own tag.
func matElement(b []byte) (kind uint32, content, rest []byte, err error) {
	if len(b) < 8 {
		return 0, nil, nil, fmt.Errorf("tag of an element: %w", unexpectedEOF(io.EOF))
	}
	kind, size := binary.LittleEndian.Uint32(b), int64(binary.LittleEndian.Uint32(b[4:]))
	if small := int64(kind >> 16); small > 0 {
		if small > 4 {
			return 0, nil, nil, fmt.Errorf("got %d bytes in a tag, expected at most 4", small)
		}
		return kind & 0xffff, b[4 : 4+small], b[8:], nil
	}
	b = b[8:]
	if size > int64(len(b)) {
		return 0, nil, nil, fmt.Errorf("got %d of %d bytes of an element: %w", len(b), size, unexpectedEOF(io.EOF))
	}
	end := size
	if kind != matCompressed { // all others are filled up to 8 bytes
		end = min(int64(len(b)), (size+7)&^7)
	}
	return kind, b[:size], b[end:], nil
}

// inflateMAT returns the element in a compressed one.
func inflateMAT(packed []byte) (kind uint32, content []byte, err error) {
	z, err := zlib.NewReader(bytes.NewReader(packed))
	if err != nil {
		return 0, nil, unexpectedEOF(err)
	}
	plain, err := readAtMost(z, maxMAT)
	if err != nil {
		return 0, nil, unexpectedEOF(err)
	}
	kind, content, _, err = matElement(plain)
	return kind, content, err
}

// matParts takes a matrix apart into flags, dimensions, name and elements, which are of the type kind.
func matParts(b []byte) (parts [4][]byte, kind uint32, err error) {
	for i := range parts {
		if kind, parts[i], b, err = matElement(b); err != nil {
			return parts, 0, fmt.Errorf("part %d of a matrix: %w", i+1, err)
		}
	}
	return parts, kind, nil
}

// matShape returns the dimensions of a matrix of unsigned bytes.
func matShape(parts [4][]byte, kind uint32) (dims []int, err error) {
	flags, elements := parts[0], parts[3]
	if len(flags) == 0 || flags[0] != matUint8Class || kind != matBytes {
		return nil, fmt.Errorf("got flags % x and elements of type %d, expected class %d and type %d: not of unsigned bytes",
			flags, kind, matUint8Class, matBytes)
	}
	n := 1
	for d := range slices.Chunk(parts[1], 4) {
		if len(d) < 4 {
			return nil, fmt.Errorf("got dimensions % x, expected numbers of 4 bytes", parts[1])
		}
		dim := int(int32(binary.LittleEndian.Uint32(d)))
		dims = append(dims, dim)
		if dim < 0 || dim > maxMAT/max(n, 1) {
			return nil, fmt.Errorf("got dimensions %v, expected at most %d elements", dims, maxMAT)
		}
		n *= dim
	}
	if len(elements) != n {
		return nil, fmt.Errorf("got %d elements, expected %d for dimensions %v", len(elements), n, dims)
	}
	return dims, nil
}

// readAtMost reads r to its end, which must come after at most limit bytes.
func readAtMost(r io.Reader, limit int) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, int64(limit)+1))
	if err == nil && len(b) > limit {
		err = fmt.Errorf("it goes on after the expected %d bytes at most", limit)
	}
	return b, err
}

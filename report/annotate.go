package report

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"

	"github.com/doob-diffusion/doob/internal/atomicfile"
)

// Annotate adds notes to a PNG that is there, as [Photo] writes them: behind its first chunk, the rest is copied.
func Annotate(path string, notes []Note) (err error) {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	defer f.Close()
	var head [ihdrEnd]byte
	if _, err := io.ReadFull(f, head[:]); err != nil || !bytes.HasPrefix(head[:], []byte(signature)) {
		return fmt.Errorf("report: %s is no PNG, notes cannot be added", path)
	}
	return atomicfile.WriteFunc(path, func(w io.Writer) error {
		_, err := w.Write(head[:])
		for _, n := range notes {
			if err == nil {
				_, err = w.Write(n.chunk())
			}
		}
		if err == nil {
			_, err = io.Copy(w, f)
		}
		return err
	})
}

const signature = "\x89PNG\r\n\x1a\n"

// mostText is how long a chunk with a text may be that [Notes] reads.
const mostText = 1 << 20

// Notes reads the notes of a PNG: texts of tEXt chunks, and those of iTXt that are not compressed. It stops at the end of the picture.
func Notes(r io.Reader) (notes []Note, err error) {
	var head [8]byte
	if _, err := io.ReadFull(r, head[:]); err != nil || string(head[:]) != signature {
		return nil, errors.New("report: notes are read of PNG files only")
	}
	for {
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return nil, fmt.Errorf("report: the PNG is truncated: %w", err)
		}
		kind, length := string(head[4:]), int64(binary.BigEndian.Uint32(head[:]))
		switch {
		case kind == "IEND":
			return notes, nil
		case kind != "tEXt" && kind != "iTXt" || length > mostText:
			if _, err := io.CopyN(io.Discard, r, length+4); err != nil {
				return nil, fmt.Errorf("report: the PNG is truncated: %w", err)
			}
			continue
		}
		data := make([]byte, length+4)
		if _, err := io.ReadFull(r, data); err != nil {
			return nil, fmt.Errorf("report: the PNG is truncated: %w", err)
		}
		text, sum := data[:length], crc32.Update(crc32.ChecksumIEEE(head[4:]), crc32.IEEETable, data[:length])
		if sum != binary.BigEndian.Uint32(data[length:]) {
			return nil, fmt.Errorf("report: the PNG is damaged: the sum of a %s chunk is wrong", kind)
		}
		key, rest, ok := bytes.Cut(text, []byte{0})
		if kind == "iTXt" && ok { // whether and how it is compressed, a language and a keyword in that
			if ok = len(rest) > 1 && rest[0] == 0; ok {
				parts := bytes.SplitN(rest[2:], []byte{0}, 3)
				if ok = len(parts) == 3; ok {
					rest = parts[2]
				}
			}
		}
		if ok {
			notes = append(notes, Note{string(key), string(rest)})
		}
	}
}

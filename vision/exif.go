package vision

import (
	"bytes"
	"encoding/binary"
	"io"
)

// maxExif bounds what is read of the notes of a camera: JPEG has no more room for them.
const maxExif = 1 << 16

// orientation returns how a picture is stored, by tag 0x0112 of Exif (CIPA DC-008, 4.6.4): 1 upright, 3 upside down, 6 and 8 on its sides, 2, 4, 5 and 7 those
// mirrored. Notes that say nothing of it, or cannot be read, mean 1.
func orientation(exif []byte) int {
	exif = bytes.TrimPrefix(exif, []byte("Exif\x00\x00"))
	if len(exif) < 8 {
		return 1
	}
	var order binary.ByteOrder = binary.LittleEndian
	switch string(exif[:4]) {
	case "II*\x00":
	case "MM\x00*":
		order = binary.BigEndian
	default:
		return 1
	}
	at := uint64(order.Uint32(exif[4:])) // of the first directory
	if at+2 > uint64(len(exif)) {
		return 1
	}
	entries := exif[at+2:]
	for range order.Uint16(exif[at:]) {
		if len(entries) < 12 {
			return 1
		}
		const short = 3
		if order.Uint16(entries) == 0x0112 && order.Uint16(entries[2:]) == short {
			if o := int(order.Uint16(entries[8:])); o >= 1 && o <= 8 {
				return o
			}
			return 1
		}
		entries = entries[12:]
	}
	return 1
}

// stored returns where a pixel of the upright picture lies in what is stored, width by height.
func stored(orientation, x, y, width, height int) (int, int) {
	if orientation >= 5 { // on its side
		x, y = y, x
	}
	if orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8 {
		x = width - 1 - x
	}
	if orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7 {
		y = height - 1 - y
	}
	return x, y
}

// exifOfJPEG looks at the segments before the picture.
func exifOfJPEG(r io.ReadSeeker) []byte {
	const soi, app1, sos = 0xd8, 0xe1, 0xda
	var head [4]byte
	if _, err := io.ReadFull(r, head[:2]); err != nil || head[1] != soi {
		return nil
	}
	for {
		if _, err := io.ReadFull(r, head[:2]); err != nil || head[0] != 0xff {
			return nil
		}
		for head[1] == 0xff { // filling
			if _, err := io.ReadFull(r, head[1:2]); err != nil {
				return nil
			}
		}
		if _, err := io.ReadFull(r, head[2:]); err != nil || head[1] == sos {
			return nil
		}
		content := int64(binary.BigEndian.Uint16(head[2:])) - 2
		if head[1] == app1 {
			exif := make([]byte, max(0, content))
			if _, err := io.ReadFull(r, exif); err != nil {
				return nil
			}
			if bytes.HasPrefix(exif, []byte("Exif\x00\x00")) {
				return exif
			}
		} else if _, err := r.Seek(max(0, content), io.SeekCurrent); err != nil {
			return nil
		}
	}
}

// exifOfPNG looks for the chunk eXIf, before or after the picture.
func exifOfPNG(r io.ReadSeeker) []byte {
	return chunkNamed(r, 8, "eXIf", func(head []byte) (string, int64, int64) {
		n := int64(binary.BigEndian.Uint32(head))
		return string(head[4:]), n, n + 4 // with a sum
	})
}

// exifOfWebP looks for the chunk EXIF, which follows the picture.
func exifOfWebP(r io.ReadSeeker) []byte {
	return chunkNamed(r, 12, "EXIF", func(head []byte) (string, int64, int64) {
		n := int64(binary.LittleEndian.Uint32(head[4:]))
		return string(head[:4]), n, n + n%2
	})
}

// chunkNamed returns the content of a chunk. They begin at a place in the file; of the 8 bytes before each, parse tells the name, the length and that with
// what follows it.
func chunkNamed(r io.ReadSeeker, begin int64, name string, parse func(head []byte) (name string, length, all int64)) []byte {
	if _, err := r.Seek(begin, io.SeekStart); err != nil {
		return nil
	}
	for {
		var head [8]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return nil
		}
		this, length, all := parse(head[:])
		if this == name {
			b := make([]byte, min(length, maxExif))
			n, _ := io.ReadFull(r, b)
			return b[:n]
		}
		if _, err := r.Seek(all, io.SeekCurrent); err != nil {
			return nil
		}
	}
}

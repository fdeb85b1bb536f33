package report

import (
	"encoding/binary"
	"hash/crc32"
	"image"
)

// Note is a text in a picture's file, under a keyword of 1 to 79 letters of ASCII.
type Note struct{ Key, Text string }

// Photo writes an image pixel by pixel as a PNG, with notes: as tEXt chunks, which most programs show, or as iTXt where a text is not ASCII (PNG
// specification, 11.3.3).
func Photo(path string, img image.Image, notes []Note) error {
	var chunks [][]byte
	for _, n := range notes {
		chunks = append(chunks, n.chunk())
	}
	return writePNG(path, img, 1, chunks...)
}

func (n Note) chunk() []byte {
	kind, data := "tEXt", append([]byte(n.Key), 0)
	for i := range len(n.Text) {
		if n.Text[i] >= 0x80 || n.Text[i] == 0 { // a zero would end the text
			kind, data = "iTXt", append(data, 0, 0, 0, 0) // not compressed, of no language, with no other keyword
			break
		}
	}
	return chunk(kind, append(data, n.Text...))
}

// chunk returns a chunk of a PNG.
func chunk(kind string, data []byte) []byte {
	c := append(binary.BigEndian.AppendUint32(nil, uint32(len(data))), kind...)
	c = append(c, data...)
	return binary.BigEndian.AppendUint32(c, crc32.ChecksumIEEE(c[4:]))
}

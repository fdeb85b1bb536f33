package report

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"image"
	"slices"

	"github.com/doob-diffusion/doob/internal/atomicfile"
	"github.com/doob-diffusion/doob/vision"
)

// Note is a text in a picture's file, under a keyword of 1 to 79 letters of ASCII.
type Note struct{ Key, Text string }

// Photo writes an image pixel by pixel as a PNG or, by its name, a JPEG, with notes: in a PNG as tEXt chunks, which most programs show, or as iTXt where a text
// is not ASCII (PNG specification, 11.3.3); in a JPEG as comments (ITU T.81, B.2.4.5).
func Photo(path string, img image.Image, notes []Note) error {
	is, err := vision.IsJPEG(path)
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	if is {
		return writeJPEG(path, img, notes)
	}
	var chunks [][]byte
	for _, n := range notes {
		chunks = append(chunks, n.chunk())
	}
	return writePNG(path, img, 1, chunks...)
}

func writeJPEG(path string, img image.Image, notes []Note) error {
	var b bytes.Buffer
	if err := vision.Encode(&b, path, img); err != nil {
		return fmt.Errorf("report: cannot encode %s: %w", path, err)
	}
	const start = 2 // the marker that any JPEG begins with
	file := slices.Clone(b.Bytes()[:start])
	for _, n := range notes {
		const most = 1<<16 - 1 - 2 // of a comment, beside its length
		text := n.Key + ": " + n.Text
		text = text[:min(len(text), most)]
		file = append(binary.BigEndian.AppendUint16(append(file, 0xff, 0xfe), uint16(len(text)+2)), text...)
	}
	return atomicfile.Write(path, append(file, b.Bytes()[start:]...))
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

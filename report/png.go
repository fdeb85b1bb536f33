package report

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"image"
	"image/png"
	"math"

	"github.com/doob-diffusion/doob/internal/atomicfile"
)

const (
	ihdrEnd        = 33 // the signature and the first chunk of any PNG
	pixelsPerInch  = 96 // one CSS pixel, by definition
	inchesPerMetre = 1 / 0.0254
)

// writePNG writes img, made at the given number of pixels per CSS pixel, and states that resolution in the file, which gets other chunks too.
func writePNG(path string, img image.Image, scale int, more ...[]byte) error {
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		return fmt.Errorf("report: cannot encode %s: %w", path, err)
	}
	data := b.Bytes()
	chunks := append([][]byte{data[:ihdrEnd], resolution(scale)}, more...)
	return atomicfile.Write(path, bytes.Join(append(chunks, data[ihdrEnd:]), nil))
}

// resolution returns the pHYs chunk of an image with scale pixels per CSS pixel (PNG specification, 11.3.4.3).
func resolution(scale int) []byte {
	perMetre := uint32(math.Round(float64(scale) * pixelsPerInch * inchesPerMetre))
	c := binary.BigEndian.AppendUint32(nil, perMetre)
	c = binary.BigEndian.AppendUint32(c, perMetre)
	return chunk("pHYs", append(c, 1)) // the unit is the metre
}

// cssWidth returns the width of a PNG in CSS pixels, by the resolution that writePNG states; without one a pixel is a
// CSS pixel.
func cssWidth(data []byte) (int, error) {
	c, err := png.DecodeConfig(bytes.NewReader(data))
	if err != nil {
		return 0, err
	}
	if at := ihdrEnd + 4; len(data) > at+8 && string(data[at:at+4]) == "pHYs" {
		scale := float64(binary.BigEndian.Uint32(data[at+4:])) / (pixelsPerInch * inchesPerMetre)
		if scale >= 0.5 {
			return int(math.Round(float64(c.Width) / math.Round(2*scale) * 2)), nil
		}
	}
	return c.Width, nil
}

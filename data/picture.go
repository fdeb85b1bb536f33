package data

import (
	"errors"
	"fmt"
	"image"
	"image/color"
	_ "image/gif" // the formats that pictures may have
	_ "image/jpeg"
	_ "image/png"
	"os"
)

// ErrPicture says that a file is no picture, or not one that can be used.
var ErrPicture = errors.New("picture")

// ReadPicture reads an image file as one image of 1 or 3 channels.
func ReadPicture(path string, channels int) (Images, error) {
	f, err := os.Open(path)
	if err != nil {
		return Images{}, fmt.Errorf("%w: %w", ErrPicture, err)
	}
	defer f.Close()
	m, _, err := image.Decode(f)
	if err != nil {
		return Images{}, fmt.Errorf("%w %s: %w; want PNG, JPEG or GIF", ErrPicture, path, err)
	}
	size := m.Bounds().Size()
	out := Images{N: 1, Height: size.Y, Width: size.X, Channels: channels}
	for y := range size.Y {
		for x := range size.X {
			c := m.At(m.Bounds().Min.X+x, m.Bounds().Min.Y+y)
			values := []uint16{color.Gray16Model.Convert(c).(color.Gray16).Y}
			if channels == 3 {
				r, g, b, _ := c.RGBA()
				values = []uint16{uint16(r), uint16(g), uint16(b)}
			}
			for _, v := range values {
				out.Pixels = append(out.Pixels, float32(v)/32767.5-1)
			}
		}
	}
	return out, nil
}

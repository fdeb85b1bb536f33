// Package vision shows pictures to CLIP and ImageReward as they were trained to see them: in 8 bits, resized as the library Pillow does, to the
// byte, cropped and normalised.
package vision

import (
	"fmt"
	"image"
	"image/color"
	"math"
)

// RGB is a picture of 8-bit colours.
type RGB struct {
	Height, Width int
	Pixels        []uint8 // [Height, Width, 3]
}

// FromImage returns the colours of an image. Transparency is dropped, and not blended with a background: as Pillow's convert("RGB").
func FromImage(m image.Image) RGB {
	b := m.Bounds()
	p := RGB{b.Dy(), b.Dx(), make([]uint8, 0, 3*b.Dx()*b.Dy())}
	for y := b.Min.Y; y < b.Max.Y; y++ {
		for x := b.Min.X; x < b.Max.X; x++ {
			c := color.NRGBAModel.Convert(m.At(x, y)).(color.NRGBA)
			p.Pixels = append(p.Pixels, c.R, c.G, c.B)
		}
	}
	return p
}

// FromSample returns a picture of what a model draws: x [height, width, 3] with −1 for black and 1 for full colour, see [Level]. It panics
// if x is not of that size.
func FromSample(x []float32, height, width int) RGB {
	if len(x) != 3*height*width {
		panic(fmt.Sprintf("vision.FromSample: %d numbers are no picture [%d, %d, 3]", len(x), height, width))
	}
	p := RGB{height, width, make([]uint8, len(x))}
	for i, v := range x {
		p.Pixels[i] = Level(v)
	}
	return p
}

// Level returns the 8-bit level of a value, −1 for none and 1 for full: clamped, and rounded half to even. That of NaN is 0.
func Level(v float32) uint8 {
	unit := min(1, max(0, v/2+0.5))
	if unit != unit {
		return 0
	}
	return uint8(math.RoundToEven(float64(unit * 255)))
}

// Image returns the picture as an image of the standard library.
func (p RGB) Image() *image.NRGBA {
	m := image.NewNRGBA(image.Rect(0, 0, p.Width, p.Height))
	for i := range p.Height * p.Width {
		copy(m.Pix[4*i:], p.Pixels[3*i:3*i+3])
		m.Pix[4*i+3] = 255
	}
	return m
}

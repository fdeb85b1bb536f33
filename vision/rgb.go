// Package vision reads and writes pictures: [Read] is the one way in, upright, on white and of bounded size, and [CheckOutputs] the look before anything is written.
// It shows pictures to CLIP and ImageReward as they were trained to see them: in 8 bits, resized as the library Pillow does, to the byte, cropped and normalised.
package vision

import (
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"math"
)

// RGB is a picture of 8-bit colours.
type RGB struct {
	Height, Width int
	Pixels        []uint8 // [Height, Width, 3]
}

// FromImage returns the colours of an image, in 8 bits, with white behind what is transparent.
func FromImage(m image.Image) RGB { return upright(m, 1).RGB() }

// upright returns an image in one of the orientations of Exif as a picture.
func upright(m image.Image, orientation int) *Picture {
	at, ok := m.(image.RGBA64Image)
	if !ok {
		whole := image.NewRGBA64(m.Bounds())
		draw.Draw(whole, m.Bounds(), m, m.Bounds().Min, draw.Src)
		at = whole
	}
	p := &Picture{Height: m.Bounds().Dy(), Width: m.Bounds().Dx(), stored: at, orientation: orientation}
	if orientation >= 5 {
		p.Height, p.Width = p.Width, p.Height
	}
	opaque, ok := m.(interface{ Opaque() bool })
	p.Transparent = ok && !opaque.Opaque()
	return p
}

// At returns a pixel in 16-bit colours.
func (p *Picture) At(y, x int) (r, g, b uint16) {
	corner := p.stored.Bounds()
	x, y = stored(p.orientation, x, y, corner.Dx(), corner.Dy())
	c := p.stored.RGBA64At(corner.Min.X+x, corner.Min.Y+y) // times its opacity
	white := 0xffff - c.A
	return c.R + white, c.G + white, c.B + white
}

// RGB returns the picture in 8-bit colours.
func (p *Picture) RGB() RGB {
	out := RGB{p.Height, p.Width, make([]uint8, 0, 3*p.Height*p.Width)}
	for y := range p.Height {
		for x := range p.Width {
			r, g, b := p.At(y, x)
			out.Pixels = append(out.Pixels, uint8(r>>8), uint8(g>>8), uint8(b>>8))
		}
	}
	return out
}

// Values fills in a pixel in [−1, 1], in 16-bit precision: dst has 1 number for grey (the luma of Rec. 601), or 3.
func (p *Picture) Values(y, x int, dst []float32) {
	r, g, b := p.At(y, x)
	if len(dst) == 1 {
		r = color.Gray16Model.Convert(color.RGBA64{r, g, b, 0xffff}).(color.Gray16).Y
	}
	for i, v := range []uint16{r, g, b}[:len(dst)] {
		dst[i] = float32(v)/32767.5 - 1
	}
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

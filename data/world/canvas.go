package world

import (
	"image"
	"math"

	"golang.org/x/image/vector"
)

// Side is that of pictures, in pixels.
const Side = 32

// colour is red, green and blue in [0, 1].
type colour [3]float64

// shade is the colour, darker for a factor below 1.
func (c colour) shade(by float64) colour { return colour{by * c[0], by * c[1], by * c[2]} }

// canvas is a picture that is painted, layer upon layer. Its corners are (−1, −1) and (1, 1), and y grows downward.
type canvas struct {
	pixels [Side * Side]colour
	raster *vector.Rasterizer
	mask   *image.Alpha
}

func newCanvas(c colour) *canvas {
	p := &canvas{raster: vector.NewRasterizer(Side, Side), mask: image.NewAlpha(image.Rect(0, 0, Side, Side))}
	for i := range p.pixels {
		p.pixels[i] = c
	}
	return p
}

// stamp paints shapes at a place of a canvas.
type stamp struct {
	*canvas
	x, y, size float64 // the shape's centre, and half of its side
	flip       bool    // left and right
	sin, cos   float64 // of what it is turned by
}

func (s stamp) at(x, y float64) (float32, float32) {
	if s.flip {
		x = -x
	}
	x, y = s.cos*x-s.sin*y, s.sin*x+s.cos*y
	return float32((s.x + s.size*x + 1) * Side / 2), float32((s.y + s.size*y + 1) * Side / 2)
}

// polygon fills a polygon with corners x, y, x, y …
func (s stamp) polygon(c colour, corners ...float64) {
	s.raster.Reset(Side, Side)
	for i := 0; i < len(corners); i += 2 {
		x, y := s.at(corners[i], corners[i+1])
		if i == 0 {
			s.raster.MoveTo(x, y)
		} else {
			s.raster.LineTo(x, y)
		}
	}
	s.fill(c)
}

// ellipse fills an ellipse with half axes rx and ry, turned by an angle.
func (s stamp) ellipse(c colour, x, y, rx, ry, angle float64) {
	const corners = 24
	sin, cos := math.Sincos(angle)
	at := make([]float64, 0, 2*corners)
	for i := range corners {
		v, u := math.Sincos(2 * math.Pi * float64(i) / corners)
		u, v = u*rx, v*ry
		at = append(at, x+cos*u-sin*v, y+sin*u+cos*v)
	}
	s.polygon(c, at...)
}

// fill paints the path that the rasterizer holds.
func (s stamp) fill(c colour) {
	s.raster.ClosePath()
	clear(s.mask.Pix)
	s.raster.Draw(s.mask, s.mask.Bounds(), image.Opaque, image.Point{})
	for i, a := range s.mask.Pix {
		if a == 0 {
			continue
		}
		share := float64(a) / 255
		for k := range c {
			s.pixels[i][k] += share * (c[k] - s.pixels[i][k])
		}
	}
}

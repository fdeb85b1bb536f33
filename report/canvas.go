package report

import (
	"image"
	"image/color"
	"math"

	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/vgimg"
)

// pixelRatio is the number of image pixels to a CSS pixel, the unit of every length in this package.
const pixelRatio = 2

// canvas draws a figure, with the origin at the top left.
type canvas struct {
	c *vgimg.Canvas
	h float64
}

func newCanvas(width, height float64) canvas {
	c := vgimg.NewWith(vgimg.UseWH(vg.Length(math.Ceil(width)), vg.Length(math.Ceil(height))), vgimg.UseDPI(72*pixelRatio))
	return canvas{c, math.Ceil(height)}
}

// pixels is the image itself, for what is drawn pixel by pixel.
func (c canvas) pixels() *image.RGBA { return c.c.Image().(*image.RGBA) }

func (c canvas) write(path string) error { return writePNG(path, c.pixels(), pixelRatio) }

// text draws s with its baseline at y. Of its width the fraction align lies left of x: 0 starts there, 1 ends there.
func (c canvas) text(x, y float64, s string, style textStyle, align float64) {
	s = style.drawable(s)
	c.c.SetColor(style.color)
	c.c.FillString(style.face(), vg.Point{X: vg.Length(x - align*style.width(s)), Y: vg.Length(c.h - y)}, s)
}

// line draws through the points; its dash pattern may be nil.
func (c canvas) line(x, y []float64, colour color.Color, width float64, dash []float64) {
	pattern := make([]vg.Length, len(dash))
	for i, d := range dash {
		pattern[i] = vg.Length(d)
	}
	c.c.SetColor(colour)
	c.c.SetLineWidth(vg.Length(width))
	c.c.SetLineDash(pattern, 0)
	c.c.Stroke(c.path(x, y))
}

func (c canvas) segment(x0, y0, x1, y1 float64, colour color.Color, width float64, dash []float64) {
	c.line([]float64{x0, x1}, []float64{y0, y1}, colour, width, dash)
}

// fill fills the polygon of the points.
func (c canvas) fill(x, y []float64, colour color.Color) {
	c.c.SetColor(colour)
	p := c.path(x, y)
	p.Close()
	c.c.Fill(p)
}

func (c canvas) dot(x, y, radius float64, colour color.Color) {
	var p vg.Path
	p.Move(vg.Point{X: vg.Length(x + radius), Y: vg.Length(c.h - y)})
	p.Arc(vg.Point{X: vg.Length(x), Y: vg.Length(c.h - y)}, vg.Length(radius), 0, 2*math.Pi)
	p.Close()
	c.c.SetColor(colour)
	c.c.Fill(p)
}

func (c canvas) path(x, y []float64) (p vg.Path) {
	for i := range x {
		at := vg.Point{X: vg.Length(x[i]), Y: vg.Length(c.h - y[i])}
		if i == 0 {
			p.Move(at)
		} else {
			p.Line(at)
		}
	}
	return p
}

// faded returns the colour with the given opacity.
func faded(c color.RGBA, opacity float64) color.NRGBA {
	return color.NRGBA{c.R, c.G, c.B, uint8(255*opacity + 0.5)}
}

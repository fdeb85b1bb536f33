package report

import (
	"image"
	"math"

	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
)

// pixelRatio is the number of image pixels to a CSS pixel, the unit of every length in this package.
const pixelRatio = 2

// canvas is a figure, or a rectangle of it, with the origin of the figure at the bottom left.
type canvas struct {
	draw.Canvas
	img *image.RGBA // of the whole figure, for what is drawn pixel by pixel
}

func newCanvas(width, height vg.Length) canvas {
	c := vgimg.NewWith(vgimg.UseWH(ceil(width), ceil(height)), vgimg.UseDPI(72*pixelRatio))
	return canvas{draw.New(c), c.Image().(*image.RGBA)}
}

func (c canvas) write(path string) error { return writePNG(path, c.img, pixelRatio) }

// text draws s with its baseline at y. Of its width the fraction −align lies left of x, as with gonum's alignments.
func (c canvas) text(sty text.Style, x, y vg.Length, s string, align draw.XAlignment) {
	sty.XAlign = align
	c.FillText(sty, vg.Point{X: x, Y: y + sty.FontExtents().Ascent - sty.Font.Size}, s)
}

func ceil(v vg.Length) vg.Length { return vg.Length(math.Ceil(float64(v))) }

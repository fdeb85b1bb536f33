package report

import (
	"image"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

const (
	legendLine = 20
	keyWidth   = 22 // of a line before a label
)

// entry is one part of a legend: marks of a width before a label.
type entry struct {
	label string
	width vg.Length
	marks []plot.Thumbnailer
}

// legend lies above a figure. Its entries follow one another in as many lines as they need; those of plot.Legend stand in
// one column, which a figure of many methods has no room for.
type legend []entry

func (l legend) layout(width vg.Length, place func(e entry, x, y vg.Length)) (height vg.Length) {
	if len(l) == 0 {
		return 0
	}
	var x vg.Length
	for _, e := range l {
		w := e.width + 6 + noteText.Width(e.label)
		if x > 0 && x+w > width {
			x, height = 0, height+legendLine
		}
		place(e, x, height)
		x += w + 18
	}
	return height + legendLine + 8
}

func (e entry) draw(c canvas, x, y vg.Length) {
	c.Rectangle = vg.Rectangle{Min: vg.Point{X: x, Y: y - 4}, Max: vg.Point{X: x + e.width, Y: y + 4}}
	for _, m := range e.marks {
		m.Thumbnail(&c.Canvas)
	}
	c.text(noteText, x+e.width+6, y-4, e.label, draw.XLeft)
}

// nameList numbers what stands under one name in a figure, in order of appearance.
type nameList []string

func (n *nameList) index(name string) int {
	if i := slices.Index(*n, name); i >= 0 {
		return i
	}
	*n = append(*n, name)
	return len(*n) - 1
}

func lineEntry(label string, sty draw.LineStyle) entry {
	return entry{label, keyWidth, []plot.Thumbnailer{&plotter.Line{LineStyle: sty}}}
}

func rampEntry(label string, r ramp) entry { return entry{label, 36, []plot.Thumbnailer{r}} }

// Thumbnail paints the scale from left to right.
func (r ramp) Thumbnail(c *draw.Canvas) {
	img := image.NewRGBA(image.Rect(0, 0, 36*pixelRatio, 8*pixelRatio))
	for i := range img.Rect.Max.X {
		for j := range img.Rect.Max.Y {
			img.SetRGBA(i, j, r.at(float64(i)/float64(img.Rect.Max.X-1)))
		}
	}
	c.DrawImage(c.Rectangle, img)
}

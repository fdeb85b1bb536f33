package report

import (
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// dotKey is what the legend of a figure of dots explains.
type dotKey struct {
	series, lines nameList
	cut, barred   bool
}

func keyOf(tiles []dotTile) (k dotKey) {
	for _, t := range tiles {
		for _, s := range t.Series {
			k.series.index(s.Name)
		}
		for _, l := range t.Lines {
			if t.shows(l.X) {
				k.lines.index(l.Label)
			}
		}
		k.cut, k.barred = k.cut || t.cut, k.barred || t.barred
	}
	return k
}

// legend lists the series, the lines, and what bars and arrows mean.
func (k dotKey) legend() (l legend) {
	for i, n := range k.series {
		l = append(l, entry{n, 8, []plot.Thumbnailer{&plotter.Scatter{GlyphStyle: dot(colour(i), dotSize+0.4)}}})
	}
	for i, label := range k.lines {
		l = append(l, lineEntry(label, reference(i)))
	}
	if k.barred {
		e := lineEntry("± standard error", draw.LineStyle{Color: faded(soft, 0.5), Width: barWidth})
		e.marks = append(e.marks, &plotter.Scatter{GlyphStyle: dot(soft, dotSize)})
		l = append(l, e)
	}
	if k.cut {
		l = append(l, entry{"beyond the axis", 8, []plot.Thumbnailer{arrow(1)}})
	}
	return l
}

// arrow is a small triangle that points to the right (1) or left (−1), to something beyond its place.
type arrow vg.Length

func (a arrow) DrawGlyph(c *draw.Canvas, sty draw.GlyphStyle, p vg.Point) {
	tip, back := p.X-vg.Length(a), p.X-vg.Length(a)*7
	c.FillPolygon(sty.Color, []vg.Point{{X: tip, Y: p.Y}, {X: back, Y: p.Y - 3.2}, {X: back, Y: p.Y + 3.2}})
}

func (a arrow) Thumbnail(c *draw.Canvas) {
	a.DrawGlyph(c, draw.GlyphStyle{Color: soft}, vg.Point{X: c.Max.X, Y: c.Center().Y})
}

package report

import (
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

const margin = 16

// layout places frames of one size in columns below a legend, each under a title and perhaps a note.
type layout struct {
	columns       int
	width, height vg.Length // of a frame
	left, gap     vg.Length // before the first frame of a row, and between frames
	footer        vg.Length // below a frame
	notes         bool
	legend        legend
}

// figure is a layout on its canvas.
type figure struct {
	canvas
	draw.Tiles
	header vg.Length // above a frame
}

// figure returns the figure of n frames, with its legend.
func (l layout) figure(n int) figure {
	header, cols := vg.Length(24), min(l.columns, n)
	if l.notes {
		header = 40
	}
	width := l.left + vg.Length(cols)*(l.width+l.gap) - l.gap
	key := l.legend.layout(width, func(entry, vg.Length, vg.Length) {})
	t := draw.Tiles{
		Cols: cols, PadLeft: margin + l.left, PadX: l.gap, PadRight: margin,
		Rows: (n + cols - 1) / cols, PadTop: margin + key + header, PadY: l.footer + header, PadBottom: l.footer + margin/2,
	}
	c := newCanvas(2*margin+width, margin+key+vg.Length(t.Rows)*(l.height+t.PadY)+margin/2)
	l.legend.layout(width, func(e entry, x, y vg.Length) { e.draw(c, margin+x, c.Max.Y-margin-6-y) })
	return figure{c, t, header}
}

// place returns frame i, with its title.
func (f figure) place(i int, title string, view Rect, logX, logY bool) frame {
	c := canvas{f.At(f.Canvas, i%f.Cols, i/f.Cols), f.img}
	r := newFrame(c, view, logX, logY)
	r.above(titleText, f.header-15, title, c.Size().X)
	return r
}

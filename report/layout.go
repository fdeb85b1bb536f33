package report

import "gonum.org/v1/plot/vg"

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
	layout
	top vg.Length // from the top of the canvas to that of the first row
}

func (l layout) header() vg.Length {
	if l.notes {
		return 40
	}
	return 24
}

// figure returns the figure of n frames.
func (l layout) figure(n int) figure {
	l.columns = min(l.columns, n)
	rows := (n + l.columns - 1) / l.columns
	width := l.left + vg.Length(l.columns)*(l.width+l.gap) - l.gap
	key := l.legend.layout(width, func(entry, vg.Length, vg.Length) {})
	c := newCanvas(2*margin+width, margin+key+vg.Length(rows)*(l.header()+l.height+l.footer)+margin/2)
	l.legend.layout(width, func(e entry, x, y vg.Length) { e.draw(c, margin+x, c.Max.Y-margin-6-y) })
	return figure{c, l, margin + key}
}

// place returns frame i, with its title.
func (f figure) place(i int, title string, view Rect, logX, logY bool) frame {
	c := f.canvas
	c.Min.X = margin + f.left + vg.Length(i%f.columns)*(f.width+f.gap)
	c.Max.Y -= f.top + f.header() + vg.Length(i/f.columns)*(f.header()+f.height+f.footer)
	c.Max.X, c.Min.Y = c.Min.X+f.width, c.Max.Y-f.height
	r := newFrame(c, view, logX, logY)
	r.above(titleText, f.header()-15, title, f.width)
	return r
}

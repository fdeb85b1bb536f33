package report

import (
	"fmt"
	"image/color"

	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// DotPanel is one panel of [Dots]: one quantity, a dot for each series in every row.
type DotPanel struct {
	Title, Note string
	Log         bool // a logarithmic axis, if all values are positive
	Series      []DotSeries
	Lines       []DotLine
}

// DotSeries is what stands under one name. Series of the same name have the same colour in all panels of a figure.
type DotSeries struct {
	Name   string
	X, Err []float64 // one for each row; an X that is not finite is no dot; Err are standard errors, or nil
}

// DotLine is a reference value, such as what exact samples reach.
type DotLine struct {
	X     float64
	Label string
}

// The measures of a figure of dots, in CSS pixels.
const (
	dotPanelWidth  = 150
	dotPanelGap    = 22
	dotPanelFooter = 30
	dotStep        = 7 // between the series of a row
	dotSize        = 2.9
	barWidth       = 1.75
	fewValues      = 5 // from this many values on, a panel may leave out those far from all others
)

var rowBand = color.RGBA{0xf6, 0xf7, 0xf8, 0xff}

// Dots writes panels side by side, in the given number of columns, whose rows are the same: one label at the left of
// every row, such as a method, and a dot for every series, such as a run. So that one value far from all others does not
// hide how these differ, it may lie outside of its panel, where an arrow points to it.
func Dots(path string, columns int, rows []string, panels []DotPanel) error {
	if len(panels) == 0 || len(rows) == 0 || columns < 1 {
		return fmt.Errorf("report: figure %s: %d panels of %d rows in %d columns, want at least 1 of each", path, len(panels), len(rows), columns)
	}
	l := layout{columns: columns, width: dotPanelWidth, gap: dotPanelGap, footer: dotPanelFooter}
	tiles, most := make([]dotTile, len(panels)), 1
	for i, p := range panels {
		if err := p.check(len(rows)); err != nil {
			return fmt.Errorf("report: figure %s: %w", path, err)
		}
		tiles[i] = newDotTile(p)
		most = max(most, len(p.Series))
		l.notes = l.notes || p.Note != ""
	}
	for _, r := range rows {
		l.left = max(l.left, ceil(rowText.Width(fit(r, rowText, widestLabel)))+10)
	}
	key := keyOf(tiles)
	l.legend = key.legend()
	l.height = vg.Length(len(rows) * max(18, dotStep*most+9))
	f := l.figure(len(panels))
	for i, t := range tiles {
		t.view.YMin = float64(len(rows)) // each of height 1, the first on top
		t.frame = f.place(i, t.Title, t.view, t.log, false)
		t.above(noteText, 9, t.Note, l.width)
		for j, r := range rows {
			if i%f.Cols == 0 {
				t.text(rowText, t.Min.X-10, t.y(float64(j)+0.5)-0.36*rowText.Font.Size, fit(r, rowText, widestLabel), draw.XRight)
			}
			if low, high := t.y(float64(j)+1), t.y(float64(j)); j%2 == 0 {
				t.FillPolygon(rowBand, []vg.Point{{X: t.Min.X, Y: low}, {X: t.Max.X, Y: low}, {X: t.Max.X, Y: high}, {X: t.Min.X, Y: high}})
			}
		}
		t.draw(key)
	}
	return f.write(path)
}

func (p DotPanel) check(rows int) error {
	for _, s := range p.Series {
		if len(s.X) != rows || s.Err != nil && len(s.Err) != rows {
			return fmt.Errorf("panel %q, series %q: %d x and %d err values, want one for each of %d rows (or no err)", p.Title, s.Name,
				len(s.X), len(s.Err), rows)
		}
	}
	return nil
}

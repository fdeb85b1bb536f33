package report

import (
	"math"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg/draw"
)

// chartTile is a chart in its place.
type chartTile struct {
	Chart
	frame
	whole, ok bool // all x are whole numbers; there are data
	yTicks    []plot.Tick
}

func (t chartTile) draw(names nameList) {
	t.plot.Y.Tick.Marker = plot.ConstantTicks(t.yTicks)
	t.grid()
	t.references()
	t.baseline()
	if !t.ok {
		t.none("no data")
		return
	}
	xTicks := ticks(t.view.XMin, t.view.XMax, 5, false)
	if t.whole {
		xTicks = linearTicks(t.view.XMin, t.view.XMax, 5, 1)
	}
	t.yLabels(t.yTicks)
	t.xLabels(xTicks)
	t.text(noteText, t.Center().X, t.Min.Y-30, t.XLabel, draw.XCenter)
	for _, s := range t.Series {
		_, bands := t.runs(s)
		for _, b := range bands {
			t.plotters(&plotter.Polygon{XYs: []plotter.XYs{b}, Color: faded(colour(names.index(s.Name)), 0.16)})
		}
	}
	for _, s := range t.Series {
		lines, _ := t.runs(s)
		for _, l := range lines {
			i := names.index(s.Name)
			t.plotters(&plotter.Line{XYs: l, LineStyle: line(i, 1.75)})
			if len(s.Y) <= fewPoints || len(l) == 1 {
				t.plotters(&plotter.Scatter{XYs: l, GlyphStyle: dot(colour(i), 2.4)})
			}
		}
	}
}

// runs returns the parts of a line between its gaps, and the outlines of their bands.
func (t chartTile) runs(s Series) (lines, bands []plotter.XYs) {
	least := math.Inf(-1)
	if t.LogY {
		least = t.view.YMin * 1e-3
	}
	shown := false
	for i, y := range s.Y {
		gap := !shown
		if shown = (span{log: t.LogY}).shows(y); !shown {
			continue
		}
		if gap {
			lines, bands = append(lines, nil), append(bands, nil)
		}
		k := len(lines) - 1
		lines[k] = append(lines[k], plotter.XY{X: s.X[i], Y: y})
		if s.Err != nil {
			e := at(s.Err, i)
			bands[k] = append(slices.Insert(bands[k], 0, plotter.XY{X: s.X[i], Y: max(y-e, least)}), plotter.XY{X: s.X[i], Y: y + e})
		}
	}
	return lines, bands
}

// references draws the horizontal lines and, above the frame where no data are, what they stand for.
func (t chartTile) references() {
	right := t.Max.X
	for i := len(t.HLines) - 1; i >= 0; i-- {
		h, sty := t.HLines[i], reference(i)
		if t.ok && (span{log: t.LogY}).shows(h.Y) {
			t.plotters(&plotter.Line{XYs: plotter.XYs{{X: t.view.XMin, Y: h.Y}, {X: t.view.XMax, Y: h.Y}}, LineStyle: sty})
		}
		t.text(noteText, right, t.Max.Y+9, h.Label, draw.XRight)
		right -= noteText.Width(h.Label) + 6
		t.StrokeLine2(sty, right-18, t.Max.Y+13, right, t.Max.Y+13)
		right -= 18 + 14
	}
}

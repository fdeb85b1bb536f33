package report

import (
	"image/color"
	"slices"
)

// dotKey is the legend of a figure of dots.
type dotKey struct {
	names, labels []string // of series and lines, in order of appearance
	colours       map[string]color.RGBA
	cut, barred   bool
}

func (k *dotKey) add(t dotTile) {
	for _, s := range t.Series {
		if _, ok := k.colours[s.Name]; !ok {
			k.colours[s.Name] = series[len(k.names)%len(series)]
			k.names = append(k.names, s.Name)
		}
	}
	for _, l := range t.Lines {
		if finite(t.at(l.X)) && !slices.Contains(k.labels, l.Label) {
			k.labels = append(k.labels, l.Label)
		}
	}
	k.cut, k.barred = k.cut || t.cut, k.barred || t.barred
}

func (k dotKey) dash(label string) []float64 {
	return dashes[1+slices.Index(k.labels, label)%(len(dashes)-1)]
}

const dotKeyWidth = 8

// entries lists the series, the lines, and what bars and arrows mean: a label, the width of its mark, and the mark.
func (k dotKey) entries() (entries []dotEntry) {
	for _, n := range k.names {
		entries = append(entries, dotEntry{n, dotKeyWidth, func(c canvas, x, y float64) { c.dot(x+dotKeyWidth/2, y, dotSize+0.4, k.colours[n]) }})
	}
	for _, l := range k.labels {
		entries = append(entries, dotEntry{l, keyWidth, func(c canvas, x, y float64) { c.segment(x, y, x+keyWidth, y, ink, 1, k.dash(l)) }})
	}
	if k.barred {
		entries = append(entries, dotEntry{"± standard error", keyWidth, func(c canvas, x, y float64) {
			c.segment(x, y, x+keyWidth, y, faded(soft, 0.5), barWidth, nil)
			c.dot(x+keyWidth/2, y, dotSize, soft)
		}})
	}
	if k.cut {
		entries = append(entries, dotEntry{"beyond the axis", dotKeyWidth, func(c canvas, x, y float64) { c.arrow(x+dotKeyWidth-1, y, 1, soft) }})
	}
	return entries
}

type dotEntry struct {
	label string
	width float64
	draw  func(c canvas, x, y float64)
}

func (k dotKey) layout(width float64) (places [][2]float64, height float64) {
	var widths []float64
	for _, e := range k.entries() {
		widths = append(widths, e.width+6+noteText.width(e.label))
	}
	places, height = flow(widths, width)
	return places, height + 8
}

func (k dotKey) draw(c canvas, places [][2]float64) {
	for i, e := range k.entries() {
		x, y := margin+places[i][0], margin+places[i][1]+6
		e.draw(c, x, y)
		c.text(x+e.width+6, y+4, e.label, noteText, 0)
	}
}

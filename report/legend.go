package report

import (
	"image/color"
	"strings"
)

// key is how a series is drawn.
type key struct {
	order  int
	colour color.RGBA
	dash   []float64
}

// keys gives every series name of a figure its key, in order of appearance.
type keys map[string]key

func legend(charts []Chart) keys {
	k := keys{}
	for _, c := range charts {
		for _, s := range c.Series {
			if _, ok := k[s.Name]; !ok {
				i := len(k)
				k[s.Name] = key{i, series[i%len(series)], dashes[i/len(series)%len(dashes)]}
			}
		}
	}
	return k
}

func (k keys) names() []string {
	names := make([]string, len(k))
	for n, v := range k {
		names[v.order] = n
	}
	return names
}

const keyWidth = 22 // of the line before a name

// layout places the names in as many lines as they need and returns the height of all. A figure of one series needs no
// legend.
func (k keys) layout(width float64) (places [][2]float64, height float64) {
	if len(k) < 2 {
		return nil, 0
	}
	var widths []float64
	for _, n := range k.names() {
		widths = append(widths, keyWidth+6+noteText.width(n))
	}
	places, height = flow(widths, width)
	return places, height + 8
}

// flow places things of the given widths one after another, in as many lines as they need.
func flow(widths []float64, width float64) (places [][2]float64, height float64) {
	x, y := 0.0, 0.0
	for _, w := range widths {
		if x > 0 && x+w > width {
			x, y = 0, y+legendLine
		}
		places = append(places, [2]float64{x, y})
		x += w + 18
	}
	return places, y + legendLine
}

func (k keys) draw(c canvas, places [][2]float64) {
	if places == nil {
		return
	}
	for i, n := range k.names() {
		x, y := margin+places[i][0], margin+places[i][1]+6
		c.segment(x, y, x+keyWidth, y, k[n].colour, 2.25, k[n].dash)
		c.text(x+keyWidth+6, y+4, n, noteText, 0)
	}
}

// fit shortens s with an ellipsis to a width.
func fit(s string, style textStyle, width float64) string {
	if style.width(s) <= width {
		return s
	}
	r := []rune(s)
	for len(r) > 0 && style.width(string(r)+"…") > width {
		r = r[:len(r)-1]
	}
	return strings.TrimRight(string(r), " ,;·") + "…"
}

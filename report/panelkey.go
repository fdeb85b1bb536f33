package report

import "fmt"

// entry is one part of the key of a figure of panels: a colour scale, or a line where there is none.
type entry struct {
	scale ramp
	label string
}

func (e entry) mark() float64 {
	if e.scale == nil {
		return keyWidth
	}
	return 36
}

// key returns what the panels show.
func (o PanelOptions) key(panels []Panel) (key []entry) {
	most, densities := 0, false
	for _, p := range panels {
		most = max(most, len(p.Points)/o.Dim)
		densities = densities || p.Density != nil
	}
	target := most > 0 && o.Contour != nil
	if o.Dim == 1 {
		if most > 0 {
			key = append(key, entry{ramp{barFill, barFill}, "samples"})
		}
		if densities || target {
			key = append(key, entry{nil, "exact density"})
		}
		return key
	}
	if most > 0 {
		label := "samples, darker where dense"
		if most > o.Limit {
			label += fmt.Sprintf(" (%s of %s drawn)", thousands(o.Limit), thousands(most))
		}
		key = append(key, entry{sampleRamp, label})
	}
	if densities {
		key = append(key, entry{exactRamp, "exact density"})
	}
	if target {
		key = append(key, entry{nil, "exact target: contours hold 50, 90 and 99 % of it"})
	}
	return key
}

// layoutKey places the entries in as many lines as they need, see flow.
func layoutKey(key []entry, width float64) (places [][2]float64, height float64) {
	var widths []float64
	for _, e := range key {
		widths = append(widths, e.mark()+6+noteText.width(e.label))
	}
	return flow(widths, width)
}

func drawKey(c canvas, key []entry, places [][2]float64, left, top float64) {
	for i, e := range key {
		x, y := left+places[i][0], top+places[i][1]
		if e.scale == nil {
			c.segment(x, y, x+e.mark(), y, exact, 1.5, nil)
		} else {
			c.swatch(x, y-4, e.mark(), 8, e.scale)
		}
		c.text(x+e.mark()+6, y+4, e.label, noteText, 0)
	}
}

// swatch paints a colour scale from left to right.
func (c canvas) swatch(left, top, width, height float64, r ramp) {
	img := c.pixels()
	x0, y0, w, h := int(left*pixelRatio), int(top*pixelRatio), int(width*pixelRatio), int(height*pixelRatio)
	for i := range w {
		for j := range h {
			img.SetRGBA(x0+i, y0+j, r.at(float64(i)/float64(w-1)))
		}
	}
}

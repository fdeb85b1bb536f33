package report

// drawScatters fills panels of two dimensions.
func drawScatters(c canvas, frames []frame, panels []Panel, opt PanelOptions) {
	img := c.pixels()
	var target field
	var levels []float64
	if opt.Contour != nil {
		target = sampled(opt.Contour, frames[0])
		levels = target.levels(contourMasses)
	}
	dots, peak := make([]scatter, len(panels)), 0.0
	for i, p := range panels {
		dots[i] = scattered(p.Points, opt.Limit, frames[i])
		peak = max(peak, dots[i].peak())
	}
	for i, p := range panels {
		if p.Density != nil {
			sampled(p.Density, frames[i]).heat(img)
		}
		dots[i].paint(img, frames[i], peak)
		if len(p.Points) > 0 && opt.Contour != nil {
			target.over(frames[i]).contours(img, levels, exact, 0.9, 0.5)
		}
		if len(p.Points) == 0 && p.Density == nil {
			c.text(frames[i].left+frames[i].width/2, frames[i].top+frames[i].height/2, "no samples", noteText, 0.5)
		}
	}
}

// over is the same field in another frame of the same view and size.
func (g field) over(f frame) field {
	g.frame = f
	return g
}

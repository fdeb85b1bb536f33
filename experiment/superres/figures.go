package superres

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/experiment"
	"github.com/doob-diffusion/doob/experiment/imaging"
	"github.com/doob-diffusion/doob/method"
	"github.com/doob-diffusion/doob/report"
)

// Title implements [experiment.Problem].
func (*Problem) Title() string { return "Posterior sampling for inverse problems" }

// Figures implements [experiment.Problem]. All samples in them are drawn anew from the checkpoints, with the same noise.
func (p *Problem) Figures(ctx context.Context, l *experiment.Lab, rep *experiment.Report) (sections []report.Section, err error) {
	add := func(heading, caption, name string, write func(path string) error) error {
		path := l.Figure(name)
		sections = append(sections, report.Section{Heading: heading, Images: []report.Image{{Path: path, Caption: caption}}})
		return write(path)
	}
	image, n := p.image(), min(8, p.Measurements)
	grid := func(rows []report.GridRow) func(path string) error {
		return func(path string) error { return report.SampleGrid(path, rows, image[0], image[1], image[2]) }
	}
	seen, err := p.backproject(ctx, l.Engine, p.measured[:n*engine.Size(p.reward.Shape)])
	if err != nil {
		return nil, err
	}
	truth := []report.GridRow{{Label: "truth", Images: p.truth[:n*p.pixels()]}, {Label: "measurement", Images: seen}}
	if slices.Contains(rep.Order, "importance") {
		s, err := l.Again(ctx, "", "importance", n)
		if err != nil {
			return nil, err
		}
		rows := truth
		for j := range min(4, s.Members) {
			rows = append(rows, report.GridRow{Label: fmt.Sprintf("sample %d", j+1), Images: member(s, j, p.pixels())})
		}
		sd, top := shaded(imaging.Spread(s, p.pixels()))
		rows = append(rows, report.GridRow{Label: "posterior mean", Images: imaging.Means(s.X, s.Members, p.pixels())},
			report.GridRow{Label: fmt.Sprintf("sd, white is %.2g", top), Images: sd})
		if err := add("Posterior", fmt.Sprintf("Samples of importance fine-tuning for %d measurements of test images, mean and pixel-wise standard deviation of %d samples.",
			n, s.Members), "posterior.png", grid(rows)); err != nil {
			return nil, err
		}
	}
	rows := truth
	for _, name := range rep.Order {
		if m := p.Method(name); !method.Plain(m) || name == "importance_single" { // which would have to be sampled one by one
			continue
		}
		s, err := l.Again(ctx, "", name, n)
		if err != nil {
			return nil, err
		}
		rows = append(rows, report.GridRow{Label: rep.Titles[name], Images: imaging.Means(s.X, s.Members, p.pixels())})
	}
	return sections, add("Posterior means", "What every method makes of the same measurements: the mean of its samples.", "methods.png", grid(rows))
}

// Picture implements [experiment.Problem].
func (p *Problem) Picture(path string, x []float32, n, columns int) error {
	image := p.image()
	return report.ImageGrid(path, x, n, image[0], image[1], image[2], columns)
}

// member returns sample j of every measurement.
func member(s *method.Samples, j, dim int) []float32 {
	var out []float32
	for i := range s.Count {
		out = append(out, s.X[(i*s.Members+j)*dim:(i*s.Members+j+1)*dim]...)
	}
	return out
}

// shaded returns positive values as shades from black for 0 to white for the top, their 99th percentile.
func shaded(values []float32) (shades []float32, top float64) {
	sorted := slices.Sorted(slices.Values(values))
	top = float64(sorted[int(0.99*float64(len(sorted)-1))])
	for _, v := range values {
		shades = append(shades, float32(2*math.Min(1, float64(v)/max(top, 1e-9))-1))
	}
	return shades, top
}

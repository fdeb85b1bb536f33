package own

import (
	"context"
	"math"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/experiment"
	"github.com/doob-diffusion/doob/method"
	"github.com/doob-diffusion/doob/report"
	"github.com/doob-diffusion/doob/reward"
)

// shown is the number of samples in a row of a figure.
const shown = 12

// Title implements [experiment.Problem].
func (*Problem) Title() string { return "A prior and a reward of your own" }

// Figures implements [experiment.Problem]. All samples in them are drawn anew from the checkpoints, with the same noise.
func (p *Problem) Figures(ctx context.Context, l *experiment.Lab, rep *experiment.Report) (sections []report.Section, err error) {
	shape := p.size()
	add := func(heading, file, caption string, rows []report.GridRow) error {
		path := l.Figure(file)
		sections = append(sections, report.Section{Heading: heading, Images: []report.Image{{Path: path, Caption: caption}}})
		return report.SampleGrid(path, rows, shape[0], shape[1], shape[2])
	}
	row := func(name, label string) (report.GridRow, error) {
		s, err := l.Again(ctx, "", name, shown)
		if err != nil {
			return report.GridRow{}, err
		}
		return report.GridRow{Label: label, Images: s.X}, nil
	}
	prior, err := row("base", "prior")
	if err != nil {
		return nil, err
	}
	rows := []report.GridRow{prior}
	for _, name := range rep.Order {
		if m := p.Method(name); name == "base" || m == nil || !method.Plain(m) {
			continue
		}
		r, err := row(name, rep.Titles[name])
		if err != nil {
			return nil, err
		}
		rows = append(rows, r)
	}
	if err := add("Before and after", "methods.png", "Samples of the prior, and what becomes of the same noise.", rows); err != nil {
		return nil, err
	}
	if p.likelihood() {
		if err := p.restored(ctx, l, rep, add); err != nil {
			return nil, err
		}
	}
	if p.pictures.N < shown {
		return sections, nil
	}
	pictures := report.GridRow{Label: "pictures", Images: p.pictures.Pixels[:shown*engine.Size(shape)]}
	return sections, add("Pictures and prior", "prior.png", "The first of your pictures, as the prior has seen them, and samples of the prior: fine-tuning is as good as these are alike.", []report.GridRow{pictures, prior})
}

// restored adds what every method makes of the measurement: the mean of its samples, and how much they differ, pixel by pixel.
func (p *Problem) restored(ctx context.Context, l *experiment.Lab, rep *experiment.Report, add func(heading, file, caption string, rows []report.GridRow) error) error {
	seen, err := p.backproject(ctx, l)
	if err != nil {
		return err
	}
	rows := []report.GridRow{{Label: "measurement", Images: append(seen, p.truth...)}}
	if p.truth == nil {
		rows[0].Images = append(rows[0].Images, make([]float32, len(seen))...) // gray: it is not known
	}
	for _, name := range rep.Order {
		s, err := l.Again(ctx, "", name, p.Samples)
		if err != nil {
			return err
		}
		mean, sd := moments(s.X, len(seen))
		rows = append(rows, report.GridRow{Label: rep.Titles[name], Images: append(mean, sd...)})
	}
	return add("Restored", "restored.png", "Above, the measurement as a picture, and the truth where it is known. Below, the mean of each method's samples, and their standard deviation: white is 0.5 or more.", rows)
}

// backproject makes a picture of the measurement.
func (p *Problem) backproject(ctx context.Context, l *experiment.Lab) ([]float32, error) {
	program, err := l.Engine.Compile(func(in []*graph.Node) []*graph.Node {
		return []*graph.Node{reward.Backproject(p.inverse.Operator, in[0])}
	})
	if err != nil {
		return nil, err
	}
	return program.Map(ctx, p.inverse.Y, 1, 1, p.inverse.Shape...)
}

// moments returns the mean of samples [n, dim], within [−1, 1], and their standard deviations as shades: −1 for 0, 1 for 0.5 or more.
func moments(x []float32, dim int) (mean, shades []float32) {
	n := len(x) / dim
	for k := range dim {
		var sum, squares float64
		for i := range n {
			v := float64(x[i*dim+k])
			sum, squares = sum+v, squares+v*v
		}
		m := sum / float64(n)
		sd := math.Sqrt(math.Max(0, squares/float64(n)-m*m))
		mean = append(mean, float32(math.Max(-1, math.Min(1, m))))
		shades = append(shades, float32(math.Min(1, 4*sd-1)))
	}
	return mean, shades
}

// Picture implements [experiment.Problem].
func (p *Problem) Picture(path string, x []float32, n, columns int) error {
	shape := p.size()
	return report.ImageGrid(path, x, n, shape[0], shape[1], shape[2], columns)
}

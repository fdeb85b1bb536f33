package own

import (
	"context"

	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/experiment"
	"github.com/doob-diffusion/doob/method"
	"github.com/doob-diffusion/doob/report"
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
	if p.pictures.N < shown {
		return sections, nil
	}
	pictures := report.GridRow{Label: "pictures", Images: p.pictures.Pixels[:shown*engine.Size(shape)]}
	return sections, add("Pictures and prior", "prior.png", "The first of your pictures, as the prior has seen them, and samples of the prior: fine-tuning is as good as these are alike.", []report.GridRow{pictures, prior})
}

// Picture implements [experiment.Problem].
func (p *Problem) Picture(path string, x []float32, n, columns int) error {
	shape := p.size()
	return report.ImageGrid(path, x, n, shape[0], shape[1], shape[2], columns)
}

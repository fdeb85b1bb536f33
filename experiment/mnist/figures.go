package mnist

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/doob-diffusion/doob/experiment"
	"github.com/doob-diffusion/doob/method"
	"github.com/doob-diffusion/doob/report"
)

// shown is the number of samples in a row of a figure.
const shown = 12

// Title implements [experiment.Problem].
func (*Problem) Title() string { return "Class-conditional sampling of handwritten digits" }

// Figures implements [experiment.Problem]. All samples in them are drawn anew from the checkpoints, with the same noise.
func (p *Problem) Figures(ctx context.Context, l *experiment.Lab, rep *experiment.Report) (sections []report.Section, err error) {
	row := func(task, name, label string) (report.GridRow, error) {
		s, err := l.Again(ctx, task, name, shown)
		if err != nil {
			return report.GridRow{}, err
		}
		return report.GridRow{Label: label, Images: s.X}, nil
	}
	add := func(heading, file, caption string, rows []report.GridRow) error {
		path := l.Figure(file)
		sections = append(sections, report.Section{Heading: heading, Images: []report.Image{{Path: path, Caption: caption}}})
		return report.SampleGrid(path, rows, 28, 28, 1)
	}
	prior, err := row(p.Classes[0], "base", "prior")
	if err != nil {
		return nil, err
	}
	if slices.Contains(rep.Order, "importance") {
		rows, name := []report.GridRow{prior}, "importance"
		if slices.Contains(rep.Order, "importance_amplified") {
			name = "importance_amplified"
		}
		for _, task := range p.Classes {
			r, err := row(task, name, title(task))
			if err != nil {
				return nil, err
			}
			rows = append(rows, r)
		}
		if err := add("Prior and posterior", "classes.png", fmt.Sprintf("Samples of the prior, and with the same noise for every task (%s).", rep.Titles[name]), rows); err != nil {
			return nil, err
		}
	}
	rows := []report.GridRow{prior}
	for _, name := range rep.Order {
		if m := method.New(name); name == "base" || m != nil && !method.Plain(m) {
			continue
		}
		r, err := row(p.Classes[0], name, rep.Titles[name])
		if err != nil {
			return nil, err
		}
		rows = append(rows, r)
	}
	if err := add("Methods on "+title(p.Classes[0]), "methods.png", "The methods that move the same noise, without selection.", rows); err != nil {
		return nil, err
	}
	return sections, nil
}

// title is a task's name for people.
func title(task string) string { return strings.TrimPrefix(task, "single_") }

// Picture implements [experiment.Problem].
func (*Problem) Picture(path string, x []float32, n, columns int) error {
	return report.ImageGrid(path, x, n, 28, 28, 1, columns)
}

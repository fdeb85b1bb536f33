package toy

import (
	"context"
	"fmt"
	"math"

	"github.com/doob-diffusion/doob/experiment"
	"github.com/doob-diffusion/doob/gmm"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/report"
)

// Title implements [experiment.Problem].
func (*Problem) Title() string { return "Tilting a Gaussian mixture" }

// Figures implements [experiment.Problem].
func (p *Problem) Figures(_ context.Context, l *experiment.Lab, rep *experiment.Report) (sections []report.Section, err error) {
	if p.law.dim() <= 2 {
		path := l.Figure("methods.png")
		if err := p.panels(path, l, rep); err != nil {
			return nil, err
		}
		sections = append(sections, report.Section{Heading: "Samples", Images: []report.Image{{Path: path, Caption: "Prior, exact tilted law, and samples of " +
			"every method over its contours. TV is the total variation of the mode weights from the exact ones."}}})
	}
	return sections, nil
}

func (p *Problem) panels(path string, l *experiment.Lab, rep *experiment.Report) error {
	panels := []report.Panel{
		{Title: "Prior", Note: "exact density", Density: density(p.law.prior)},
		{Title: "Tilted law", Note: fmt.Sprintf("exact, log Z = −%.3f", -p.law.logZ), Density: density(p.law.tilted)},
	}
	if p.law.logZ > 0 {
		panels[1].Note = fmt.Sprintf("exact, log Z = %.3f", p.law.logZ)
	}
	for _, name := range rep.Order {
		x, err := l.Stored("", name)
		if err != nil {
			return err
		}
		panels = append(panels, report.Panel{Title: rep.Titles[name], Note: fmt.Sprintf("TV %.3f", rep.Methods[name]["mode_tv"].Value), Points: x})
	}
	return report.Panels(path, panels, report.PanelOptions{Dim: p.law.dim(), View: p.view(), Columns: 4, Contour: density(p.law.tilted)})
}

// Picture implements [experiment.Problem].
func (p *Problem) Picture(path string, x []float32, n, _ int) error {
	if p.law.dim() > 2 {
		return fmt.Errorf("pictures are for 1 and 2 dimensions, these samples have %d: write a .csv", p.law.dim())
	}
	return report.Panels(path, []report.Panel{{Title: "Samples", Note: fmt.Sprintf("%d samples", n), Points: x}},
		report.PanelOptions{Dim: p.law.dim(), Columns: 1, View: p.view(), Contour: density(p.law.tilted)})
}

// density returns the density of a mixture in one or two dimensions.
func density(m *gmm.Mixture) func(x, y float64) float64 {
	return func(x, y float64) float64 { return math.Exp(m.LogDensity([]float64{x, y}[:m.Dim()])) }
}

// view holds the prior's means with a margin.
func (p *Problem) view() report.Rect {
	lo, hi := math.Inf(1), math.Inf(-1)
	for _, m := range p.law.prior.Means() {
		for _, v := range m {
			lo, hi = math.Min(lo, v), math.Max(hi, v)
		}
	}
	for _, x := range p.law.prior.Sample(1000, noise.New(0).Sub("view")) {
		lo, hi = math.Min(lo, float64(x)), math.Max(hi, float64(x))
	}
	margin := 0.05 * (hi - lo)
	return report.Rect{XMin: lo - margin, XMax: hi + margin, YMin: lo - margin, YMax: hi + margin}
}

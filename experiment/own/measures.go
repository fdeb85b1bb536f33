package own

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/doob-diffusion/doob/experiment"
	"github.com/doob-diffusion/doob/experiment/restore"
)

var _ restore.Prior = (*Problem)(nil)

// Measures implements [restore.Prior]: the prior restores any measurement, and h the one that the run is about.
func (p *Problem) Measures(ctx context.Context, l *experiment.Lab, operator string, sigma float64) (restore.Measured, error) {
	i := slices.IndexFunc(p.Rewards, Term.likely)
	if operator == "" && i < 0 {
		return restore.Measured{}, fmt.Errorf("%w: no reward of the run is the likelihood of a measurement: want --operator and --sigma, such as average-2 and 0.05", experiment.ErrConfig)
	}
	if i >= 0 {
		t := p.Rewards[i]
		if operator, sigma = cmp.Or(operator, t.Operator), cmp.Or(sigma, t.Sigma); operator != t.Operator || sigma != t.Sigma {
			i = -1
		}
	}
	if p.Base.Model != "" {
		if err := p.Base.loadModel(p); err != nil {
			return restore.Measured{}, err
		}
	}
	if err := p.loadBase(l); err != nil {
		return restore.Measured{}, err
	}
	if i < 0 || !p.likelihood() || p.Rewards[i].Measurement == "" || !slices.Contains(p.Methods, "importance") {
		m, err := restore.NewMeasured(ctx, l.Engine, operator, sigma, p.size(), p.Batch)
		p.reward, p.inverse, p.spread = m.Likelihood, m.Likelihood, m.Spread
		return m, err
	}
	p.inverse = nil
	var err error
	if p.reward, err = p.measured(ctx, l, i, p.Rewards[i]); err != nil {
		return restore.Measured{}, fmt.Errorf("%s: %w", p.key(i), err)
	}
	return restore.Measured{Operator: operator, Likelihood: p.inverse, Spread: p.spread, Y: p.inverse.Y}, nil
}

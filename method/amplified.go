package method

import (
	"context"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/steer"
)

// Amplified draws with a learned h times a tuned scale, see [steer.Amplified]. It is called by the name of the method that has learned h
// and the ending _amplified.
type Amplified struct {
	another `yaml:"-"`
	Scales  `yaml:",inline"`
	draws   `yaml:"-"`
}

var _ = combine("_amplified", func(of string) Method {
	return &Amplified{another: another{of}, Scales: Scales{Scales: []float64{1, 1.2, 1.4, 1.6}, Paths: 64}}
})

// About implements [Method].
func (a *Amplified) About() About { return a.about("_amplified", "%s, amplified", 0) }

// Cost implements [Method].
func (a *Amplified) Cost(w Work) Cost {
	c := a.cost(w)
	c.Networks = w.learned()
	return c
}

// Fit implements [Method].
func (a *Amplified) Fit(ctx context.Context, t *Target) (Fitted, error) {
	h, err := t.Learned(ctx, a.of)
	if err != nil {
		return Fitted{}, err
	}
	return a.tune(ctx, t, func(scale float64) diffusion.Control { return steer.Amplified{Control: h, Scale: scale} })
}

// Load implements [Loader].
func (a *Amplified) Load(ctx context.Context, t *Target, scale []float64) (diffusion.Control, error) {
	h, err := t.Learned(ctx, a.of)
	return steer.Amplified{Control: h, Scale: one(scale)}, err
}

package method

import (
	"context"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/reward"
	"github.com/doob-diffusion/doob/steer"
)

// Guidance is classifier guidance with a tuned scale, see [steer.Guidance].
type Guidance struct {
	Scales `yaml:",inline"`
	draws  `yaml:"-"`
}

var _ = register(func() Method {
	return &Guidance{Scales: Scales{Scales: []float64{0.1, 0.2, 0.4, 0.8}, Paths: 64}}
})

// About implements [Method].
func (*Guidance) About() About {
	return About{Name: "guidance", Title: "Classifier guidance", Needs: Gradient}
}

// Cost implements [Method].
func (g *Guidance) Cost(w Work) Cost { return g.cost(w) }

// Fit implements [Method].
func (g *Guidance) Fit(ctx context.Context, t *Target) (Fitted, error) {
	return g.tune(ctx, t, func(scale float64) diffusion.Control { return g.control(t, scale) })
}

// Load implements [Loader].
func (g *Guidance) Load(_ context.Context, t *Target, scale []float64) (diffusion.Control, error) {
	return g.control(t, one(scale)), nil
}

func (*Guidance) control(t *Target, scale float64) diffusion.Control {
	return steer.Guidance{Reward: t.Reward.(reward.Differentiable), Scale: scale}
}

package method

import (
	"context"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/reward"
	"github.com/doob-diffusion/doob/steer"
)

// DPS is diffusion posterior sampling with a tuned scale, see [steer.DPS].
type DPS struct {
	Scales `yaml:",inline"`
	draws  `yaml:"-"`
}

var _ = register(func() Method {
	return &DPS{Scales: Scales{Scales: []float64{2, 4, 8, 16, 32}, Paths: 64}}
})

// About implements [Method].
func (*DPS) About() About {
	return About{Name: "dps", Title: "Diffusion posterior sampling", Needs: Gradient | Likelihood}
}

// Cost implements [Method]: every prediction is differentiated.
func (d *DPS) Cost(w Work) Cost {
	c := d.cost(w)
	c.Through = 1
	return c
}

// Fit implements [Method].
func (d *DPS) Fit(ctx context.Context, t *Target) (Fitted, error) {
	return d.tune(ctx, t, func(scale float64) diffusion.Control { return d.control(t, scale) })
}

// Load implements [Loader].
func (d *DPS) Load(_ context.Context, t *Target, scale []float64) (diffusion.Control, error) {
	return d.control(t, one(scale)), nil
}

func (*DPS) control(t *Target, scale float64) diffusion.Control {
	return steer.DPS{Reward: t.Reward.(reward.Differentiable), Scale: scale}
}

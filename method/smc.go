package method

import (
	"context"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/internal/config"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/steer"
)

// Particles are the settings of sequential Monte Carlo.
type Particles struct {
	Threshold float64 `yaml:"threshold"` // effective share of the particles below which they are resampled
	Particles int     `yaml:"particles"` // simulated per returned sample
}

// Check implements [Method].
func (p *Particles) Check(c *config.Check, key string) {
	c.That(p.Threshold > 0 && p.Threshold <= 1, "%s.threshold is %g, want a number in (0, 1]", key, p.Threshold)
	c.Positive(key+".particles", p.Particles)
}

// of returns the number of particles.
func (p *Particles) of(w Work) float64 { return w.Samples * float64(p.Particles) }

// run simulates particles from a proposal, for one condition after the other.
func (p *Particles) run(ctx context.Context, t *Target, proposal diffusion.Control, twist func(diffusion.State) *graph.Node) (*Samples, error) {
	at := 0
	var given *diffusion.Condition
	if t.Given != nil {
		given = t.Given(0, 1)
		draw := given.Draw
		one := *given
		one.Draw = func(key noise.Key, _ int, y []float32) { draw(key, at, y) }
		given = &one
	}
	sampler := t.Sampler(proposal, given, 0)
	sampler.Twist = twist
	var x []float32
	var ancestors []float64
	for at = range t.Conditions {
		key, final := t.Keys.Particles, t.Keys.Root.Sub("final")
		if given != nil {
			key = key.At(at)
			final = key.Sub("final")
		}
		particles, err := steer.SMC{Sampler: sampler, Reward: t.Reward, Threshold: p.Threshold}.Run(ctx, key, p.Particles*t.Samples)
		if err != nil {
			return nil, err
		}
		x, ancestors = append(x, particles.Resample(t.Samples, final)...), append(ancestors, particles.LogAncestors...)
	}
	return t.selected(x, ancestors, p.Particles*t.Samples), nil
}

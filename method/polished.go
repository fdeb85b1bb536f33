package method

import (
	"context"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/internal/config"
	"github.com/doob-diffusion/doob/steer"
)

// Polished draws with a learned h times three numbers, of its early, middle and late steps, with which the KL of its paths is least: see
// [steer.Polish]. It is called by the name of the method that has learned h and the ending _polished.
type Polished struct {
	another `yaml:"-"`
	Paths   int `yaml:"paths"`  // simulated in a round
	Rounds  int `yaml:"rounds"` // of changes; one more judges the last
	draws   `yaml:"-"`
}

// stages are early, middle and late steps.
const stages = 3

var _ = combine("_polished", func(of string) Method { return &Polished{another: another{of}, Paths: 96, Rounds: 3} })

// About implements [Method].
func (p *Polished) About() About { return p.about("_polished", "%s, polished", 0) }

// Check implements [Method].
func (p *Polished) Check(c *config.Check, key string) {
	c.That(p.Paths > 1, "%s.paths is %d, want at least 2 to judge by", key, p.Paths)
	c.Positive(key+".rounds", p.Rounds)
}

// Cost implements [Method].
func (p *Polished) Cost(w Work) Cost {
	return Cost{Paths: w.drawn() + float64((p.Rounds+1)*p.Paths), Networks: w.learned(), Rows: max(w.Samples, float64(p.Paths))}
}

// Fit implements [Method].
func (p *Polished) Fit(ctx context.Context, t *Target) (Fitted, error) {
	h, err := t.Learned(ctx, p.of)
	if err != nil {
		return Fitted{}, err
	}
	out, err := steer.Polish{Reward: t.Reward, Stages: stages, Paths: p.Paths, Group: t.Group, Rounds: p.Rounds + 1,
		Sampler: func(h diffusion.Control) *diffusion.Sampler { return t.Sampler(h, t.Learn, 0) }}.Run(ctx, t.Keys.Root.Sub("polish"), h)
	return Fitted{Control: out, Scale: out.Scales}, err
}

// Load implements [Loader].
func (p *Polished) Load(ctx context.Context, t *Target, scale []float64) (diffusion.Control, error) {
	h, err := t.Learned(ctx, p.of)
	return steer.Staged{Control: h, Until: steer.Stages(t.Steps(0), stages), Scales: scale}, err
}

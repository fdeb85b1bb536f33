package method

import (
	"context"
	"math"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/finetune"
	"github.com/doob-diffusion/doob/internal/config"
)

// Rejection draws paths of a learned h, and accepts some by their weights (14): one more step toward the tilted law, as every iteration
// takes to learn from. It is called by the name of the method that has learned h and the ending _rejection.
type Rejection struct {
	another `yaml:"-"`
	Rate    float64 `yaml:"rate"` // share of the simulated paths that is kept
}

var _ = combine("_rejection", func(of string) Method { return &Rejection{another: another{of}, Rate: 0.25} })

// About implements [Method].
func (r *Rejection) About() About { return r.about("_rejection", "%s + rejection", 0) }

// Check implements [Method].
func (r *Rejection) Check(c *config.Check, key string) {
	c.That(r.Rate > 0 && r.Rate <= 1, "%s.rate is %g, want a number in (0, 1]", key, r.Rate)
}

// Cost implements [Method].
func (r *Rejection) Cost(w Work) Cost {
	n := w.Conditions * math.Ceil(w.Samples/w.Conditions/r.Rate)
	return Cost{Paths: n, Networks: w.learned(), Rows: n}
}

// Sample implements [Method].
func (r *Rejection) Sample(ctx context.Context, t *Target, h diffusion.Control) (*Samples, error) {
	return t.Accepted(ctx, h, r.Rate)
}

// Accepted draws samples of P^h, of which a share is kept by relaxed rejection.
func (t *Target) Accepted(ctx context.Context, h diffusion.Control, share float64) (*Samples, error) {
	each := int(math.Ceil(float64(t.Samples) / share))
	key := t.Keys.Root.Sub("samples")
	paths, err := t.Sampler(h, t.each(each), 0).Run(ctx, key, 0, t.Conditions*each, nil)
	if err != nil {
		return nil, err
	}
	weighted, err := finetune.Weigh(ctx, paths, t.Reward)
	if err != nil {
		return nil, err
	}
	if weighted.Group = 0; t.Given != nil {
		weighted.Group = each
	}
	x, err := weighted.Accepted(t.Samples, key.Sub("accepted"))
	return t.selected(x, weighted.LogW, each), err
}

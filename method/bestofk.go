package method

import (
	"context"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/internal/config"
	"github.com/doob-diffusion/doob/reward"
	"github.com/doob-diffusion/doob/steer"
)

// BestOfK keeps the sample of highest reward of every K of the base model.
type BestOfK struct {
	K     int `yaml:"k"`
	noFit `yaml:"-"`
}

var _ = register(func() Method { return &BestOfK{K: 4} })

// About implements [Method].
func (*BestOfK) About() About { return About{Name: "best_of_k", Title: "Best of K"} }

// Check implements [Method].
func (b *BestOfK) Check(c *config.Check, key string) { c.Positive(key+".k", b.K) }

// Cost implements [Method].
func (b *BestOfK) Cost(w Work) Cost {
	n := w.Samples * float64(b.K)
	return Cost{Base: n, Shared: min(n, w.Pool), Rows: n}
}

// Sample implements [Method].
func (b *BestOfK) Sample(ctx context.Context, t *Target, _ diffusion.Control) (*Samples, error) {
	paths, err := t.BasePaths(ctx, t.Conditions*t.Samples*b.K, t.Samples*b.K)
	if err != nil {
		return nil, err
	}
	rewards, err := reward.Evaluate(ctx, t.Reward, paths.X, paths.Given, paths.N)
	if err != nil {
		return nil, err
	}
	return t.selected(steer.Best(paths, rewards, b.K), rewards, t.Samples*b.K), nil
}

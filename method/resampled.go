package method

import (
	"context"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/internal/config"
	"github.com/doob-diffusion/doob/reward"
	"github.com/doob-diffusion/doob/steer"
)

// Resampled weighs base paths by exp r and resamples their endpoints: for many of them, samples of the tilted law itself, and so what the
// other methods would give if they had no error but that of the prior. With enough paths, its certificate is the truth of the chain.
type Resampled struct {
	noFit `yaml:"-"`
	Paths int `yaml:"paths"` // of the base model; 0 means those of the pool
}

var _ = register(func() Method { return &Resampled{} })

// Check implements [Method].
func (r *Resampled) Check(c *config.Check, key string) {
	c.That(r.Paths >= 0, "%s.paths is %d, want at least 0", key, r.Paths)
}

// About implements [Method].
func (*Resampled) About() About {
	return About{Name: "resampled", Title: "Base model, resampled", Needs: Unconditional}
}

// Cost implements [Method].
func (r *Resampled) Cost(w Work) Cost {
	n := max(w.Samples, w.Pool, float64(r.Paths))
	return Cost{Base: n, Shared: min(n, w.Pool), Rows: n}
}

// Sample implements [Method].
func (r *Resampled) Sample(ctx context.Context, t *Target, _ diffusion.Control) (*Samples, error) {
	paths, err := t.BasePaths(ctx, max(t.Samples, t.PoolSize, r.Paths), 0)
	if err != nil {
		return nil, err
	}
	rewards, err := reward.Evaluate(ctx, t.Reward, paths.X, paths.Given, paths.N)
	if err != nil {
		return nil, err
	}
	return t.selected(steer.Particles{Paths: paths, LogW: rewards}.Resample(t.Samples, t.Keys.Root.Sub("resampled")), rewards, 0), nil
}

package method

import (
	"context"
	"math"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/internal/config"
	"github.com/doob-diffusion/doob/metric"
	"github.com/doob-diffusion/doob/reward"
	"github.com/doob-diffusion/doob/steer"
)

// Scales are the settings of methods that multiply a control by a number, found by trying.
type Scales struct {
	Scales []float64 `yaml:"scales"` // that are tried
	Paths  int       `yaml:"paths"`  // to judge each by
}

// Check implements [Method].
func (s *Scales) Check(c *config.Check, key string) {
	c.That(len(s.Scales) > 0, "%s.scales is empty", key)
	for _, v := range s.Scales {
		c.That(v >= 0 && !math.IsInf(v, 1), "%s.scales has %g, want numbers from 0", key, v)
	}
	c.That(s.Paths > 1, "%s.paths is %d, want at least 2 to judge a scale by", key, s.Paths)
}

// cost is that of tuning and of sampling.
func (s *Scales) cost(w Work) Cost {
	return Cost{Paths: w.drawn() + float64(len(s.Scales)*s.Paths), Rows: max(w.Samples, float64(s.Paths))}
}

// tune returns the scale whose samples are best: by what the target calls good, or by their mean reward.
func (s *Scales) tune(ctx context.Context, t *Target, h func(scale float64) diffusion.Control) (Fitted, error) {
	trial := Trial{Given: t.Learn, Paths: s.Paths}
	if t.Trial != nil {
		var err error
		if trial, err = t.Trial(ctx, s.Paths); err != nil {
			return Fitted{}, err
		}
	}
	scale, err := steer.TuneScale(s.Scales, func(scale float64) (float64, error) {
		paths, err := t.Sampler(h(scale), trial.Given, 0).Run(ctx, t.Keys.Root.Sub("tune"), 0, trial.Paths, nil)
		if err != nil {
			return 0, err
		}
		if trial.Quality != nil {
			return trial.Quality(ctx, paths.X)
		}
		rewards, err := reward.Evaluate(ctx, t.Reward, paths.X, paths.Given, paths.N)
		mean, _ := metric.MeanSE(rewards)
		return mean, err
	})
	return Fitted{Control: h(scale), Scale: []float64{scale}}, err
}

// one returns the only scale of a method that has found one.
func one(scale []float64) float64 {
	if len(scale) == 0 { // of a run that does not say
		return 0
	}
	return scale[0]
}

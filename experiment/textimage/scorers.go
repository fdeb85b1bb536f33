package textimage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/doob-diffusion/doob/experiment/imaging"
	"github.com/doob-diffusion/doob/internal/config"
	"github.com/doob-diffusion/doob/reward"
	"github.com/doob-diffusion/doob/reward/external"
)

// Term is a reward from outside: a program or server of the user's own. Its requests have the prompt in their metadata.
type Term struct {
	external.Settings `yaml:",inline"`
	imaging.Weighted  `yaml:",inline"`
}

// title says what a reward is, for people.
func (t Term) title() string {
	kind := "command"
	if t.HTTP != "" {
		kind = "http"
	}
	return cmp.Or(t.Weighted.Name, kind)
}

// scorer is one of them in use.
type scorer struct {
	*imaging.Scorer
	name, title string
	weight      float64 // 0 for one that is only measured
}

// terms calls what follows for all rewards from outside, those that are only measured last.
func (p *Problem) terms(each func(t *Term, key string, trained bool)) {
	for i := range p.Scorers {
		each(&p.Scorers[i], fmt.Sprintf("rewards[%d]", i), true)
	}
	for i := range p.Evaluate {
		each(&p.Evaluate[i], fmt.Sprintf("evaluate[%d]", i), false)
	}
}

// named returns the rewards from outside by their names, not in use.
func (p *Problem) named() (out []scorer) {
	var taken []string
	p.terms(func(t *Term, key string, trained bool) {
		s := scorer{Scorer: &imaging.Scorer{Settings: t.Settings, Where: key}, title: t.title(), name: imaging.ResultName(t.title(), trained, taken)}
		if trained {
			s.weight = t.Factor()
		}
		taken, out = append(taken, s.name), append(out, s)
	})
	return out
}

// checkTerms notes what is wrong with rewards from outside.
func (p *Problem) checkTerms(c *config.Check) {
	p.terms(func(t *Term, key string, trained bool) {
		t.Settings.Check(c, key)
		t.Weighted.Check(c, key, trained)
	})
}

// locate makes the paths of programs absolute, and returns their files.
func (p *Problem) locate() (files []string, err error) {
	p.terms(func(t *Term, key string, _ bool) {
		located, wrong := t.Located()
		if wrong != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", key, wrong))
			return
		}
		t.Settings = located
		for _, word := range located.Command {
			if info, err := os.Stat(word); err == nil && filepath.IsAbs(word) && info.Mode().IsRegular() {
				files = append(files, word)
			}
		}
	})
	return files, err
}

// Close implements [io.Closer]: it ends the programs that score pictures.
func (p *Problem) Close() error {
	var errs []error
	for _, s := range p.scorers {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}

var _ io.Closer = (*Problem)(nil)

// pictured is a reward of latents that has no gradient: that of the pictures which the autoencoder makes of them, scaled.
type pictured struct {
	*Problem
	of    reward.Reward
	scale float64
}

// Rewards implements [reward.Reward].
func (r pictured) Rewards(ctx context.Context, x []float32, n int) ([]float64, error) {
	pictures, err := r.draw(ctx, x, n)
	if err != nil {
		return nil, err
	}
	out, err := reward.Evaluate(ctx, r.of, pictures, nil, n)
	for i := range out {
		out[i] *= r.scale
	}
	return out, err
}

// judged returns what makes the reward of a task, times a factor: ImageReward's alone has a gradient, a sum with rewards from outside has none.
func (p *Problem) judged(task string) (func(factor float64) reward.Reward, error) {
	if len(p.Scorers) == 0 {
		r := p.rewards[task]
		return func(factor float64) reward.Reward { return decoded{pictured{p, r, p.Scale * factor}, r} }, nil
	}
	var terms []reward.Term
	if r := p.rewards[task]; r != nil {
		terms = append(terms, reward.Term{Weight: 1, Reward: r})
	}
	for _, s := range p.scorers {
		if s.weight != 0 {
			terms = append(terms, reward.Term{Weight: s.weight, Reward: s.For(p.prompt(task))})
		}
	}
	sum, err := reward.NewSum(terms...)
	return func(factor float64) reward.Reward { return pictured{p, sum, p.Scale * factor} }, err
}

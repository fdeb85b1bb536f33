package experiment

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"strings"

	"github.com/doob-diffusion/doob/internal/config"
	"github.com/doob-diffusion/doob/metric"
	"github.com/doob-diffusion/doob/reward"
)

// Temper chooses a factor of the reward, 1/λ of p_data·exp(r/λ), for every task by itself, from its base paths: so that the tilted law is as far
// from the base model's as is said, whatever the units of the reward. One of ESS and KL is given, or neither, which leaves the reward as it is.
type Temper struct {
	ESS    float64 `yaml:"ess,omitempty"`    // effective sample size of base paths weighed by the tilted law, as a share of them
	KL     float64 `yaml:"kl,omitempty"`     // of the tilted law to the base model's, nats
	Factor float64 `yaml:"factor,omitempty"` // multiplies what was chosen; 0 means 1. Variants that differ in it show a frontier.
}

// On reports whether a factor is chosen.
func (t Temper) On() bool { return t.ESS != 0 || t.KL != 0 }

// effective is how many base paths must carry what is estimated by them.
const effective = 20

func (t Temper) check(c *config.Check, pool int) {
	c.That(t.Factor >= 0 && !math.IsInf(t.Factor, 1), "temper.factor is %g, want a positive number, or 0 for 1", t.Factor)
	if !t.On() {
		return
	}
	c.That(t.ESS == 0 || t.KL == 0, "temper has ess and kl, want one of them")
	least := effective / float64(pool)
	c.That(t.ESS == 0 || t.ESS < 1 && t.ESS >= least,
		"temper.ess is %g, want a share below 1 that leaves %d effective ones of the %d base paths of pool: at least %.2g", t.ESS, effective, pool, least)
	c.That(t.KL == 0 || t.KL > 0 && t.KL <= math.Log(float64(pool)/effective),
		"temper.kl is %g, want a positive number of at most log(pool/%d) = %.2g nats: %d base paths say nothing of more", t.KL, effective, math.Log(float64(pool)/effective), pool)
}

// factor returns the number that rewards of base samples are multiplied by. Both measures are monotone in it.
func (t Temper) factor(rewards []float64) (float64, error) {
	enough := func(factor float64) bool {
		logW := make([]float64, len(rewards))
		for i, r := range rewards {
			logW[i] = factor * r
		}
		if t.KL > 0 {
			logZ, kl := metric.LogMeanExp(logW), 0.0
			for _, lw := range logW {
				if w := math.Exp(lw - logZ); w > 0 { // the reward may forbid a sample
					kl += w * (lw - logZ) / float64(len(logW))
				}
			}
			return kl >= t.KL
		}
		return metric.ESS(logW) <= t.ESS*float64(len(rewards))
	}
	low, high := 0.0, 1.0
	for !enough(high) {
		if low, high = high, 2*high; high > 1e12 {
			return 0, fmt.Errorf("temper: no factor of the reward takes the law of %d base paths as far as that: their rewards hardly differ", len(rewards))
		}
	}
	for range 60 {
		if middle := (low + high) / 2; enough(middle) {
			high = middle
		} else {
			low = middle
		}
	}
	return high, nil
}

// tempering is the name of the stage that chooses the factor, and factorName that of the result.
const tempering, factorName = "temper", "reward_factor"

// temper chooses the factor of a task's reward, unless that was done before. Methods are charged for the base paths when they use them.
func (r *run) temper(ctx context.Context, l *Lab, task string) error {
	c := r.problem.common()
	if !c.Temper.On() {
		return nil
	}
	at := stage{l.seed, task, tempering}
	settings, err := r.settings(at)
	if err != nil || r.ended(at, settings) {
		return err
	}
	_, t, _, err := l.target(ctx, task, "base")
	if err != nil {
		return err
	}
	paths, err := t.BasePaths(ctx, c.Pool, 0)
	if err != nil {
		return err
	}
	rewards, err := reward.Evaluate(ctx, t.Scaled(1), paths.X, paths.Given, paths.N)
	if err != nil {
		return err
	}
	factor, err := c.Temper.factor(rewards)
	if err != nil {
		return err
	}
	r.observe(Event{Seed: at.seed, Task: task, Stage: tempering, Done: 1, Total: 1, Settings: settings, Result: Numbers(map[string]float64{factorName: factor})})
	r.done[at] = settings
	return nil
}

// factored begins the setting of a variant that is fine-tuned to another multiple of the reward.
const factored = "temper.factor="

// Factored returns the method that a variant is of, which is the method itself if it is none, and the factor that it sets or else the run.
func (c *Common) Factored(name string) (of string, factor float64) {
	of, factor = name, cmp.Or(c.Temper.Factor, 1)
	for _, v := range c.Variants {
		if v.Name != name {
			continue
		}
		of = cmp.Or(v.Of, importance)
		for _, s := range v.Set {
			if text, ok := strings.CutPrefix(s, factored); ok {
				factor = cmp.Or(number(text), 1)
			}
		}
	}
	return of, factor
}

// tempered notes what was chosen for a task, elsewhere.
func (l *Lab) tempered(task string, factor float64) {
	l.book.results[stage{l.seed, task, tempering}] = Numbers(map[string]float64{factorName: factor})
}

// Factor returns what temper has chosen for a task's reward in a repetition, 1 where it has chosen nothing.
func (l *Lab) Factor(task string) float64 {
	if v := l.book.results[stage{l.seed, task, tempering}].value(factorName); finite(v) {
		return v
	}
	return 1
}

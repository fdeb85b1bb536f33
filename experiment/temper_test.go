package experiment

import (
	"math"
	"testing"

	"github.com/doob-diffusion/doob/metric"
	"github.com/doob-diffusion/doob/noise"
)

// Rewards that are normal with standard deviation s have, at a factor f, exp(−f²s²) of their number as ESS and f²s²/2 nats of KL.
func TestTemperFactor(t *testing.T) {
	const n, s = 100_000, 2.5
	rewards := make([]float64, n)
	draw := noise.New(1).Rand()
	for i := range rewards {
		rewards[i] = 7 + s*draw.NormFloat64()
	}
	for name, c := range map[string]struct {
		temper Temper
		want   float64
	}{
		"ess 0.3": {Temper{ESS: 0.3}, math.Sqrt(-math.Log(0.3)) / s},
		"kl 0.5":  {Temper{KL: 0.5}, 1 / s},
	} {
		got, err := c.temper.factor(rewards)
		if err != nil || math.Abs(got-c.want) > 0.02*c.want {
			t.Errorf("%s: factor %g (%v), want %g", name, got, err, c.want)
		}
	}
	f, err := Temper{ESS: 0.1}.factor(rewards)
	if err != nil {
		t.Fatal(err)
	}
	for i := range rewards {
		rewards[i] *= f
	}
	if ess := metric.ESS(rewards) / n; math.Abs(ess-0.1) > 1e-6 {
		t.Errorf("at the factor, the ESS is %g, want 0.1", ess)
	}
	if got, err := (Temper{KL: 1}).factor([]float64{1, 2, 3, math.Inf(-1), 5, 6}); err != nil || !(got > 0 && got < 100) {
		t.Errorf("with a sample that the reward forbids: factor %g, %v", got, err)
	}
	if _, err := (Temper{ESS: 0.1}).factor(make([]float64, 100)); err == nil {
		t.Error("a constant reward was tempered")
	}
}

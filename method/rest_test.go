package method

import (
	"context"
	"math"
	"slices"
	"testing"

	"github.com/doob-diffusion/doob/finetune"
	"github.com/doob-diffusion/doob/htransform"
	"github.com/doob-diffusion/doob/internal/oracle"
)

// rested runs ReST between two quantiles of the reward, and returns the acceptance of every iteration and the samples.
func rested(t *testing.T, low, high float64) (accepted []float64, s *Samples) {
	t.Helper()
	target := newTarget(t, 1, 30)
	target.Run = func(ctx context.Context, f *finetune.FineTuning, _ htransform.Learned) error {
		f.Observe = func(ev finetune.Event) { accepted = append(accepted, ev.Acceptance) }
		return f.Run(ctx)
	}
	m := small(New("rest")).(*ReST)
	m.Iterations, m.Low, m.High = 4, low, high
	return accepted, draw(t, m, target)
}

// Over the iterations the threshold rises from one quantile of the reward towards the other: of 40 paths, it keeps what lies above.
func TestReSTThresholdRises(t *testing.T) {
	for _, c := range []struct {
		low, high float64
		want      []float64
	}{
		{0.5, 0.9, []float64{20, 16, 12, 8}},
		{0, 1, []float64{40, 30, 20, 10}},
		{0.3, 0.3, []float64{28, 28, 28, 28}},
		{1, 1, []float64{1, 1, 1, 1}}, // the best one always
	} {
		accepted, _ := rested(t, c.low, c.high)
		if len(accepted) != 4 {
			t.Fatalf("%d iterations", len(accepted))
		}
		for i, a := range accepted {
			oracle.Near(t, "accepted paths", 40*a, c.want[i], 1e-9)
		}
	}
	if m := New("rest").(*ReST); m.Low != 0.5 || m.High != 0.9 {
		t.Errorf("the defaults are %g and %g, want 0.5 and 0.9", m.Low, m.High)
	}
}

// A threshold that does not rise is an elite of constant share.
func TestReSTIsCEM(t *testing.T) {
	_, rest := rested(t, 0.75, 0.75)
	cem := small(New("cem")).(*CEM)
	cem.Iterations, cem.Acceptance = 4, finetune.Rate{0.25}
	same := draw(t, cem, newTarget(t, 1, 30))
	cem.Acceptance = finetune.Rate{0.5}
	other := draw(t, cem, newTarget(t, 1, 30))
	if !slices.Equal(rest.X, same.X) || slices.Equal(rest.X, other.X) {
		t.Error("ReST above the quantile 0.75 is not the elite of a quarter")
	}
}

// What is learned in one round on base paths is the prior on the interval around the reward's goal that has the accepted share of its mass.
func TestReSTOneRound(t *testing.T) {
	const quantile = 0.5
	p, goal := ends(0), oracle.Reward.Goal
	below := func(x float64) float64 { return math.Erfc((p.Mean-x)/(p.SD*math.Sqrt2)) / 2 }
	width := 0.0 // of the interval, to each side, which has half of the mass
	for below(goal+width)-below(goal-width) < 1-quantile {
		width += 1e-4
	}
	var mass, mean, square float64
	for x := goal - width; x < goal+width; x += 1e-4 {
		w := math.Exp(p.LogDensity(x)) * 1e-4
		mass, mean, square = mass+w, mean+w*x, square+w*x*x
	}
	mean /= mass
	sd := math.Sqrt(square/mass - mean*mean)
	m := thorough(New("rest")).(*ReST)
	m.Iterations, m.Buffer, m.Updates, m.Low, m.High = 1, 1000, 800, quantile, quantile
	target := newTarget(t, 1, 2000)
	target.PoolSize = 2000
	got, gotSD := moments(draw(t, m, target).X)
	// Four standard errors of the mean of 1000 accepted and of 2000 drawn samples are 0.07; the small network smooths the edges of the interval.
	oracle.Near(t, "mean", got, mean, 0.07)
	oracle.Near(t, "sd", gotSD, sd, 0.1)
}

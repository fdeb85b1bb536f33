package method

import (
	"context"
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/metric"
	"github.com/doob-diffusion/doob/reward"
	"github.com/doob-diffusion/doob/steer"
)

// nearest is a trial of samples by how near their moments are to those of a law.
func nearest(want oracle.Gaussian, sizes *[]int) func(context.Context, int) (Trial, error) {
	return func(_ context.Context, paths int) (Trial, error) {
		return Trial{Paths: 10 * paths, Quality: func(_ context.Context, x []float32) (float64, error) {
			*sizes = append(*sizes, len(x))
			mean, sd := moments(x)
			return -math.Hypot(mean-want.Mean, sd-want.SD), nil
		}}, nil
	}
}

// Of half of h*, twice as much is right: the scale is found, and the samples are those of h* to four standard errors.
func TestAmplified(t *testing.T) {
	var sizes []int
	target := fixed(newTarget(t, 1, 2000), half(t))
	target.Trial = nearest(ends(1), &sizes)
	m := &Amplified{Scales: Scales{Scales: []float64{4, 1, 2, 0, 3}, Paths: 50}}
	spent := target.Meter()
	s := draw(t, m, target)
	if !slices.Equal(s.Scale, []float64{2}) || !slices.Equal(sizes, []int{500, 500, 500, 500, 500}) {
		t.Errorf("scale %v, after trials of %v paths", s.Scale, sizes)
	}
	if got := spent(); got.Paths != 5*500+2000+223+7 || got.Calls != 24*(4500+223)+11 /* h* is no network */ {
		t.Errorf("%+v were spent", got)
	}
	mean, sd := moments(s.X)
	want := ends(1)
	oracle.Near(t, "mean", mean, want.Mean, 4*want.SD/math.Sqrt(2000))
	oracle.Near(t, "sd", sd, want.SD, 4*want.SD/math.Sqrt(2*2000))
	if s.Certificate.ESS < 0.8 {
		t.Errorf("ESS %g", s.Certificate.ESS)
	}
	again(t, m, target, s)
}

// again loads what a method has tuned, and draws the same samples with it.
func again(t *testing.T, m Loader, target *Target, s *Samples) {
	t.Helper()
	h, err := m.Load(t.Context(), target, s.Scale)
	if err != nil {
		t.Fatal(err)
	}
	got, err := m.(Method).Sample(t.Context(), target, h)
	if err != nil || !slices.Equal(got.X, s.X) {
		t.Errorf("loaded again, it draws other samples: %v", err)
	}
}

// Guidance takes the scale that its trial says is best, whichever it is.
func TestGuidanceTakesTheBest(t *testing.T) {
	for name, make := range map[string]func(Scales) Method{"guidance": func(s Scales) Method { return &Guidance{Scales: s} }, "dps": func(s Scales) Method { return &DPS{Scales: s} }} {
		var samples [][]float32
		for best := range 3 {
			target, tried := newTarget(t, 1, 20), 0
			target.Trial = func(context.Context, int) (Trial, error) {
				return Trial{Paths: 5, Quality: func(context.Context, []float32) (float64, error) {
					tried++
					return -math.Abs(float64(tried - 1 - best)), nil
				}}, nil
			}
			m := make(Scales{Scales: []float64{0.3, 0.1, 0.2}, Paths: 30})
			s := draw(t, m, target)
			if want := []float64{0.3, 0.1, 0.2}[best]; s.Scale[0] != want || tried != 3 {
				t.Errorf("%s: scale %v after %d trials, want %g after 3", name, s.Scale, tried, want)
			}
			again(t, m.(Loader), target, s)
			for _, other := range samples {
				if slices.Equal(other, s.X) {
					t.Errorf("%s: two scales give the same samples", name)
				}
			}
			samples = append(samples, s.X)
		}
	}
}

// Without a trial, the mean reward decides: measured here for every scale by itself. Guidance by x̂₀ overshoots, so it is not the largest.
func TestScaleByReward(t *testing.T) {
	scales := []float64{0.02, 0.4, 20}
	target := newTarget(t, 1, 20)
	var rewards []float64
	for _, scale := range scales {
		s := target.Sampler(steer.Guidance{Reward: misfit{}, Scale: scale}, nil, 0)
		paths, err := s.Run(t.Context(), target.Keys.Root.Sub("tune"), 0, 60, nil)
		if err != nil {
			t.Fatal(err)
		}
		r, err := reward.Evaluate(t.Context(), misfit{}, paths.X, nil, paths.N)
		if err != nil {
			t.Fatal(err)
		}
		mean, _ := metric.MeanSE(r)
		rewards = append(rewards, mean)
	}
	want := scales[slices.Index(rewards, slices.Max(rewards))]
	if want != 0.4 {
		t.Fatalf("mean rewards %v: the largest is that of an extreme", rewards)
	}
	if s := draw(t, &Guidance{Scales: Scales{Scales: scales, Paths: 60}}, target); s.Scale[0] != want {
		t.Errorf("scale %v, of mean rewards %v of %v", s.Scale, rewards, scales)
	}
	// For conditions, without a trial, the paths are those of the conditions that are learned from.
	conditional := newTarget(t, 1, 20, 1.2, -0.6)
	if s := draw(t, &Guidance{Scales: Scales{Scales: scales, Paths: 60}}, conditional); s.Scale[0] != 0.4 {
		t.Errorf("with conditions: scale %v", s.Scale)
	}
}

// What cannot be tried is an error.
func TestTrialFails(t *testing.T) {
	broken := errors.New("broken")
	for name, trial := range map[string]func(context.Context, int) (Trial, error){
		"prepare": func(context.Context, int) (Trial, error) { return Trial{}, broken },
		"judge": func(context.Context, int) (Trial, error) {
			return Trial{Paths: 2, Quality: func(context.Context, []float32) (float64, error) { return 0, broken }}, nil
		},
	} {
		target := newTarget(t, 1, 20)
		target.Trial = trial
		if _, err := New("guidance").Fit(t.Context(), target); !errors.Is(err, broken) {
			t.Errorf("%s: %v", name, err)
		}
	}
	target := newTarget(t, 1, 20)
	target.Fetch = func(context.Context, *Target, string) (diffusion.Control, Spent, error) { return nil, Spent{}, broken }
	for _, name := range []string{"x_smc", "x_fast", "x_rejection", "x_amplified"} {
		if _, err := New(name).Fit(t.Context(), target); !errors.Is(err, broken) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := New(name).(Loader).Load(t.Context(), target, []float64{1}); !errors.Is(err, broken) {
			t.Errorf("%s, loaded: %v", name, err)
		}
	}
}

package steer_test

import (
	"errors"
	"math"
	"testing"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/steer"
)

// For a Gaussian base x̂₀ is linear in x, so that guidance by ∇_{x̂₀} r and by ∇ₓ r(x̂₀) differ by the factor dx̂₀/dx.
func TestGuidanceAgainstHost(t *testing.T) {
	p := gaussians(t)
	x, times := []float32{-1, 0.2, 1, 2.5, 0.7}, []float32{1e-4, 0.05, 0.2, 0.5, 0.8}
	program, err := oracle.Open(t).Compile(func(in []*graph.Node) []*graph.Node {
		s := diffusion.State{Process: diffusion.VP{}, X: in[0], T: in[1]}.Evaluate(p.base())
		return []*graph.Node{s.Noise(steer.Guidance{Reward: p.reward(), Scale: 2}), s.Noise(steer.Twisted{Reward: p.reward(), Scale: 2}),
			steer.LogTwist(p.reward(), nil)(s), s.Noise(steer.Amplified{Control: steer.Guidance{Reward: p.reward(), Scale: 2}, Scale: 1.5})}
	})
	if err != nil {
		t.Fatal(err)
	}
	out, err := program.Run(engine.Rows(x, 1), times)
	if err != nil {
		t.Fatal(err)
	}
	values := make([][]float32, 4)
	for i := range values {
		values[i] = make([]float32, len(x))
		if err := engine.Floats(values[i], out[i]); err != nil {
			t.Fatal(err)
		}
	}
	for i, at := range times {
		alpha, sigma := diffusion.VP{}.Alpha(float64(at)), diffusion.VP{}.Sigma(float64(at))
		slope, x0 := tweedie(alpha, sigma, float64(x[i]))
		g := oracle.Reward.Density().Score(x0)
		oracle.Near(t, "guidance", values[0][i], -2*sigma*g, 1e-3*sigma)
		oracle.Near(t, "amplified guidance", values[3][i], -3*sigma*g, 1e-3*sigma)
		oracle.Near(t, "twisted", values[1][i], -2*sigma*g*slope, 1e-3*sigma)
		oracle.Near(t, "log ψ", values[2][i], oracle.Reward.Density().LogDensity(x0), 1e-3)
	}
}

func TestTuneScale(t *testing.T) {
	nan, inf, down := math.NaN(), math.Inf(1), errors.New("down")
	for _, c := range []struct {
		name   string
		values map[float64]float64
		order  []float64
		want   float64
		fails  bool
	}{
		{"the highest", map[float64]float64{0: 1, 1: 5, 2: 3}, []float64{0, 1, 2}, 1, false},
		{"ties: the first", map[float64]float64{2: 5, 1: 5}, []float64{2, 1}, 2, false},
		{"NaN loses", map[float64]float64{0: nan, 1: -5, 2: nan}, []float64{0, 1, 2}, 1, false},
		{"all NaN", map[float64]float64{0: nan, 1: nan}, []float64{0, 1}, 0, true},
		{"all −∞", map[float64]float64{0: -inf}, []float64{0}, 0, true},
		{"none", nil, nil, 0, true},
	} {
		got, err := steer.TuneScale(c.order, func(scale float64) (float64, error) { return c.values[scale], nil })
		if (err != nil) != c.fails || err == nil && got != c.want {
			t.Errorf("%s: scale %g, %v; want %g, error: %t", c.name, got, err, c.want, c.fails)
		}
	}
	if _, err := steer.TuneScale([]float64{1, 2}, func(float64) (float64, error) { return 0, down }); !errors.Is(err, down) {
		t.Errorf("a failing value: error %v", err)
	}
}

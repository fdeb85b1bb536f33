package method

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/htransform"
	"github.com/doob-diffusion/doob/internal/oracle"
)

// Every method that can give each condition its own law does so: two measurements, whose posteriors N(0.923, 0.499²) and
// N(−0.324, 0.499²) are 2.5 standard deviations apart.
func TestEveryConditionHasItsLaw(t *testing.T) {
	ys := []float64{1.2, -0.6}
	shared := newTarget(t, 3, 1, ys...)
	fitted, err := thorough(New("importance")).Fit(t.Context(), shared)
	if err != nil {
		t.Fatal(err)
	}
	names, _ := Names()
	for _, name := range append(names, "importance_smc", "importance_rejection", "importance_fast", "importance_amplified") {
		m := thorough(New(name))
		if m.About().Needs&Unconditional != 0 {
			continue
		}
		t.Run(name, func(t *testing.T) {
			const n = 400
			target := fixed(newTarget(t, 3, n, ys...), fitted.Control)
			target.Engine = shared.Engine.Fork()
			switch m := m.(type) {
			case *DPS:
				m.Scales.Scales = []float64{0.1, 0.2}
			case *Fast:
				m.Steps = 12
			case *Amplified:
				m.Scales = Scales{Scales: []float64{1, 1.2}, Paths: 40}
			}
			s := draw(t, m, target)
			if s.Count != len(ys) || s.Members != n || len(s.X) != 2*n {
				t.Fatalf("%d samples, %d conditions of %d", len(s.X), s.Count, s.Members)
			}
			for i, y := range ys {
				mean, sd := moments(s.X[i*n : (i+1)*n])
				want := toward(y).Tilt(oracle.Prior)
				t.Logf("y = %g: N(%.3f, %.3f²)", y, mean, sd)
				switch name {
				case "base":
					want = ends(0)
				case "best_of_k", "guidance", "dps", "importance_amplified": // these overshoot: each at least on its own side
					if own, other := math.Abs(mean-want.Mean), math.Abs(mean-toward(ys[1-i]).Tilt(oracle.Prior).Mean); own > other/2 {
						t.Errorf("y = %g: mean %g, that of the posterior is %g", y, mean, want.Mean)
					}
					continue
				}
				// Four standard errors of the mean of 400 samples are 0.1. What is learned is from measurements of the accepted samples
				// themselves, and so does not overshoot whatever selects them; the rest is a small network.
				oracle.Near(t, fmt.Sprintf("mean for y = %g", y), mean, want.Mean, 0.13)
				oracle.Near(t, fmt.Sprintf("sd for y = %g", y), sd, want.SD, 0.1)
			}
		})
	}
}

// posteriorH is h* of a path that is conditioned on y.
type posteriorH struct{ t *testing.T }

func (h posteriorH) Noise(s diffusion.State) *graph.Node {
	at := func(y float64) *graph.Node {
		s := s
		s.Given = nil
		return htransform.Exact{Prior: gaussian(h.t, oracle.Prior), Tilted: gaussian(h.t, toward(y).Tilt(oracle.Prior))}.Noise(s)
	}
	// It is linear in y.
	zero, one := at(0), at(1)
	return graph.Add(zero, graph.Mul(s.Given, graph.Sub(one, zero)))
}

// With the h of every condition, samples are those of the posteriors to four standard errors, however they are drawn; log Ẑ is the mean of
// the log evidence log E exp r(X; y).
func TestConditionsExactly(t *testing.T) {
	ys := []float64{1.2, -1.6, 0.3}
	const n = 1000
	p := ends(0)
	var evidence float64
	for _, y := range ys {
		evidence += toward(y).LogZ(p) / 3
	}
	for name, m := range map[string]Method{"plain": &Fast{Steps: scheme.Steps}, "rejection": &Rejection{Rate: 0.5}, "SMC": New("h_smc")} {
		s := draw(t, m, fixed(newTarget(t, 1, n, ys...), posteriorH{t}))
		for i, y := range ys {
			mean, sd := moments(s.X[i*n : (i+1)*n])
			// Discretised, the laws without weights are off by 0.02 at most, see TestLaws.
			want := toward(y).Tilt(p)
			oracle.Near(t, fmt.Sprintf("%s: mean for y = %g", name, y), mean, want.Mean, 0.02+4*want.SD/math.Sqrt(n))
			oracle.Near(t, fmt.Sprintf("%s: sd for y = %g", name, y), sd, want.SD, 0.02+4*want.SD/math.Sqrt(2*n))
		}
		oracle.Near(t, name+": log Ẑ", float64(s.Certificate.LogZ), evidence, 0.02)
		if s.Certificate.ESS < 0.9 {
			t.Errorf("%s: ESS %g", name, s.Certificate.ESS)
		}
	}
}

// Paths are accepted among those of their own condition: the best of all would leave some conditions without any.
func TestRejectionPerCondition(t *testing.T) {
	const n = 5
	ys := []float64{1.2, -9}
	target := newTarget(t, 1, n, ys...)
	s, err := target.Accepted(t.Context(), nil, 0.25)
	if err != nil {
		t.Fatal(err)
	}
	paths, err := target.Sampler(nil, target.Given(0, 4*n), 0).Run(t.Context(), target.Keys.Root.Sub("samples"), 0, 2*4*n, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, x := range s.X {
		if at := slices.Index(paths.X, x); at/(4*n) != i/n {
			t.Errorf("accepted sample %d is path %d of all", i, at)
		}
	}
}

// Sequential Monte Carlo takes one condition after the other: those of the first do not depend on whether there are others.
func TestSMCOneByOne(t *testing.T) {
	for _, name := range []string{"smc_fk", "smc_twisted", "h_smc"} {
		sample := func(ys ...float64) *Samples {
			return draw(t, New(name), fixed(newTarget(t, 1, 20, ys...), posteriorH{t}))
		}
		one, both, other := sample(1.2), sample(1.2, -0.6), sample(-0.6)
		if !slices.Equal(one.X, both.X[:20]) {
			t.Errorf("%s: the samples of the first condition depend on the second", name)
		}
		if slices.Equal(other.X, both.X[20:]) {
			t.Errorf("%s: two conditions share their noise", name)
		}
	}
}

package method

import (
	"math"
	"slices"
	"testing"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/htransform"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/metric"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/reward"
	"github.com/doob-diffusion/doob/steer"
)

// share is a learned h that is a share of what it should be, half is half of it.
func share(t *testing.T, scale float64) diffusion.Control {
	return steer.Amplified{Control: htransform.Exact{Prior: gaussian(t, oracle.Prior), Tilted: gaussian(t, oracle.Tilted)}, Scale: scale}
}

func half(t *testing.T) diffusion.Control { return share(t, 0.5) }

// law returns the moments of a method's samples with a share of h*, over repetitions, and their standard errors.
func law(t *testing.T, m Method, scale float64) (mean, sd, meanSE, sdSE float64) {
	t.Helper()
	return repeated(t, 16, func(seed uint64) []float32 {
		target := fixed(newTarget(t, seed, 400), share(t, scale))
		target.PoolSize = 2000
		return draw(t, m, target).X
	})
}

// The samples of every method have the law that they should, to four standard errors over 16 repetitions of 400 samples.
func TestLaws(t *testing.T) {
	near := truth()
	oracle.Near(t, "mean of the tilted law, discretised", near.Mean, oracle.Tilted.Mean, 0.02)
	oracle.Near(t, "sd of the tilted law, discretised", near.SD, oracle.Tilted.SD, 0.02)
	for name, c := range map[string]struct {
		m    Method
		want oracle.Gaussian
	}{
		"base":                 {&Base{}, ends(0)},
		"fast, as many steps":  {&Fast{Steps: scheme.Steps}, ends(0.5)},
		"resampled":            {&Resampled{}, near},
		"twisted":              {New("smc_twisted"), near},
		"Feynman–Kac":          {New("smc_fk"), near},
		"half + SMC":           {New("half_smc"), near},
		"half + twisted SMC":   {&WithSMC{Particles: Particles{Threshold: 0.5, Particles: 2}, Twist: true}, near},
		"twisted, always anew": {&SMCTwisted{Particles: Particles{Threshold: 1, Particles: 2}}, near},
	} {
		t.Run(name, func(t *testing.T) {
			mean, sd, meanSE, sdSE := law(t, c.m, 0.5)
			oracle.Near(t, "mean", mean, c.want.Mean, 4*meanSE)
			oracle.Near(t, "sd", sd, c.want.SD, 4*sdSE)
			if meanSE > 0.02 || sdSE > 0.02 {
				t.Errorf("standard errors %g and %g tell nothing", meanSE, sdSE)
			}
		})
	}
}

// With r = 0 nothing is to be learned: what is learned nevertheless samples the law of the base model, to four standard errors of 2000 samples,
// and to what it has strayed. The KL is that to the base model's paths, whose log Z is 0: it is their energy, and small here, where the base
// model is exact. Polished, the numbers of h are found again.
func TestNeutral(t *testing.T) {
	target := newTarget(t, 1, 2000)
	s := draw(t, thorough(New("neutral")), target)
	mean, sd := moments(s.X)
	want := ends(0)
	oracle.Near(t, "mean", mean, want.Mean, 0.1)
	oracle.Near(t, "sd", sd, want.SD, 0.07)
	if c := s.Certificate; c.KL != c.LSC || !(c.KL > 0) || !(c.KL < 0.1) || c.Reward != 0 || c.LogZ != 0 || !c.Reliable || !c.KLReliable {
		t.Errorf("%+v: want a KL that is L_SC, and small", *c)
	} else {
		oracle.Near(t, "KL, as the energy", c.KL, float64(c.KLBase), 0.01)
	}
	polished := fixed(newTarget(t, 1, 500), share(t, 0.5))
	m := New("neutral_polished").(*Polished)
	p := draw(t, m, polished)
	if len(p.Scale) != 3 || !(p.Scale[1] < 0.3) || !(p.Certificate.KL < 0.05) {
		t.Errorf("half of h*, polished for r = 0: scales %v, KL %g", p.Scale, p.Certificate.KL)
	}
	again(t, m, polished, p)
}

// Nearer and nearer to the tilted law: base model, an imperfect h, its accepted paths, fewer of them, SMC with it.
func TestOrderOfLaws(t *testing.T) {
	want := truth()
	last, lastSE, from := math.Inf(1), 0.0, "nothing"
	for _, c := range []struct {
		name string
		m    Method
	}{
		{"base", &Base{}}, {"a fifth of h", &Fast{Steps: scheme.Steps}}, {"four of five paths", &Rejection{Rate: 0.8}}, {"three of five", &Rejection{Rate: 0.6}},
		{"SMC", New("h_smc")},
	} {
		mean, _, se, _ := law(t, c.m, 0.2)
		distance := math.Abs(mean - want.Mean)
		if !(distance < last-2*math.Hypot(se, lastSE)) {
			t.Errorf("%s: the mean is off by %g ± %g, that of %s by %g ± %g", c.name, distance, se, from, last, lastSE)
		}
		last, lastSE, from = distance, se, c.name
	}
}

// All paths accepted are the paths as they are.
func TestAcceptedAll(t *testing.T) {
	target := newTarget(t, 1, 300)
	all, err := target.Accepted(t.Context(), half(t), 1)
	if err != nil {
		t.Fatal(err)
	}
	paths, err := target.Draw(t.Context(), half(t), 0)
	if err != nil {
		t.Fatal(err)
	}
	mean, sd := moments(all.X)
	m, s := moments(paths.X)
	oracle.Near(t, "mean", mean, m, 1e-6)
	oracle.Near(t, "sd", sd, s, 1e-6)
}

// The best of K has the density K·p(x)·P(r(X) < r(x))^(K−1), by the trapezoidal rule: it comes near the tilted law and passes it.
func TestBestOfK(t *testing.T) {
	p := ends(0)
	below := func(x float64) float64 { return math.Erfc((p.Mean-x)/(p.SD*math.Sqrt2)) / 2 }
	var means, sds []float64
	for _, k := range []int{1, 2, 4, 16} {
		var total, mean, square float64
		for x := -5.0; x < 6; x += 1e-3 {
			away := math.Abs(x - oracle.Reward.Goal)
			worse := 1 - below(oracle.Reward.Goal+away) + below(oracle.Reward.Goal-away)
			w := float64(k) * math.Exp(p.LogDensity(x)) * math.Pow(worse, float64(k-1)) * 1e-3
			total, mean, square = total+w, mean+w*x, square+w*x*x
		}
		oracle.Near(t, "∫density", total, 1, 1e-4)
		got, sd, meanSE, sdSE := repeated(t, 16, func(seed uint64) []float32 { return draw(t, &BestOfK{K: k}, newTarget(t, seed, 300)).X })
		oracle.Near(t, "mean of the best", got, mean, 4*meanSE)
		oracle.Near(t, "sd of the best", sd, math.Sqrt(square-mean*mean), 4*sdSE)
		means, sds = append(means, got), append(sds, sd)
	}
	if !(means[1] < oracle.Tilted.Mean && means[3] > oracle.Tilted.Mean && sds[3] < oracle.Tilted.SD/2) {
		t.Errorf("means %v and sds %v, want the tilted law between them", means, sds)
	}
}

// What path weights say: log Ẑ is log E exp r, of whatever proposal; nothing is left to say where h is right.
func TestLogZ(t *testing.T) {
	exact := oracle.Reward.LogZ(ends(0))
	for name, m := range map[string]Method{"base": &Base{}, "half": &Fast{Steps: scheme.Steps}, "half + SMC": New("half_smc"), "twisted": New("smc_twisted"),
		"Feynman–Kac": New("smc_fk"), "resampled": &Resampled{}} {
		var ess float64
		// Ẑ has no bias, log Ẑ little: its variance over two.
		mean, _, se, _ := repeated(t, 16, func(seed uint64) []float32 {
			target := fixed(newTarget(t, seed, 500), half(t))
			s := draw(t, m, target)
			ess = float64(s.Certificate.ESS)
			return []float32{float32(math.Exp(float64(s.Certificate.LogZ) - exact)), 0}
		})
		oracle.Near(t, name+": Ẑ/Z", 2*mean, 1, 4*2*se) // of pairs with 0
		if se > 0.02 {
			t.Errorf("%s: Ẑ/Z has the standard error %g", name, 2*se)
		}
		if !(ess > 0.2 && ess < 0.97) {
			t.Errorf("%s: ESS %g", name, ess)
		}
	}
	// With h*, only discretisation is left in the weights.
	s := draw(t, &Fast{Steps: 300}, fixed(newTarget(t, 1, 500), steer.Amplified{Control: half(t), Scale: 2}))
	if s.Certificate.ESS < 0.98 || s.Certificate.KL > 0.02 {
		t.Errorf("with h*: ESS %g, KL %g", s.Certificate.ESS, s.Certificate.KL)
	}
}

// Sequential Monte Carlo resamples on the way by the annealed reward at x̂₀: what that comes to is done here by hand.
func TestTwists(t *testing.T) {
	twist, often := steer.LogTwist(misfit{}, reward.Anneal(oracle.Reward.Width, 1)), Particles{Threshold: 0.97, Particles: 1}
	for name, c := range map[string]struct {
		m        Method
		proposal diffusion.Control
		twisted  bool
	}{
		"twisted":       {&SMCTwisted{Particles: often}, steer.Twisted{Reward: misfit{}, Scale: 1, Weight: reward.Anneal(oracle.Reward.Width, 1)}, true},
		"Feynman–Kac":   {&SMCFK{Particles: often}, nil, true},
		"h, twisted":    {&WithSMC{Particles: often, Twist: true}, half(t), true},
		"h, not on way": {&WithSMC{Particles: often}, half(t), false},
	} {
		target := fixed(newTarget(t, 1, 100), half(t))
		s := draw(t, c.m, target)
		sampler := target.Sampler(c.proposal, nil, 0)
		if c.twisted {
			sampler.Twist = twist
		}
		particles, err := steer.SMC{Sampler: sampler, Reward: misfit{}, Threshold: often.Threshold}.Run(t.Context(), target.Keys.Particles, 100)
		if err != nil {
			t.Fatal(err)
		}
		oracle.Near(t, name+": log Ẑ", float64(s.Certificate.LogZ), particles.LogZ, 1e-9)
		oracle.Near(t, name+": ESS", float64(s.Certificate.ESS), metric.ESS(particles.LogAncestors)/100, 1e-9)
		if resampled := particles.Resamplings > 0; resampled != c.twisted {
			t.Fatalf("%s: %d resamplings: the test tells nothing", name, particles.Resamplings)
		}
		if slices.Equal(s.X, particles.X) {
			t.Errorf("%s: the particles are not weighed in the end", name)
		}
	}
}

// SMC of a reward that is a black box twists nothing: it is the same as without twist.
func TestBlackBox(t *testing.T) {
	sample := func(twist bool) []float32 {
		target := fixed(newTarget(t, 1, 50), half(t))
		target.Reward = reward.Func(func(x []float32) float64 { return oracle.Reward.At(float64(x[0])) })
		return draw(t, &WithSMC{Particles: Particles{Threshold: 0.5, Particles: 2}, Twist: twist}, target).X
	}
	a, b := sample(true), sample(false)
	for i := range a {
		oracle.Near(t, "sample", a[i], float64(b[i]), 0)
	}
	for _, name := range []string{"base", "best_of_k", "resampled", "x_rejection", "x_smc", "x_fast", "x_amplified"} {
		target := fixed(newTarget(t, 1, 20), half(t))
		target.Reward = reward.Func(func(x []float32) float64 { return oracle.Reward.At(float64(x[0])) })
		if New(name).About().Needs.Missing(^Gradient) == "" {
			draw(t, small(New(name)), target)
		}
	}
}

// Methods with one root share the noise of their samples: base model and a control of zero draw the same.
func TestSharedNoise(t *testing.T) {
	base, none := draw(t, &Base{}, newTarget(t, 1, 20)), draw(t, &Fast{Steps: scheme.Steps}, fixed(newTarget(t, 1, 20), diffusion.Uncontrolled{}))
	for i := range base.X {
		oracle.Near(t, "sample", none.X[i], float64(base.X[i]), 0)
	}
	target := newTarget(t, 1, 20)
	target.Keys.Root = noise.New(2)
	if other := draw(t, &Base{}, target); other.X[0] == base.X[0] {
		t.Error("another root has the same samples")
	}
}

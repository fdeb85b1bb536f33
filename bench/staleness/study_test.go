package main

import (
	"math"
	"testing"

	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/finetune"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/noise"
)

func setting(t *testing.T) (toy, *engine.Engine) {
	t.Helper()
	of, err := newToy()
	if err != nil {
		t.Fatal(err)
	}
	of.steps = of.steps[20:] // and so of another chain
	return of, oracle.Open(t)
}

// The ratio of the current h to the one that has driven the paths, without clipping, gives the weights of package finetune, which knows nothing of it. With clipping it
// does not.
func TestRatioGivesOwnWeights(t *testing.T) {
	of, e := setting(t)
	b := budget{iterations: 4, paths: 64, updates: 4, samples: 50}
	shares := make([]float64, 25)
	outcomes := map[string]outcome{}
	for _, w := range []weighing{own, {"whole ratio", 0, math.Inf(1)}, clipped, ignored} {
		out, err := of.run(t.Context(), e.Fork(), b, 2, w, 5, shares)
		if err != nil {
			t.Fatal(err)
		}
		outcomes[w.name] = out
	}
	want := outcomes[own.name]
	oracle.Near(t, "log Ẑ", outcomes["whole ratio"].LogZ, want.LogZ, 1e-3) // log ratios of float32 networks
	oracle.Near(t, "log Ẑ of the last batch", outcomes["whole ratio"].Last, want.Last, 1e-3)
	for _, w := range []weighing{clipped, ignored} {
		if got := outcomes[w.name]; math.Abs(got.LogZ-want.LogZ) < 0.01 {
			t.Errorf("%s: log Ẑ is %g, under their own h %g", w.name, got.LogZ, want.LogZ)
		}
	}
}

// Without staleness, and in the first batch of any, ρ is 1 and all weights are the same.
func TestFreshPaths(t *testing.T) {
	of, e := setting(t)
	h := of.control(e, "/h", noise.New(1))
	if _, err := finetune.NewSupervised(of.sampler(e, nil, nil), h, finetune.Training{}, 0); err != nil { // which makes the averages
		t.Fatal(err)
	}
	f := &finetune.FineTuning{Key: noise.New(2), Paths: 8, Staleness: 3}
	for _, w := range []weighing{clipped, ignored} {
		got, err := of.weighed(e, finetune.Averaged(e, h), w, f)(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		want, err := of.sampler(e, finetune.Averaged(e, h), nil).Run(t.Context(), f.Key.Sub("simulate").At(0), 0, 8, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := range want.LogRatio {
			oracle.Near(t, w.name, got.LogRatio[i], want.LogRatio[i], 1e-4)
		}
	}
}

// The truth of a chain is its own: many paths of the base process, weighed, agree with those of h*.
func TestTruth(t *testing.T) {
	of, e := setting(t)
	got, err := of.truth(t.Context(), e, 4000)
	if err != nil {
		t.Fatal(err)
	}
	paths, err := of.sampler(e, nil, nil).Run(t.Context(), noise.New(9), 0, 8000, nil)
	if err != nil {
		t.Fatal(err)
	}
	base, err := finetune.Weigh(t.Context(), paths, of.reward)
	if err != nil {
		t.Fatal(err)
	}
	c := base.Certificate()
	oracle.Near(t, "log Z", got.LogZ, float64(c.LogZ), 4*math.Hypot(got.LogZSE, float64(c.LogZSE)))
	var sum float64
	for _, s := range got.shares {
		sum += s
	}
	oracle.Near(t, "shares", sum, 1, 1e-9)
}

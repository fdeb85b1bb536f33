package finetune

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/gmm"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/noise"
)

// world is a law p on the line, one q that paths are drawn from in its place, and a reward. Everything about it is known by quadrature.
type world struct {
	p, q   *gmm.Mixture
	reward func(x float64) float64
}

func mix(t *testing.T, weights, means []float64, sds ...float64) *gmm.Mixture {
	t.Helper()
	var at [][]float64
	var covs [][][]float64
	for i := range means {
		at, covs = append(at, []float64{means[i]}), append(covs, [][][]float64{{{sds[i] * sds[i]}}}...)
	}
	m, err := gmm.New(weights, at, covs)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// truth is log Z and KL(q‖tilted), of q where the reward is finite.
func (w world) truth() (logZ, kl float64) {
	var z, mass, sum float64
	const step = 1e-3
	for x := -40.0; x < 40; x += step {
		at := []float64{x}
		p, q, r := math.Exp(w.p.LogDensity(at)), math.Exp(w.q.LogDensity(at)), w.reward(x)
		z += p * math.Exp(r) * step
		if q > 0 && !math.IsInf(r, -1) {
			mass += q * step
			sum += q * (w.q.LogDensity(at) - w.p.LogDensity(at) - r) * step
		}
	}
	return math.Log(z), sum/mass - math.Log(mass) + math.Log(z)
}

// paths draws n of q, or of p if they are to be base paths. Their energy is log dq/dp, so that M = 0.
func (w world) paths(n int, base bool, seed uint64) Weighted {
	from := w.q
	if base {
		from = w.p
	}
	x := from.Sample(n, noise.New(seed))
	out := weights(make([]float64, n), make([]float64, n), make([]float64, n), 0)
	out.X = x
	for i, v := range x {
		at := []float64{float64(v)}
		out.LogRatio[i] = w.p.LogDensity(at) - w.q.LogDensity(at)
		out.Energy[i], out.Reward[i] = -out.LogRatio[i], w.reward(float64(v))
		out.LogW[i] = out.Reward[i] + out.LogRatio[i]
	}
	return out
}

// defended certifies n paths with base paths beside them.
func (w world) defended(n int, seed uint64, pool Pool) Certificate {
	base := w.paths(n/9, true, seed+1000)
	c, _ := Certify(w.paths(n, false, seed), &base, pool)
	return c
}

func none(float64) float64 { return 0 }

// Every trap has a truth, and the verdict must be right about it: where it says reliable, log Ẑ is within three errors; where it does not, it
// says why. And a trap is one: log Ẑ that is not to be trusted is off, or could be.
func TestTraps(t *testing.T) {
	normal := func(mean, sd float64) *gmm.Mixture { return mix(t, []float64{1}, []float64{mean}, sd) }
	two := mix(t, []float64{1, 1}, []float64{-4, 4}, 1, 1)
	tiny := mix(t, []float64{1 - 1e-6, 1e-6}, []float64{0, 12}, 1, 1)
	likesTiny := func(x float64) float64 {
		if x > 8 {
			return math.Log(1e7)
		}
		return 0
	}
	half := func(worse float64) func(x float64) float64 {
		return func(x float64) float64 {
			if x > 0 {
				return 0
			}
			return worse
		}
	}
	tilted := world{normal(0, 1), normal(1, math.Sqrt(0.5)), func(x float64) float64 { return -(x - 2) * (x - 2) / 2 }} // q is exact
	poor := world{normal(0, 1), normal(0.5, 0.9), tilted.reward}
	narrow := world{normal(0, 1), normal(0, 0.4), none}
	collapsed := world{two, normal(4, 1), none}
	missing := world{tiny, normal(0, 1), likesTiny}
	seeded := world{tiny, mix(t, []float64{1, 10}, []float64{0, 12}, 1, 1), likesTiny}
	jackpot := world{normal(0, 1), normal(0, 1), func(x float64) float64 {
		if x > 3 {
			return 60
		}
		return 0
	}}
	group := func(w world, n, size int) Certificate {
		paths := w.paths(n, false, 3)
		paths.Group = size
		return paths.Certificate()
	}
	high := func(dim int, push float64) (Certificate, float64, float64) { // one step, D = push in every coordinate; h* pushes by 1
		r := noise.New(7).Rand()
		n := 2000
		w := weights(make([]float64, n), make([]float64, n), make([]float64, n), 0)
		for i := range n {
			for range dim {
				z := r.NormFloat64()
				w.Energy[i] += push * push / 2
				w.LogRatio[i] -= push*push/2 + push*z
				w.Reward[i] += push + z
			}
			w.LogW[i] = w.Reward[i] + w.LogRatio[i]
		}
		return w.Certificate(), float64(dim) / 2, float64(dim) * (1 - push) * (1 - push) / 2
	}
	chain := affine{gaussians(t), diffusion.EulerMaruyama{}.Steps(nil, diffusion.Times(4, 2)), 0.8}
	chainZ, chainKL := chain.truth()
	highZ, highKL, wide := 0.0, 0.0, Certificate{}
	wide, highZ, highKL = high(400, 0.5)
	near, nearZ, nearKL := high(400, 0.98)
	ancestors := slices.Repeat([]float64{-inf}, 500)
	ancestors[3], ancestors[99] = math.Log(200), math.Log(300)
	of := func(w world) [2]float64 { z, kl := w.truth(); return [2]float64{z, kl} }
	bad := func(w world, n int) Certificate { return w.paths(n, false, 5).Certificate() }
	var found Pool
	_, found = Certify(seeded.paths(3000, false, 11), nil, Pool{})
	_, found = Certify(seeded.paths(3000, false, 12), nil, found)
	for _, c := range []struct {
		name  string
		got   Certificate
		truth [2]float64 // log Z, KL
		words string     // of the reason; "" if it is reliable
	}{
		{"h*", tilted.defended(2000, 1, Pool{}), of(tilted), ""},
		{"half of h*", poor.defended(2000, 1, Pool{}), of(poor), ""},
		{"a dozen paths", bad(poor, 12), of(poor), "too few paths: 12 paths, where 100 may do"},
		{"thirty paths of a poor h", bad(world{normal(0, 1), normal(0, 1), func(x float64) float64 { return 2 * x }}, 30), [2]float64{2, 2}, "too few paths"},
		{"a heavy tail", bad(narrow, 4000), of(narrow), "tail too heavy: Pareto k̂"},
		{"the same with base paths", narrow.defended(4000, 5, Pool{}), of(narrow), ""},
		{"many dimensions", wide, [2]float64{highZ, highKL}, "tail too heavy"},
		{"many dimensions, h nearly right", near, [2]float64{nearZ, nearKL}, ""},
		{"collapsed to one of two modes", collapsed.defended(2000, 2, Pool{}), of(collapsed), ""}, // and KL is right, log 2
		{"a mode that nobody has seen", missing.defended(4000, 3, Pool{}).Against(seeded.defended(2000, 4, Pool{}), "the seeded one", 2), of(missing), "misses mass: log Z is at least 2.38 by the seeded one"},
		{"a mode that earlier paths have seen", missing.defended(40_000_000/10_000, 3, found), of(missing), "misses mass: log Z is at least"},
		{"the same, seeded", seeded.defended(4000, 4, Pool{}), of(seeded), ""},
		{"a jackpot of one path in a thousand", bad(jackpot, 1000), of(jackpot), "tail too heavy: fewer than five paths hold all the weight"},
		{"a sentinel of −10⁶ for half", bad(world{normal(0, 1), normal(0, 1), half(-1e6)}, 2000), of(world{normal(0, 1), normal(0, 1), half(-1e6)}), ""},
		{"−∞ for half", bad(world{normal(0, 1), normal(0, 1), half(-inf)}, 2000), of(world{normal(0, 1), normal(0, 1), half(-inf)}), ""},
		{"a constant reward", bad(world{normal(0, 1), normal(0, 1), func(float64) float64 { return 7 }}, 500), [2]float64{7, 0}, ""},
		{"groups of 4", group(poor, 4000, 4), of(poor), "too few paths: 4 paths of each condition"},
		{"groups of 500", group(poor, 4000, 500), of(poor), ""},
		{"particles of two ancestors", Evidence(ancestors, 0), [2]float64{0, math.NaN()}, "tail too heavy"},
		{"a chain of four steps", chain.runs(t, 20000)(noise.New(1)), [2]float64{chainZ, chainKL}, ""},
	} {
		off := math.Abs(float64(c.got.LogZ)-c.truth[0]) / float64(c.got.LogZSE)
		if c.got.LogZ == Number(c.truth[0]) {
			off = 0
		}
		if c.got.Reliable != (c.words == "") || !strings.HasPrefix(c.got.Reason, c.words) || c.words == "" && c.got.Reason != Reaches {
			t.Errorf("%s: reliable %v, %q, want %q; log Ẑ is off by %.1f errors: %+v", c.name, c.got.Reliable, c.got.Reason, c.words, off, c.got)
		}
		if c.got.Reliable && off > 3 {
			t.Errorf("%s: log Ẑ %g ± %g, log Z is %g", c.name, c.got.LogZ, c.got.LogZSE, c.truth[0])
		}
		if d := math.Abs(float64(c.got.KL) - c.truth[1]); c.got.KLReliable && !(d <= max(0.1*c.truth[1], 3*float64(c.got.KLSE)+1e-9)) {
			t.Errorf("%s: KL %g ± %g, want %g", c.name, c.got.KL, c.got.KLSE, c.truth[1])
		}
	}
	if z := chain.logZ; math.Abs(chainZ-z) < 0.03 {
		t.Errorf("log Z of four steps is %g, of the process %g: no trap", chainZ, z)
	}
	// Its own paths alone would say nothing of a collapse; those of the base model do.
	alone, beside := collapsed.paths(2000, false, 2).Certificate(), collapsed.defended(2000, 2, Pool{})
	if alone.ESS < 0.99 || alone.KL > 0.01 || beside.ESS > 0.3 {
		t.Errorf("collapsed to one mode: ESS %g, KL %g alone; with base paths ESS %g, KL %g", alone.ESS, alone.KL, beside.ESS, beside.KL)
	}
	// What no certificate can see from inside: it says "in what the paths reach", and is wrong by more than two nats.
	if alone, z := missing.defended(4000, 3, Pool{}), of(missing)[0]; !alone.Reliable || float64(alone.LogZ) > z-2 {
		t.Errorf("alone it says %+v where log Z is %g", alone, z)
	}
}

// The number of paths that a verdict asks for is one that does.
func TestVerdictAsksForEnough(t *testing.T) {
	w := world{mix(t, []float64{1}, []float64{0}, 1), mix(t, []float64{1}, []float64{0}, 1), func(x float64) float64 { return 1.6 * x }}
	asked, enough := 0, 0
	for seed := range uint64(40) {
		c := w.paths(60, false, seed).Certificate()
		var k float64
		var n int
		if _, err := fmt.Sscanf(c.Reason, "too few paths: at a Pareto k̂ of %f it takes %d paths", &k, &n); err != nil {
			continue
		}
		asked++
		if more := w.paths(max(n, 60)*2, false, 100+seed).Certificate(); more.Reliable && math.Abs(float64(more.LogZ)-1.28) < 4*float64(more.LogZSE) {
			enough++
		}
	}
	if asked < 5 || float64(enough) < 0.7*float64(asked) {
		t.Errorf("%d verdicts of 40 ask for more paths, and with twice as many %d are reliable", asked, enough)
	}
	oracle.Near(t, "log 20", doubtful, math.Log(20), 1e-12)
}

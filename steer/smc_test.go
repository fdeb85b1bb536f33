package steer_test

import (
	"context"
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/gomlx/gomlx/core/graph"
	"pgregory.net/rapid"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/metric"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/reward"
	"github.com/doob-diffusion/doob/steer"
)

// Every path appears ⌊n·w⌋ or ⌈n·w⌉ times, in order, and one of weight zero never.
func TestSystematicCounts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		spread := math.Pow(10, rapid.Float64Range(-3, 4).Draw(t, "log10 spread"))
		logW := rapid.SliceOfN(rapid.Float64Range(-1, 1), 1, 60).Draw(t, "weights")
		dead := rapid.SliceOfN(rapid.IntRange(0, 2), len(logW), len(logW)).Draw(t, "one in three is dead")
		keep := rapid.IntRange(0, len(logW)-1).Draw(t, "but not this one")
		top := math.Inf(-1)
		for i := range logW {
			if logW[i] *= spread; dead[i] == 0 && i != keep {
				logW[i] = math.Inf(-1)
			}
			top = max(top, logW[i])
		}
		var total float64
		for _, lw := range logW {
			total += math.Exp(lw - top)
		}
		n := rapid.IntRange(1, 200).Draw(t, "n")
		u := rapid.OneOf(rapid.Float64Range(0x1p-53, 1-0x1p-53), rapid.Just(0x1p-53), rapid.Just(1-0x1p-53)).Draw(t, "u")
		got := steer.Systematic(logW, u, n)
		if len(got) != n || !slices.IsSorted(got) {
			t.Fatalf("ancestors %v, want %d of them, sorted", got, n)
		}
		counts := make([]float64, len(logW))
		for _, a := range got {
			counts[a]++
		}
		for i, c := range counts {
			expected := float64(n) * math.Exp(logW[i]-top) / total
			if c < math.Floor(expected-1e-9) || c > math.Ceil(expected+1e-9) {
				t.Errorf("path %d of weight %g appears %g times, want about %g", i, math.Exp(logW[i]-top)/total, c, expected)
			}
			if math.IsInf(logW[i], -1) && c > 0 {
				t.Errorf("path %d has weight zero and appears %g times", i, c)
			}
		}
	})
}

// Weights whose rounded sum falls short of 1 leave the last draw to the last path: not to a dead one.
func TestSystematicRounding(t *testing.T) {
	for n := 1; n < 3000; n++ {
		logW := make([]float64, n+1)
		for i := range logW {
			logW[i] = math.Log(1 + 0.37*float64(i%7)) // sums that round
		}
		logW[n] = math.Inf(-1)
		if got := steer.Systematic(logW, 1-0x1p-53, n); got[n-1] == n {
			t.Fatalf("n = %d: the last ancestor has weight zero", n)
		}
	}
}

// Over u ~ U(0,1) a path appears n·w times on average.
func TestSystematicIsUnbiased(t *testing.T) {
	const grid, n = 4000, 7
	w := []float64{0.05, 0.4, 0.001, 0.249, 0.3}
	logW, counts := make([]float64, len(w)), make([]float64, len(w))
	for i := range w {
		logW[i] = math.Log(w[i]) + 500
	}
	for k := range grid {
		for _, a := range steer.Systematic(logW, (float64(k)+0.5)/grid, n) {
			counts[a] += 1. / grid
		}
	}
	for i := range w {
		oracle.Near(t, "mean count", counts[i], n*w[i], 2./grid)
	}
	dead := []float64{math.Inf(-1), math.Inf(-1), math.Inf(-1), math.Inf(-1)}
	if got := steer.Systematic(dead, 0.5, 4); !slices.Equal(got, []int{0, 1, 2, 3}) {
		t.Errorf("all weights zero: ancestors %v, want each once", got)
	}
}

// Whatever the proposal, the twist and the resampling, Ẑ is unbiased and the weighted particles have the tilted law.
func TestSMC(t *testing.T) {
	p := gaussians(t)
	twist := steer.LogTwist(p.reward(), nil)
	for _, c := range []struct {
		name        string
		control     diffusion.Control
		twist       func(diffusion.State) *graph.Node
		threshold   float64
		resamplings [2]int // least and most
	}{
		{"twisted diffusion sampler", steer.Twisted{Reward: p.reward(), Scale: 1}, twist, 0, [2]int{0, 20}},
		{"twisted, resampled at every step", steer.Twisted{Reward: p.reward(), Scale: 1}, twist, 1, [2]int{40, 40}},
		{"Feynman–Kac", nil, twist, 0, [2]int{0, 20}},
		{"Feynman–Kac, resampled early", nil, twist, 0.7, [2]int{1, 20}},
		{"Feynman–Kac, resampled at every step", nil, twist, 1, [2]int{40, 40}},
		{"importance sampling of the base", nil, twist, 1e-9, [2]int{0, 0}},
		{"best proposal, no twist", p.optimum(), nil, 0, [2]int{0, 0}},
		{"best proposal and a twist", p.optimum(), twist, 0.9, [2]int{1, 40}},
		{"weak guidance and a twist", steer.Guidance{Reward: p.reward(), Scale: 0.2}, twist, 0.7, [2]int{1, 40}},
	} {
		t.Run(c.name, func(t *testing.T) {
			const n, repeats = 500, 30
			s := p.sampler(t, c.control)
			s.Twist = c.twist
			var z, means, squares, resampled []float64
			var variance float64 // of Ẑ/Z, as the ancestors tell it
			for i := range repeats {
				out, err := steer.SMC{Sampler: s, Reward: p.reward(), Threshold: c.threshold}.Run(context.Background(), noise.New(uint64(i)), n)
				if err != nil {
					t.Fatal(err)
				}
				if out.Resamplings < c.resamplings[0] || out.Resamplings > c.resamplings[1] {
					t.Errorf("%d resamplings, want %d to %d", out.Resamplings, c.resamplings[0], c.resamplings[1])
				}
				z = append(z, math.Exp(out.LogZ-p.logZ))
				variance += (float64(n)/metric.ESS(out.LogAncestors) - 1) / (n - 1) / repeats
				oracle.Near(t, "log Ẑ by ancestors", metric.LogMeanExp(out.LogAncestors), out.LogZ, 1e-9)
				var total, mean, square float64
				for i, lw := range out.LogW {
					w, x := math.Exp(lw), float64(out.X[i])
					total, mean, square = total+w, mean+w*x, square+w*(x-p.tilted0.Mean)*(x-p.tilted0.Mean)
				}
				means, squares = append(means, mean/total), append(squares, square/total)
				mean = 0
				for _, x := range out.Resample(n, noise.New(uint64(1000+i))) {
					mean += float64(x) / n
				}
				resampled = append(resampled, mean)
			}
			within(t, "Ẑ/Z", z, 1, 0.05)
			// The variance of 30 values is off by a quarter, a standard error of √(2/29); systematic resampling has less than ancestors tell.
			if _, se := metric.MeanSE(z); se*se*repeats > 1.8*variance || se*se*repeats < variance/6 {
				t.Errorf("the variance of Ẑ/Z is %.2g, by ancestors %.2g", se*se*repeats, variance)
			}
			within(t, "mean", means, p.tilted0.Mean, 0.03)
			within(t, "second moment about it", squares, p.tilted0.SD*p.tilted0.SD, 0.03)
			within(t, "mean after resampling", resampled, p.tilted0.Mean, 0.03)
		})
	}
}

func TestSMCRepeats(t *testing.T) {
	p := gaussians(t)
	run := func(seed uint64) steer.Particles {
		s := p.sampler(t, nil)
		s.Twist = steer.LogTwist(p.reward(), nil)
		out, err := steer.SMC{Sampler: s, Reward: p.reward()}.Run(context.Background(), noise.New(seed), 64)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	a, b, c := run(1), run(1), run(2)
	if !slices.Equal(a.X, b.X) || !slices.Equal(a.LogW, b.LogW) || a.LogZ != b.LogZ {
		t.Error("the same key gives other particles")
	}
	if a.LogZ == c.LogZ {
		t.Error("another key gives the same particles")
	}
}

// brittle is a model that breaks down beyond a bound.
type brittle struct{ diffusion.Model }

func (m brittle) Noise(s diffusion.State) *graph.Node {
	x, eps := s.X, m.Model.Noise(s)
	return graph.Where(graph.GreaterThan(x, graph.Scalar(x.Graph(), x.DType(), 2.5)), graph.MulScalar(graph.OnesLike(eps), math.NaN()), eps)
}

// Particles that diverge have weight zero: resampling removes them and no estimate becomes NaN.
func TestSMCDropsDivergedParticles(t *testing.T) {
	p := gaussians(t)
	for _, threshold := range []float64{1e-9, 1} {
		s := p.sampler(t, nil)
		s.Base, s.Twist = brittle{p.base()}, steer.LogTwist(p.reward(), nil)
		out, err := steer.SMC{Sampler: s, Reward: p.reward(), Threshold: threshold}.Run(context.Background(), noise.New(1), 400)
		if err != nil {
			t.Fatal(err)
		}
		dead := 0
		for i, lw := range out.LogW {
			if bad := math.IsNaN(float64(out.X[i])); bad != math.IsInf(lw, -1) || math.IsNaN(lw) {
				t.Errorf("particle %d at %g has log weight %g", i, out.X[i], lw)
			} else if bad {
				dead++
			}
		}
		// Without resampling all that ever passed the bound stay dead; with it only those of the last step.
		if threshold < 1 && dead < 20 || threshold == 1 && dead > 10 {
			t.Errorf("threshold %g: %d of 400 particles are dead", threshold, dead)
		}
		oracle.Near(t, "log Ẑ", out.LogZ, p.logZ, 0.3) // the law that is lost has little weight
		for _, x := range out.Resample(100, noise.New(2)) {
			if math.IsNaN(float64(x)) {
				t.Fatal("resampling kept a diverged particle")
			}
		}
	}
}

// BestOfK keeps the endpoint of highest reward of every k consecutive paths.
func TestBestOfK(t *testing.T) {
	p := gaussians(t)
	const n, k = 30, 4
	r := reward.Func(func(x []float32) float64 { return -math.Abs(float64(x[0]) - 1) })
	paths, err := p.sampler(t, nil).Run(context.Background(), noise.New(3), 0, n*k, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := p.sampler(t, nil)
	got, err := steer.BestOfK(context.Background(), s, r, noise.New(3), n, k)
	if err != nil || len(got) != n {
		t.Fatalf("%d samples, %v", len(got), err)
	}
	for i, x := range got {
		best := slices.MaxFunc(paths.X[i*k:(i+1)*k], func(a, b float32) int {
			return int(math.Copysign(1, r([]float32{a})-r([]float32{b})))
		})
		if x != best {
			t.Errorf("group %d: kept %g of %v", i, x, paths.X[i*k:(i+1)*k])
		}
	}
	if s.Engine.Paths() != n*k || s.Engine.NetworkCalls() == 0 {
		t.Errorf("%d paths, %d network calls", s.Engine.Paths(), s.Engine.NetworkCalls())
	}
	all, err := steer.BestOfK(context.Background(), s, r, noise.New(3), n, 1)
	if err != nil || !slices.Equal(all, paths.X[:n]) {
		t.Errorf("best of one is not the one: %v", err)
	}
}

// A reward that is NaN is refused; who has such rewards all the same gets the best of the others.
func TestBestWithoutReward(t *testing.T) {
	p := gaussians(t)
	if _, err := steer.BestOfK(context.Background(), p.sampler(t, nil), reward.Func(func([]float32) float64 { return math.NaN() }), noise.New(3), 2, 3); !errors.Is(err, reward.ErrInvalid) {
		t.Errorf("err = %v, want ErrInvalid", err)
	}
	nan, inf := math.NaN(), math.Inf(1)
	paths := diffusion.Paths{N: 15, Dim: 1, X: []float32{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14}}
	got := steer.Best(paths, []float64{nan, 1, 2, 3, nan, 1, -inf, nan, nan, nan, nan, nan, 1, 1, nan}, 3)
	if want := []float32{2, 3, 6, 9, 12}; !slices.Equal(got, want) {
		t.Errorf("the best are %v, want %v", got, want)
	}
}

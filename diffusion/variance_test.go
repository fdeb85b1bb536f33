package diffusion_test

import (
	"context"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/gmm"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/noise"
)

// Unexplained implements [diffusion.Variance] in closed form: var(ε | X_t) of data of the law g.
func (g gaussian) Unexplained(p diffusion.Process, t float64) float64 {
	signal := square(p.Alpha(t) * g.SD)
	return signal / (signal + square(p.Sigma(t)))
}

// spectrum is centred Gaussian data with independent coordinates of these variances.
type spectrum []float64

// Unexplained implements [diffusion.Variance]: the mean over coordinates.
func (s *spectrum) Unexplained(p diffusion.Process, t float64) (mean float64) {
	for _, v := range *s {
		mean += gaussian{SD: math.Sqrt(v)}.Unexplained(p, t) / float64(len(*s))
	}
	return mean
}

// spread is the exact variance at every time of a chain of centred Gaussian data of a variance, from one at the first: x' has
// the factor A + K·σ/(α²·data + σ²) of x, and s²·z.
func spread(p diffusion.Process, steps []diffusion.Step, data, first float64) []float64 {
	out := []float64{first}
	for i, st := range steps {
		slope, _ := gaussian{SD: math.Sqrt(data)}.lineOf(p, st.T)
		out = append(out, square(st.A+st.K*slope)*out[i]+square(st.S))
	}
	return out
}

// marginal is the variance of X_t.
func marginal(p diffusion.Process, data, t float64) float64 {
	return square(p.Alpha(t))*data + square(p.Sigma(t))
}

// What is lost, and not lost, at few steps: the variance of the chain of exact score for N(0, I).
func TestVarianceOfUnitData(t *testing.T) {
	for steps, lost := range map[int]float64{6: 0.44, 24: 0.79, 32: 0.83, 50: 0.89} {
		for _, c := range []struct {
			variance diffusion.Variance
			want     float64
			within   float64
		}{{nil, lost, 5e-3}, {diffusion.Posterior{}, lost, 5e-3}, {diffusion.Beta{}, 1, 1e-9}, {gaussian{SD: 1}, 1, 1e-9}} {
			got := spread(diffusion.VP{}, grid(diffusion.DDPM{Variance: c.variance}, steps), 1, 1)
			oracle.Near(t, fmt.Sprintf("%d steps, variance %T", steps, c.variance), got[steps], c.want, c.within)
		}
	}
}

// From the law of X_1 on, chains with the u of their data have the variance of X_t at every time, and at the end that of the data: of any
// variance, number of steps, η and process. Of several variances at once, a step keeps their sum. The last step of DDIM has no noise.
func TestAnalyticKeepsTheVariance(t *testing.T) {
	for _, p := range []diffusion.Process{diffusion.VP{}, flow{}} {
		for _, n := range []int{2, 6, 50} {
			times := diffusion.Times(n, 2)
			for _, data := range []float64{0.0144, 0.81, 1, 9} {
				u := gaussian{SD: math.Sqrt(data)}
				for _, k := range []diffusion.Kernel{diffusion.DDPM{u}, diffusion.DDIM{1, u}, diffusion.DDIM{0.7, u}, diffusion.DDIM{0, u}} {
					steps := k.Steps(p, times)
					got := spread(p, steps, data, marginal(p, data, 1))
					for i, v := range got {
						want, last := marginal(p, data, times[i]), i == n
						if _, ddim := k.(diffusion.DDIM); ddim && last {
							if steps[i-1].S != 0 || !steps[i-1].Uncontrolled || v >= want {
								t.Errorf("%T %#v: the last step has noise %g, uncontrolled %t", p, k, steps[i-1].S, steps[i-1].Uncontrolled)
							}
							continue
						}
						oracle.Near(t, fmt.Sprintf("%T, %d steps, %#v of data %g: variance at %g", p, n, k, data, times[i]), v, want, 1e-9*want)
					}
				}
			}
			several := &spectrum{2, 0.3, 0.01, 1e-4}
			for i, st := range (diffusion.DDPM{Variance: several}).Steps(p, times) {
				var got, want float64
				for _, data := range *several {
					got += spread(p, []diffusion.Step{st}, data, marginal(p, data, times[i]))[1]
					want += marginal(p, data, times[i+1])
				}
				oracle.Near(t, fmt.Sprintf("%T, %d steps: total variance after step %d", p, n, i), got, want, 1e-9*want)
			}
		}
	}
}

// The variances of DDPM and DDIM are those of the papers: with ᾱ = α², and one step's α = ᾱ/ᾱ' and β = 1−α, the upper bound β and
// Theorem 1 of Bao et al. And Beta is right for data N(0, I) in any process.
func TestVariancesOfThePapers(t *testing.T) {
	p, times := diffusion.VP{}, diffusion.Times(20, 2)
	u := gaussian{SD: 0.5}
	beta := grid(diffusion.DDPM{Variance: diffusion.Beta{}}, 20)
	for _, eta := range []float64{0, 0.7, 1} {
		for i, st := range (diffusion.DDIM{Eta: eta, Variance: u}).Steps(p, times)[:19] {
			bar, bar1 := square(p.Alpha(times[i])), square(p.Alpha(times[i+1]))
			alpha := bar / bar1
			lambda2 := eta * eta * (1 - bar1) / (1 - bar) * (1 - alpha)
			want := lambda2 + square(math.Sqrt((1-bar)/alpha)-math.Sqrt(1-bar1-lambda2))*u.Unexplained(p, times[i])
			oracle.Near(t, fmt.Sprintf("η = %g, step %d", eta, i), st.S*st.S, want, 1e-9*want)
			oracle.Near(t, fmt.Sprintf("β of step %d", i), square(beta[i].S), 1-alpha, 1e-9)
		}
	}
	for i, v := range spread(flow{}, diffusion.DDPM{Variance: diffusion.Beta{}}.Steps(flow{}, times), 1, marginal(flow{}, 1, 1)) {
		oracle.Near(t, fmt.Sprintf("rectified flow at %g", times[i]), v, marginal(flow{}, 1, times[i]), 1e-9)
	}
}

// The last step of DDPM always has a density ratio, also where u says that nothing is left.
func TestLastStepKeepsNoise(t *testing.T) {
	for _, c := range []struct {
		variance diffusion.Variance
		share    float64 // of v = σ², α' being 1
	}{{nil, 1}, {&spectrum{0}, 0.01}, {gaussian{SD: 1e-9}, 0.01}, {diffusion.Beta{}, 1}, {gaussian{SD: 1}, 1}} {
		last := grid(diffusion.DDPM{Variance: c.variance}, 10)[9]
		oracle.Near(t, fmt.Sprintf("%#v: s²/v", c.variance), square(last.S/diffusion.VP{}.Sigma(last.T)), c.share, 1e-9)
		if last.Uncontrolled {
			t.Errorf("%#v: the last step is uncontrolled", c.variance)
		}
	}
}

// timid predicts half of the noise that can be known: of it, E‖ε_θ‖²/d is a quarter.
type timid struct{}

func (timid) Noise(s diffusion.State) *graph.Node { return graph.MulScalar(prior.Noise(s), 0.5) }

func (timid) Unexplained(p diffusion.Process, t float64) float64 {
	return 1 - (1-prior.Unexplained(p, t))/4
}

// An estimate has the closed form at its own times, but for Monte Carlo, and between them: for one dimension and several, in any process.
func TestAnalyticEstimate(t *testing.T) {
	several := &spectrum{2, 0.3, 0.01, 1e-4}
	covariance := make([][]float64, len(*several))
	for i, v := range *several {
		covariance[i] = make([]float64, len(*several))
		covariance[i][i] = v
	}
	mixture, err := gmm.New([]float64{1}, [][]float64{make([]float64, len(*several))}, [][][]float64{covariance})
	if err != nil {
		t.Fatal(err)
	}
	line := func(key noise.Key) []float32 {
		x := make([]float32, 1024)
		key.Normal(x, 0, 0)
		for i := range x {
			x[i] = float32(prior.Mean) + float32(prior.SD)*x[i]
		}
		return x
	}
	for _, c := range []struct {
		process diffusion.Process
		base    diffusion.Model
		dim     int
		sample  func(key noise.Key) []float32
		want    diffusion.Variance
	}{
		{nil, prior, 1, line, prior},
		{nil, timid{}, 1, line, timid{}}, // u is of ‖ε_θ‖², not of the error
		{flow{}, diffusion.Mixture{Density: mixture}, 4, func(key noise.Key) []float32 { return mixture.Sample(1024, key) }, several},
	} {
		key, e := noise.New(5), oracle.Open(t)
		got, err := diffusion.NewAnalytic(context.Background(), e, c.process, c.base, []int{c.dim}, 1024, key,
			func(rows []float32, step int) { copy(rows, c.sample(key.Sub("data").At(step))) })
		if err != nil {
			t.Fatal(err)
		}
		if calls := diffusion.AnalyticCalls(c.dim, 1024); e.NetworkCalls() != int64(calls) {
			t.Errorf("%T: %d network calls, %d were foretold", c.base, e.NetworkCalls(), calls)
		}
		p := c.process
		if p == nil {
			p = diffusion.VP{}
		}
		// What is averaged has, where a share u of ε is not known, the variance 2u² + 4u(1−u), and of several coordinates the mean of that, at
		// most 4u: over 2¹⁶ numbers. The rest is of float32.
		exact := &diffusion.Analytic{LogSNR: got.LogSNR}
		for i, snr := range got.LogSNR {
			u := c.want.Unexplained(p, min(1, p.Time(snr)))
			exact.Left = append(exact.Left, u)
			oracle.Near(t, fmt.Sprintf("%T: u at log SNR %.2f", p, snr), got.Left[i], u, 4*math.Sqrt(4*u)/256+1e-6)
		}
		oracle.Near(t, "first", got.LogSNR[0], 2*math.Log(p.Alpha(1)/p.Sigma(1)), 1e-9)
		for at := 1.0; at > 1e-5; at *= 0.97 {
			oracle.Near(t, fmt.Sprintf("%T: interpolated at %g", p, at), exact.Unexplained(p, at), c.want.Unexplained(p, at), 0.002)
		}
		for at, want := range map[float64]float64{1: exact.Left[0], 1e-7: exact.Left[63]} {
			oracle.Near(t, fmt.Sprintf("%T: at the ends, %g", p, at), exact.Unexplained(p, at), want, 1e-9)
		}
	}
}

// A model that is not finite is refused, with the time, and so is a context that has ended.
func TestAnalyticErrors(t *testing.T) {
	estimate := func(ctx context.Context, value float32) error {
		_, err := diffusion.NewAnalytic(ctx, oracle.Open(t), nil, prior, []int{1}, 64, noise.New(1), func(rows []float32, _ int) { rows[0] = value })
		return err
	}
	oracle.WantError(t, estimate(context.Background(), float32(math.Inf(1))), "time 1", "not finite")
	ended, end := context.WithCancel(context.Background())
	end()
	oracle.WantError(t, estimate(ended, 0), context.Canceled.Error())
}

// The variances of a scheme by name, and what is refused.
func TestSchemeVariance(t *testing.T) {
	a := &diffusion.Analytic{LogSNR: []float64{0}, Left: []float64{0.5}}
	for name, want := range map[string]diffusion.Variance{"": nil, "posterior": nil, "beta": diffusion.Beta{}, "analytic": a} {
		s := diffusion.Scheme{Kernel: "ddpm", Variance: name, Steps: 7, Power: 2}
		for n, steps := range map[int]int{0: 7, 3: 3} {
			wanted := grid(diffusion.DDPM{Variance: want}, steps)
			for i, st := range s.Table(a)(n) {
				if st != wanted[i] {
					t.Errorf("variance %q, step %d of %d: %+v, want %+v", name, i, steps, st, wanted[i])
				}
			}
		}
		if s.Fitted() != (name == "analytic") {
			t.Errorf("variance %q: fitted %t", name, s.Fitted())
		}
	}
	for _, s := range []diffusion.Scheme{{Kernel: "ddpm", Variance: "alpha"}, {Kernel: "ddim", Variance: "analytic"}, {Kernel: "euler-maruyama", Variance: "beta"}, {Kernel: "euler"}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%+v: no panic", s)
				}
			}()
			s.Table(nil)
		}()
	}
}

// The last steps that are free ignore the control, and numbered levels are those of Numbered.
func TestSchemeFree(t *testing.T) {
	s := diffusion.Scheme{Kernel: "ddpm", Steps: 7, Power: 2, Free: 3}
	for i, st := range s.Table(nil)(5) {
		if want := i >= 2; st.Uncontrolled != want && st.S > 0 {
			t.Errorf("step %d of 5 is uncontrolled %t, want %t", i, st.Uncontrolled, want)
		}
	}
	levels := discrete(t, scaledLinear)
	s = diffusion.Scheme{Kernel: "ddim", Eta: 1, Steps: 20, Free: 2, Spacing: "trailing", Levels: levels, ToData: true}
	want, err := diffusion.Numbered{Eta: 1, Spacing: "trailing", Offset: 1, Steps: 10, Free: 2, ToData: true}.Table(levels)
	if err != nil || !slices.Equal(s.Table(nil)(10), want) || len(s.Table(nil)(0)) != 20 {
		t.Errorf("got %v, want %v; %v", s.Table(nil)(10), want, err)
	}
	if s.Process() != diffusion.Process(levels) || (diffusion.Scheme{VP: diffusion.VP{Beta0: 1, Beta1: 2}}).Process() != diffusion.Process(diffusion.VP{Beta0: 1, Beta1: 2}) {
		t.Error("the process of a scheme is another one")
	}
}

// A model of numbered levels is trained at levels, each as often as another.
func TestTimesAreLevels(t *testing.T) {
	p := discrete(t, scaledLinear)
	times, count := make([]float32, 1000), map[int]int{}
	for i := range 20 {
		diffusion.TimeLaw{}.Draw(times, p, noise.New(1).At(i))
		for _, at := range times {
			k := p.Level(float64(at))
			if k < 0 || float32(p.LevelTime(k)) != at {
				t.Fatalf("time %g is no level", at)
			}
			count[k]++
		}
	}
	for k := range 1000 {
		if count[k] < 5 || count[k] > 45 { // 20 on average, stratified
			t.Errorf("level %d is drawn %d times, want about 20", k, count[k])
		}
	}
}

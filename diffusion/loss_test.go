package diffusion_test

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/noise"
)

// data are n exact draws of g, diffusion times and noise.
func (g gaussian) data(n int, law diffusion.TimeLaw) (x0, times, eps []float32) {
	x0, times, eps = make([]float32, n), make([]float32, n), make([]float32, n)
	noise.New(1).Normal(x0, 0, 0)
	for i, z := range x0 {
		x0[i] = float32(g.Mean + g.SD*float64(z))
	}
	law.Draw(times, diffusion.VP{}, noise.New(2))
	noise.New(3).Normal(eps, 0, 0)
	return x0, times, eps
}

// minimum is the least value of the loss on data of law g, E var(ε|X_t) = E α²sd²/(α²sd²+σ²), at the given times.
func (g gaussian) minimum(times []float32) (sum float64) {
	for _, t := range times {
		alpha, sigma := diffusion.VP{}.Alpha(float64(t)), diffusion.VP{}.Sigma(float64(t))
		v := square(alpha * g.SD)
		sum += v / (v + sigma*sigma) / float64(len(times))
	}
	return sum
}

// On exact tilted samples the loss (9) is least at h*, where it is known, and exceeds that at ch* by (1−c)²·E σ²‖h*‖².
func TestLossIsLeastAtTheOptimum(t *testing.T) {
	const n = 200_000 // residuals of unit scale: standard errors below 0.003
	x0, times, eps := tilted.data(n, diffusion.TimeLaw{})
	loss := map[float64]float64{}
	for _, scale := range []float64{0, 0.5, 0.9, 1, 1.1} {
		out := oracle.Run(t, "", func(in []*graph.Node) []*graph.Node {
			loss, _ := diffusion.Diffuse(diffusion.VP{}, prior, in[0], in[1], in[2], nil).Loss(pull{scale}, false)
			return []*graph.Node{loss}
		}, engine.Rows(x0, 1), times, engine.Rows(eps, 1))
		loss[scale] = float64(out[0][0])
		if loss[scale] < loss[1] {
			t.Errorf("loss at %g·h* = %g is below that at h*, %g", scale, loss[scale], loss[1])
		}
	}
	oracle.Near(t, "loss at h*", loss[1], tilted.minimum(times), 0.003)
	// E σ²h*², by the exact law of X_t.
	var gap float64
	for _, at := range times {
		at := float64(at)
		a, b := tilted.line(at)
		slope, offset := prior.line(at)
		slope, offset = a-slope, b-offset
		law := oracle.Tilted.Diffuse(diffusion.VP{}.Alpha(at), diffusion.VP{}.Sigma(at))
		gap += (square(slope*law.Mean+offset) + square(slope*law.SD)) / n
	}
	if gap < 0.05 {
		t.Fatalf("loss at 0 above that at h* by only %g", gap)
	}
	oracle.Near(t, "gap at 0", loss[0]-loss[1], gap, 0.006)
	oracle.Near(t, "gap at ½h*", loss[0.5]-loss[1], gap/4, 0.003)

	// Without a control it is the score-matching loss of the base model, on data of its own.
	x0, times, eps = prior.data(n, diffusion.TimeLaw{Power: 2})
	out := oracle.Run(t, "", func(in []*graph.Node) []*graph.Node {
		loss, epsH := diffusion.Diffuse(diffusion.VP{}, prior, in[0], in[1], in[2], nil).Loss(nil, false)
		if epsH != nil {
			t.Error("no control, but its ε_h is not nil")
		}
		return []*graph.Node{loss}
	}, engine.Rows(x0, 1), times, engine.Rows(eps, 1))
	oracle.Near(t, "base loss", out[0][0], prior.minimum(times), 0.004)
}

// constant is the control h = value, in any dimension.
type constant struct{ value float64 }

func (c constant) Noise(s diffusion.State) *graph.Node {
	_, sigma := s.AlphaSigma()
	return graph.Mul(graph.OnesLike(s.X), graph.MulScalar(sigma, -c.value))
}

// The regulariser (17) of a constant h is ½h²∫β dt = ½h²(β₀+β₁)/2 whatever the density of the training times.
func TestRegulariser(t *testing.T) {
	const n, h = 100_000, 1.5
	for _, law := range []diffusion.TimeLaw{{}, {Power: 2}, {Power: 3}, {SNRMean: -1, SNRSD: 2.5}} {
		_, times, _ := prior.data(n, law)
		x0, _, eps := prior.data(2*n, law)
		out := oracle.Run(t, "", func(in []*graph.Node) []*graph.Node {
			d := diffusion.Diffuse(diffusion.VP{}, prior, in[0], in[1], in[2], nil)
			_, epsH := d.Loss(constant{h}, false)
			return []*graph.Node{d.KL(epsH, law)}
		}, engine.Rows(x0, 2), times, engine.Rows(eps, 2))
		oracle.Near(t, fmt.Sprintf("%+v", law), out[0][0], 0.5*h*h*10.05, 0.02) // the floor of the times costs below 0.1 %
	}
}

// Every draw lies in its stratum: of u for t = u^power, of the normal law for the log signal-to-noise ratio.
func TestTimeLaw(t *testing.T) {
	for _, law := range []diffusion.TimeLaw{{}, {Power: 2}, {Power: 2, SNRMean: -1.2, SNRSD: 2.4}} {
		for _, schedule := range []diffusion.VP{{}, {Beta0: 8, Beta1: 8}} {
			const n = 1000
			draw := func(seed uint64) []float32 {
				times := make([]float32, n)
				law.Draw(times, schedule, noise.New(seed))
				return times
			}
			times := draw(1)
			if !slices.Equal(times, draw(1)) {
				t.Error("the same key draws other times")
			}
			if slices.Equal(times, draw(2)) {
				t.Error("another key draws the same times")
			}
			for i, at := range times {
				lo, hi := float64(i)/n, float64(i+1)/n
				var u float64
				if law.SNRSD > 0 {
					normal := func(t float64) float64 {
						return 0.5 * math.Erfc(-(2*math.Log(schedule.Alpha(t)/schedule.Sigma(t))-law.SNRMean)/law.SNRSD/math.Sqrt2)
					}
					u = (normal(float64(at)) - normal(1)) / (normal(1e-4) - normal(1)) // what of the normal law lies between these times
				} else {
					u, lo, hi = math.Pow(float64(at), 1/max(1, law.Power)), 1e-3+0.999*lo, 1e-3+0.999*hi
				}
				if u < lo-1e-6 || u > hi+1e-6 || at <= 0 || at > 1 {
					t.Errorf("%+v: draw %d, t = %g, is u = %g, outside its stratum [%g, %g]", law, i, at, u, lo, hi)
				}
			}
		}
	}
}

// Tweedie's estimate of a Gaussian is its posterior mean, mean + αsd²/(α²sd²+σ²)·(x − α·mean).
func TestTweedie(t *testing.T) {
	times, x := []float32{1e-4, 0.05, 0.3, 0.6}, []float32{0.2, -1.5, 3, 0.7} // at t = 1 dividing by α = 0.0066 costs digits
	out := oracle.Run(t, "", func(in []*graph.Node) []*graph.Node {
		return []*graph.Node{diffusion.State{Process: diffusion.VP{}, X: in[0], T: in[1]}.Evaluate(prior).X0()}
	}, engine.Rows(x, 1), times)
	for i, at := range times {
		alpha, sigma := diffusion.VP{}.Alpha(float64(at)), diffusion.VP{}.Sigma(float64(at))
		law := oracle.Prior.Diffuse(alpha, sigma)
		want := prior.Mean + alpha*square(prior.SD/law.SD)*(float64(x[i])-law.Mean)
		oracle.Near(t, "x̂₀", out[0][i], want, 2e-5*(1+math.Abs(want)))
	}
}

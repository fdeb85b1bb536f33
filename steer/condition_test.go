package steer_test

import (
	"context"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/gmm"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/reward"
	"github.com/doob-diffusion/doob/steer"
)

// likelihood is the conditional reward −‖x−y‖²/(2·0.6²) of samples and measurements of any shape. Without a measurement it
// is −‖x‖²/(2·0.6²).
type likelihood struct{}

var (
	_ reward.Differentiable = likelihood{}
	_ reward.Conditional    = likelihood{}
)

func (l likelihood) Rewards(ctx context.Context, x []float32, n int) ([]float64, error) {
	return l.RewardsGiven(ctx, x, make([]float32, len(x)), n)
}

func (likelihood) RewardsGiven(_ context.Context, x, y []float32, n int) ([]float64, error) {
	out := make([]float64, n)
	for i, v := range x {
		d := float64(v) - float64(y[i])
		out[i*n/len(x)] -= d * d / 0.72
	}
	return out, nil
}

func (l likelihood) Graph(x *graph.Node) *graph.Node { return l.GraphGiven(x, graph.ZerosLike(x)) }

func (likelihood) GraphGiven(x, y *graph.Node) *graph.Node {
	flat := graph.Reshape(graph.Sub(x, y), x.Shape().Dimensions[0], -1)
	return graph.MulScalar(graph.ReduceSum(graph.Square(flat), 1), -1/0.72)
}

// What steers by a measurement, against closed forms: for a Gaussian base x̂₀ is linear in x, of slope dx̂₀/dx. Annealed, the
// likelihood has the variance σ² + σ_t² for σ².
func TestGuidanceByMeasurements(t *testing.T) {
	times := []float32{1e-3, 0.05, 0.2, 0.5, 0.8}
	for _, shape := range [][]int{{1}, {3}, {2, 1, 1}} {
		dim := 1
		for _, d := range shape {
			dim *= d
		}
		prior, err := gmm.Isotropic([]float64{1}, [][]float64{slices.Repeat([]float64{oracle.Prior.Mean}, dim)}, oracle.Prior.SD)
		if err != nil {
			t.Fatal(err)
		}
		r, anneal := likelihood{}, reward.Anneal(0.6, 1)
		program, err := oracle.Open(t).Compile(func(in []*graph.Node) []*graph.Node {
			s := diffusion.State{Process: diffusion.VP{}, X: in[0], T: in[1]}.Evaluate(diffusion.Mixture{Density: prior})
			out := func() []*graph.Node {
				return []*graph.Node{s.Noise(steer.Guidance{Reward: r, Scale: 2}), s.Noise(steer.Twisted{Reward: r, Scale: 2}),
					s.Noise(steer.Twisted{Reward: r, Scale: 2, Weight: anneal}), s.Noise(steer.DPS{Reward: r, Scale: 2}),
					steer.LogTwist(r, nil)(s), steer.LogTwist(r, anneal)(s)}
			}
			without := out()
			s.Given = in[2]
			return append(out(), without...)
		})
		if err != nil {
			t.Fatal(err)
		}
		n := len(times)
		x, y := make([]float32, n*dim), make([]float32, n*dim)
		noise.New(1).Normal(x, 0, 0)
		noise.New(2).Normal(y, 0, 0)
		for _, at := range [][]float32{times, {0.3}} {
			outputs, err := program.Run(engine.Rows(x, shape...), at, engine.Rows(y, shape...))
			if err != nil {
				t.Fatal(err)
			}
			values := make([][]float32, len(outputs))
			for i, o := range outputs {
				values[i] = make([]float32, o.Size())
				if err := engine.Floats(values[i], o); err != nil {
					t.Fatal(err)
				}
			}
			for k, y := range [][]float32{y, make([]float32, n*dim)} {
				name := fmt.Sprintf("shape %v, %d times, ", shape, len(at)) + []string{"y given: ", "none given: "}[k]
				got := values[6*k : 6*k+6]
				for i := range n {
					ti := float64(at[i%len(at)])
					alpha, sigma := diffusion.VP{}.Alpha(ti), diffusion.VP{}.Sigma(ti)
					var slope float64
					weight := 0.36 / (0.36 + sigma*sigma)
					d, square := make([]float64, dim), 0. // x̂₀ − y
					for j := range d {
						slope, d[j] = tweedie(alpha, sigma, float64(x[i*dim+j]))
						d[j] -= float64(y[i*dim+j])
						square += d[j] * d[j]
					}
					for j := range d {
						g := -d[j] / 0.36
						eps := func(of string, k int, want float64) {
							t.Helper()
							oracle.Near(t, name+of, got[k][i*dim+j], want, 1e-3*sigma*(1+math.Abs(want)/sigma))
						}
						eps("guidance", 0, -sigma*2*g)
						eps("twisted", 1, -sigma*2*g*slope)
						eps("twisted, annealed", 2, -sigma*2*g*slope*weight)
						eps("DPS", 3, sigma*2/0.6*d[j]/math.Sqrt(square)*slope) // −σ·h
					}
					oracle.Near(t, name+"log ψ", got[4][i], -square/0.72, 1e-3)
					oracle.Near(t, name+"log ψ, annealed", float64(got[5][i]), -square/(2*(0.36+sigma*sigma)), 1e-3)
				}
			}
		}
	}
}

// A misfit of zero has no direction: DPS leaves the sample where it is.
func TestDPSWithoutMisfit(t *testing.T) {
	p := gaussians(t)
	program, err := oracle.Open(t).Compile(func(in []*graph.Node) []*graph.Node {
		s := diffusion.State{Process: diffusion.VP{}, X: in[0], T: in[1]}.Evaluate(p.base())
		s.Given = s.X0()
		return []*graph.Node{s.Noise(steer.DPS{Reward: likelihood{}, Scale: 2})}
	})
	if err != nil {
		t.Fatal(err)
	}
	out, err := program.Run(engine.Rows([]float32{-1, 0.2, 3}, 1), []float32{1e-3, 0.3, 0.9})
	if err != nil {
		t.Fatal(err)
	}
	got := make([]float32, 3)
	if err := engine.Floats(got, out[0]); err != nil {
		t.Fatal(err)
	}
	for _, v := range got {
		oracle.Near(t, "ε_h", v, 0, 0)
	}
}

// Particles for a measurement are exact as their number grows. Where every one has its own measurement, drawn from
// N(0.5, 0.7²), the pairs of both are weighed: resampling must keep them together. All laws are Gaussian, that of x_0 with the
// mean m and the variance v of the discretised base: of d = x − y, with prior variance V = v + 0.7², the tilted law is
// N((m − 0.5)·u/V, u) with u = 1/(1/V + 1/0.36).
func TestSMCGiven(t *testing.T) {
	p := gaussians(t)
	m, v := p.base0.Mean, p.base0.SD*p.base0.SD
	anneal := reward.Anneal(0.6, 1)
	for _, c := range []struct {
		name      string
		mean, sd  float64 // of the measurements
		control   diffusion.Control
		weight    func(diffusion.State) *graph.Node
		threshold float64
	}{
		{"one measurement, twisted", 1.5, 0, steer.Twisted{Reward: likelihood{}, Scale: 1, Weight: anneal}, anneal, 1},
		{"one measurement, Feynman–Kac", -0.6, 0, nil, anneal, 0.9},
		{"a measurement each, twisted", 0.5, 0.7, steer.Twisted{Reward: likelihood{}, Scale: 1, Weight: anneal}, anneal, 1},
		{"a measurement each, Feynman–Kac", 0.5, 0.7, nil, nil, 0.9},
	} {
		const n, repeats = 400, 20
		s := p.sampler(t, c.control)
		s.Batch, s.Twist = 300, steer.LogTwist(likelihood{}, c.weight)
		s.Given = &diffusion.Condition{Shape: []int{1}, Draw: func(key noise.Key, path int, y []float32) {
			key.Sub("condition").Normal(y, uint64(path), 0)
			y[0] = float32(c.mean + c.sd*float64(y[0]))
		}}
		all := v + c.sd*c.sd
		u := 1 / (1/all + 1/0.36)
		d := (m - c.mean) * u / all
		logZ := 0.5*math.Log(0.36/(all+0.36)) - (m-c.mean)*(m-c.mean)/(2*(all+0.36))
		var z, xs, ds, squares []float64
		for i := range repeats {
			out, err := steer.SMC{Sampler: s, Reward: likelihood{}, Threshold: c.threshold}.Run(context.Background(), noise.New(uint64(i)), n)
			if err != nil {
				t.Fatal(err)
			}
			if out.Resamplings == 0 || len(out.Given) != n {
				t.Fatalf("%s: %d resamplings, %d measurements of %d particles", c.name, out.Resamplings, len(out.Given), n)
			}
			z = append(z, math.Exp(out.LogZ-logZ))
			var total, x, diff, square float64
			for i, lw := range out.LogW {
				w, e := math.Exp(lw), float64(out.X[i])-float64(out.Given[i])
				total, x, diff, square = total+w, x+w*float64(out.X[i]), diff+w*e, square+w*(e-d)*(e-d)
			}
			xs, ds, squares = append(xs, x/total), append(ds, diff/total), append(squares, square/total)
		}
		within(t, c.name+": Ẑ/Z", z, 1, 0.05)
		within(t, c.name+": mean of x", xs, m+(d-(m-c.mean))*v/all, 0.03) // by regression of x on d
		within(t, c.name+": mean of x − y", ds, d, 0.03)
		within(t, c.name+": second moment about it", squares, u, 0.03)
	}
}

// The best of k is judged by the measurements of the paths.
func TestBestOfKGiven(t *testing.T) {
	p := gaussians(t)
	const n, k = 10, 3
	s := p.sampler(t, nil)
	s.Given = &diffusion.Condition{Shape: []int{1}, Draw: func(_ noise.Key, path int, y []float32) { y[0] = float32(path/k) / 5 }}
	paths, err := s.Run(context.Background(), noise.New(3), 0, n*k, nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := steer.BestOfK(context.Background(), s, likelihood{}, noise.New(3), n, k)
	if err != nil || len(got) != n {
		t.Fatalf("%d samples, %v", len(got), err)
	}
	for i, x := range got {
		y := float64(i) / 5
		for _, other := range paths.X[i*k : (i+1)*k] {
			if math.Abs(float64(other)-y) < math.Abs(float64(x)-y) {
				t.Errorf("for y = %g, %g was kept and %g was not", y, x, other)
			}
		}
	}
}

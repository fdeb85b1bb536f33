package diffusion_test

import (
	"context"
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

// flow is the path of rectified flows, α = 1−ct and σ = ct (Liu et al. 2023), with c a little below 1 so that some of the data
// is left at t = 1.
type flow struct{}

var _ diffusion.Process = flow{}

const c = 1 - 1e-3

func (flow) Alpha(t float64) float64 { return 1 - c*t }
func (flow) Sigma(t float64) float64 { return c * t }

func (flow) Transition(s, t float64) (scale, variance float64) {
	scale = (1 - c*t) / (1 - c*s)
	return scale, c * (t - s) / (1 - c*s) * c * (t + scale*s)
}

func (flow) Drift(t float64) float64     { return -c / (1 - c*t) }
func (flow) Diffusion(t float64) float64 { return 2 * c * c * t / (1 - c*t) }

func (flow) Time(logSNR float64) float64 { return 1 / (1 + math.Exp(logSNR/2)) / c }

func (flow) AlphaSigmaGraph(t *graph.Node) (alpha, sigma *graph.Node) {
	sigma = graph.MulScalar(t, c)
	return graph.OneMinus(sigma), sigma
}

func (flow) DiffusionGraph(t *graph.Node) *graph.Node {
	return graph.Div(graph.MulScalar(t, 2*c*c), graph.OneMinus(graph.MulScalar(t, c)))
}

// The methods of a process say the same: f and g² as derivatives, the transition law by its definition, and the time of a
// signal-to-noise ratio as the inverse of that; in graphs as on the host.
func TestProcessesAreConsistent(t *testing.T) {
	for _, p := range []diffusion.Process{diffusion.VP{}, diffusion.VP{Beta0: 8, Beta1: 8}, flow{}} {
		times := []float32{0.01, 0.2, 0.5, 0.9}
		out := oracle.Run(t, "", func(in []*graph.Node) []*graph.Node {
			alpha, sigma := p.AlphaSigmaGraph(in[0])
			return []*graph.Node{alpha, sigma, p.DiffusionGraph(in[0])}
		}, times)
		for i, single := range times {
			name, at := fmt.Sprintf("%#v at t = %g: ", p, single), float64(single)
			slope := func(f func(float64) float64) float64 { return (f(at+1e-5) - f(at-1e-5)) / 2e-5 }
			drift := slope(func(t float64) float64 { return math.Log(p.Alpha(t)) })
			oracle.Near(t, name+"f", p.Drift(at), drift, 1e-6*(1-drift))
			oracle.Near(t, name+"g²", p.Diffusion(at), slope(func(t float64) float64 { return square(p.Sigma(t)) })-2*drift*square(p.Sigma(at)), 1e-5*(1+p.Diffusion(at)))
			scale, variance := p.Transition(at/3, at)
			oracle.Near(t, name+"scale", scale, p.Alpha(at)/p.Alpha(at/3), 1e-12)
			oracle.Near(t, name+"variance", variance, square(p.Sigma(at))-square(scale*p.Sigma(at/3)), 1e-12)
			oracle.Near(t, name+"time of the SNR", p.Time(2*math.Log(p.Alpha(at)/p.Sigma(at))), at, 1e-9)
			for k, want := range []float64{p.Alpha(at), p.Sigma(at), p.Diffusion(at)} {
				oracle.Near(t, fmt.Sprintf("%sgraph %d", name, k), out[k][i], want, 2e-6*(1+want))
			}
		}
	}
}

// A process is all that kernels, sampler, models and weights know of it: on the path of rectified flows, whose α² + σ² is not
// 1, guided paths have the law that their chain has exactly, and weighted that of the base.
func TestAnotherProcess(t *testing.T) {
	const n, scale = 30_000, 0.25
	for _, kernel := range []diffusion.Kernel{diffusion.DDPM{}, diffusion.DDIM{Eta: 1}, diffusion.DDIM{Eta: 0.7}} {
		name := fmt.Sprintf("%#v", kernel)
		fine := kernel.Steps(flow{}, diffusion.Times(1600, 1))
		for scale, want := range map[float64]gaussian{0: prior, 1: tilted} {
			got := chainOf(flow{}, fine, scale)
			oracle.Near(t, name+": mean at 1600 steps", got.Mean, want.Mean, 0.002)
			oracle.Near(t, name+": sd at 1600 steps", got.SD, want.SD, 0.003)
		}
		steps := kernel.Steps(flow{}, diffusion.Times(50, 1))
		s := &diffusion.Sampler{Engine: oracle.Open(t), Process: flow{}, Steps: steps, Shape: []int{1}, Base: prior, Control: pull{scale}, Batch: 4096}
		paths, err := s.Run(context.Background(), noise.New(17), 0, n, nil)
		if err != nil {
			t.Fatal(err)
		}
		ratio := func(i int) float64 { return paths.LogRatio[i] }
		chainOf(flow{}, steps, scale).law(t, name+": guided", paths.X, nil)
		chainOf(flow{}, steps, 0).law(t, name+": reweighted", paths.X, ratio)
		mean(n, nil, func(i int) float64 { return math.Exp(ratio(i)) }).near(t, name+": E[dP/dP^h]", 1, 0.01)
		mean(n, nil, func(i int) float64 { return paths.Energy[i] + ratio(i) }).near(t, name+": KL(P^h‖P) two ways, the difference", 0, 0.01)
	}
	// Losses too: the least is that of the exact model, which is E var(ε|X_t).
	x0, times, eps := prior.data(100_000, diffusion.TimeLaw{})
	out := oracle.Run(t, "", func(in []*graph.Node) []*graph.Node {
		d := diffusion.Diffuse(flow{}, prior, in[0], in[1], in[2], nil)
		loss, _ := d.Loss(nil, false)
		return []*graph.Node{loss, graph.ReduceAllMean(graph.Square(graph.Sub(d.X0(), in[0])))}
	}, engine.Rows(x0, 1), times, engine.Rows(eps, 1))
	var loss, mse float64
	for _, single := range times {
		alpha, sigma := flow{}.Alpha(float64(single)), flow{}.Sigma(float64(single))
		left := square(prior.SD) * square(sigma) / (square(alpha*prior.SD) + square(sigma)) // var(X_0|X_t)
		loss, mse = loss+square(alpha/sigma)*left/float64(len(times)), mse+left/float64(len(times))
	}
	oracle.Near(t, "loss of the exact model", out[0][0], loss, 0.01)
	oracle.Near(t, "mean squared error of Tweedie's estimate", out[1][0], mse, 0.01)
}

// onlooker is a base model of N(0.3, 0.9²) moved by the condition of the row.
type onlooker struct{}

func (onlooker) Noise(s diffusion.State) *graph.Node {
	if s.Eps != nil {
		panic("a base model is shown its own prediction")
	}
	return graph.Add(prior.Noise(s), graph.MulScalar(column(s.Given, 2), 0.1))
}

// A simulation in parts is that of the whole: paths, weights, conditions and what a visitor sees, of every kernel, also of a
// base model that is conditioned.
func TestPathsInParts(t *testing.T) {
	const n = 61
	type seen struct{ z, eps []float32 }
	simulate := func(kernel diffusion.Kernel, base diffusion.Model, from, n int) (diffusion.Paths, []seen) {
		t.Helper()
		var visits []seen
		s := &diffusion.Sampler{Engine: oracle.Open(t), Steps: grid(kernel, 9), Shape: []int{1}, Base: base, Control: amortised{}, Given: condition(), Batch: 7}
		paths, err := s.Run(context.Background(), noise.New(3), from, n, func(p *diffusion.Population) error {
			if p.From != from {
				t.Errorf("the population is from %d, want %d", p.From, from)
			}
			z := make([]float32, p.N)
			for i := range z {
				p.Noise(i, z[i:i+1])
			}
			visits = append(visits, seen{z, slices.Clone(p.EpsH)})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return paths, visits
	}
	for _, k := range kernels {
		for _, base := range []diffusion.Model{prior, onlooker{}} {
			want, wantVisits := simulate(k.kernel, base, 0, n)
			for _, part := range [][2]int{{0, 61}, {0, 20}, {20, 1}, {21, 33}, {54, 7}, {60, 1}} {
				from, to := part[0], part[0]+part[1]
				got, visits := simulate(k.kernel, base, from, part[1])
				if !slices.Equal(got.X, want.X[from:to]) || !slices.Equal(got.LogRatio, want.LogRatio[from:to]) ||
					!slices.Equal(got.Energy, want.Energy[from:to]) || !slices.Equal(got.Given, want.Given[6*from:6*to]) {
					t.Errorf("%s, %T: paths %d to %d by themselves are not those of the whole", k.name, base, from, to)
				}
				for i, v := range visits {
					if !slices.Equal(v.z, wantVisits[i].z[from:to]) || !slices.Equal(v.eps, wantVisits[i].eps[from:to]) {
						t.Errorf("%s, %T: step %d of paths %d to %d looks different", k.name, base, i, from, to)
					}
				}
			}
		}
	}
	plain, _ := simulate(diffusion.DDPM{}, prior, 0, 5)
	moved, _ := simulate(diffusion.DDPM{}, onlooker{}, 0, 5)
	if slices.Equal(plain.X, moved.X) {
		t.Error("the base model does not see the conditions")
	}
}

package finetune

import (
	"context"
	"errors"
	"fmt"
	"math"
	"testing"

	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/htransform"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
)

// distance is E σ²‖h − h*‖² on the diffused tilted law, that is, how far the loss (9) of h is above its minimum.
func (p problem) distance(t *testing.T, e *engine.Engine, h diffusion.Control) float64 {
	t.Helper()
	const n = 4096
	times, eps := make([]float32, n), make([]float32, n)
	diffusion.TimeLaw{Power: 2}.Draw(times, diffusion.VP{}, noise.New(8))
	noise.New(9).Normal(eps, 0, 0)
	program, err := e.Compile(func(in []*graph.Node) []*graph.Node {
		s := diffusion.Diffuse(diffusion.VP{}, p.base(), in[0], in[1], in[2], nil).State
		return []*graph.Node{graph.ReduceAllMean(graph.Square(graph.Sub(s.Noise(h), s.Noise(p.optimum()))))}
	})
	if err != nil {
		t.Fatal(err)
	}
	out, err := program.Run(engine.Rows(p.tilted.Sample(n, noise.New(7)), 1), times, engine.Rows(eps, 1))
	if err != nil {
		t.Fatal(err)
	}
	return float64(tensors.ToScalar[float32](out[0]))
}

// On exact tilted samples a small network finds h* within a few hundred steps, and its averaged copy with it.
func TestSupervisedFindsTheOptimum(t *testing.T) {
	p := gaussians(t)
	const updates, batch = 300, 128
	buffer := &Buffer{Capacity: 4096, Dim: 1}
	buffer.Append(p.tilted.Sample(4096, noise.New(1)))
	training := Training{Updates: updates, Batch: batch, Denoising: diffusion.Denoising{Times: diffusion.TimeLaw{Power: 2}}, Optimizer: nn.Optimizer{LearningRate: 5e-3, EMA: 0.98}}
	for name, create := range map[string]func(e *engine.Engine, path string) htransform.Learned{
		"reward-free": func(e *engine.Engine, path string) htransform.Learned {
			return free(e, path, 32, 2)
		},
		"reward-informed": func(e *engine.Engine, path string) htransform.Learned {
			return p.informed(e, path, 32, 2)
		},
	} {
		e := oracle.Open(t)
		h := create(e, "/h")
		start := p.distance(t, e, h)
		o, err := NewSupervised(p.sampler(e, diffusion.EulerMaruyama{}, 1, h), h, training, 0)
		if err != nil {
			t.Fatal(err)
		}
		calls := e.NetworkCalls()
		if _, err := o.Fit(context.Background(), noise.New(3), Weighted{}, buffer); err != nil {
			t.Fatal(err)
		}
		if got := e.NetworkCalls() - calls; got != 2*updates*batch { // base and control
			t.Errorf("%s: %d network calls, want %d", name, got, 2*updates*batch)
		}
		trained, averaged := p.distance(t, e, h), p.distance(t, e, Averaged(e, h))
		if !(start > 0.03) || !(trained < 0.06*start) || !(averaged < 0.06*start) {
			t.Errorf("%s: E σ²(h−h*)² = %.5f, trained %.5f, its average %.5f", name, start, trained, averaged)
		}
		// The tilted law is what the trained h samples: log w is nearly constant. Of KL 0.01 is the discretisation's.
		w := p.weighted(t, p.sampler(e, diffusion.EulerMaruyama{}, 50, h), noise.New(4), 2000, nil)
		mean, se := meanSE(widen(w.X))
		oracle.Near(t, name+": mean of the samples", mean, p.tilted.Mean()[0], 0.05+4*se)
		if d := w.Certificate(); !(float64(d.KL) < 0.1) || !(float64(d.ESS) > 0.85) {
			t.Errorf("%s: KL = %.3f, ESS = %.3f; want nearly 0 and 1", name, d.KL, d.ESS)
		}
	}
}

func widen(x []float32) []float64 {
	out := make([]float64, len(x))
	for i, v := range x {
		out[i] = float64(v)
	}
	return out
}

// The regulariser adds λ·∂/∂θ of ½θ²∫β = λ·θ·10.05 to the gradient of a constant control, whatever the training times' law.
func TestSupervisedRegulariser(t *testing.T) {
	p := gaussians(t)
	const theta, batch = 0.7, 4096
	buffer := &Buffer{Capacity: batch, Dim: 1}
	buffer.Append(p.tilted.Sample(batch, noise.New(1)))
	for _, power := range []float64{1, 2} {
		gradient := func(kl float64) float64 {
			e := oracle.Open(t)
			h := newLearnt(e, theta)
			o, err := NewSupervised(p.sampler(e, diffusion.EulerMaruyama{}, 1, h), h, Training{Updates: 1, Batch: batch, Optimizer: plain, Denoising: diffusion.Denoising{Times: diffusion.TimeLaw{Power: power}}}, kl)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := o.Fit(context.Background(), noise.New(2), Weighted{}, buffer); err != nil {
				t.Fatal(err)
			}
			return firstGradient(e)
		}
		oracle.Near(t, fmt.Sprintf("power %g: what λ = 0.3 adds", power), gradient(0.3)-gradient(0), 0.3*theta*10.05, 0.01)
	}
}

// The gradient of the loss (9) in a constant control is 2·E σ²(θ − h*), by the exact laws of X_t.
func TestSupervisedGradient(t *testing.T) {
	p := gaussians(t)
	const theta, batch = 0.7, 50_000
	buffer := &Buffer{Capacity: batch, Dim: 1}
	buffer.Append(p.tilted.Sample(batch, noise.New(1)))
	e := oracle.Open(t)
	h := newLearnt(e, theta)
	o, err := NewSupervised(p.sampler(e, diffusion.EulerMaruyama{}, 1, h), h, Training{Updates: 1, Batch: batch, Optimizer: plain}, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.Fit(context.Background(), noise.New(2), Weighted{}, buffer); err != nil {
		t.Fatal(err)
	}
	var want float64
	const grid = 2000
	for i := range grid {
		at := 1e-3 + 0.999*(float64(i)+0.5)/grid
		alpha, sigma := diffusion.VP{}.Alpha(at), diffusion.VP{}.Sigma(at)
		// E h* under the tilted law: its own score has mean zero, and the prior's is linear.
		m := -oracle.Prior.Diffuse(alpha, sigma).Score(alpha * oracle.Tilted.Mean)
		want += 2 * sigma * sigma * (theta - m) / grid
	}
	oracle.Near(t, "gradient", firstGradient(e), want, 0.03) // 2σ(ε−ε_θ−ε_h) has sd 1 or so: standard error 0.006
}

func TestSupervisedErrors(t *testing.T) {
	p := gaussians(t)
	e := oracle.Open(t)
	h := newLearnt(e, 0)
	s := p.sampler(e, diffusion.EulerMaruyama{}, 1, h)
	o, err := NewSupervised(s, h, Training{Updates: 3, Batch: 8}, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.Fit(context.Background(), noise.New(1), Weighted{}, &Buffer{Capacity: 8, Dim: 1}); !errors.Is(err, ErrEmptyBuffer) {
		t.Errorf("empty buffer: error %v", err)
	}
	buffer := &Buffer{Capacity: 8, Dim: 1}
	buffer.Append([]float32{float32(math.NaN())})
	if _, err := o.Fit(context.Background(), noise.New(1), Weighted{}, buffer); err == nil {
		t.Error("a sample that is not finite: no error")
	}
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := o.Fit(cancelled, noise.New(1), Weighted{}, buffer); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: error %v", err)
	}
	missing := htransform.RewardFree{NN1: nn.MLP{Scope: e.Scope("/nowhere"), In: 2, Out: 1, Width: 8, Depth: 1}}
	if _, err := NewSupervised(p.sampler(e, diffusion.EulerMaruyama{}, 1, nil), missing, Training{}, 0); err == nil {
		t.Error("nothing to train: no error")
	}
}

// opaque is a base model that cannot be differentiated.
type opaque struct{ diffusion.Model }

func (m opaque) Noise(s diffusion.State) *graph.Node { return graph.Identity(m.Model.Noise(s)) }

// No objective on samples differentiates the base model, though h reads its prediction and the reward's gradient there; backpropagation does.
func TestBaseIsNotDifferentiated(t *testing.T) {
	p := gaussians(t)
	buffer := &Buffer{Capacity: 8, Dim: 1}
	buffer.Append(p.tilted.Sample(8, noise.New(1)))
	training := Training{Updates: 1, Batch: 8, Optimizer: plain}
	for name, create := range map[string]func(s *diffusion.Sampler, h htransform.Learned) (Objective, error){
		"supervised": func(s *diffusion.Sampler, h htransform.Learned) (Objective, error) {
			return NewSupervised(s, h, training, 0.1)
		},
		"VarGrad": func(s *diffusion.Sampler, h htransform.Learned) (Objective, error) { return NewVarGrad(s, h, plain, 0) },
		"online": func(s *diffusion.Sampler, h htransform.Learned) (Objective, error) {
			return NewOnline(s, h, training, s.Steps, p.reward())
		},
	} {
		e := oracle.Open(t)
		h := p.informed(e, "/h", 8, 1)
		s := p.sampler(e, diffusion.EulerMaruyama{}, 3, h)
		s.Base = opaque{s.Base}
		o, err := create(s, h)
		if err != nil {
			t.Fatal(err)
		}
		w := p.weighted(t, s, noise.New(2), 8, o.Visitor(noise.New(3)))
		if _, err := o.Fit(context.Background(), noise.New(4), w, buffer); (err != nil) != (name == "online") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

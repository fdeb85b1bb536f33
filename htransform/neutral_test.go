package htransform_test

import (
	"slices"
	"testing"

	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/ml/model"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/gmm"
	"github.com/doob-diffusion/doob/htransform"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/reward"
)

// perceptron is a network of so many inputs in two dimensions, as NN1 and the base model's own fit have it.
func perceptron(s *model.Scope, inputs int) nn.Network {
	return nn.MLP{Scope: s, In: 2 * inputs, Out: 2, Width: 16, Depth: 2, Octaves: 2, Timed: true}
}

// Whatever was found for all samples, h begins as it would without: the part of NN2, or zero. What is learned is another network than that,
// which begins as a copy of it.
func TestNeutralStart(t *testing.T) {
	prior, density, _ := laws(t)
	for name, c := range map[string]struct{ tuned, gradient bool }{
		"a change": {false, true}, "a whole velocity": {true, true}, "no gradient": {false, false}, "a whole velocity, no gradient": {true, false},
	} {
		e := oracle.Open(t)
		self := perceptron(e.Scope("/ema/self"), 2).Init(noise.New(5), 1, 0.3)
		s := htransform.Settings{ScaleWidth: 8, Start: 0.4, Gradient: c.gradient, Tuned: c.tuned}
		parts := htransform.Parts{Reward: reward.Mixture{Density: density}, NN1: perceptron, Self: self}
		h, err := s.New(e, noise.New(1), parts)
		if err != nil {
			t.Fatal(err)
		}
		parts.Self, s.Tuned = nil, false
		other := oracle.Open(t)
		without, err := s.New(other, noise.New(1), parts)
		if err != nil {
			t.Fatal(err)
		}
		got, want := noiseOf(t, e, prior, h)[0], noiseOf(t, other, prior, without)[0]
		for i := range got {
			oracle.Near(t, name+": ε_h", got[i], float64(want[i]), 2e-5)
		}
		fit, of := htransform.Fitted(h)
		if slices.Equal(noiseOf(t, e, prior, fit)[0], want) || of == nil {
			t.Errorf("%s: what is fitted is not relative to anything", name)
		}
		for _, v := range h.Parameters() {
			if v.Path()[:3] != "/h/" {
				t.Errorf("%s: %s is trained", name, v.Path())
			}
		}
		// Its averages are below another scope, what it is relative to stays.
		place := func(s *model.Scope) *model.Scope { return e.Scope("/there" + s.Scope()) }
		perceptron(e.Scope("/there/h/nn1"), map[bool]int{false: 2, true: 3}[c.gradient]).Init(noise.New(6), 0, 0)
		if c.gradient {
			htransform.Scale(e.Scope("/there/h/nn2"), 8, 0.4, noise.New(1))
		}
		moved := noiseOf(t, e, prior, h.Within(place))[0]
		movedFit := noiseOf(t, e, prior, fit.Within(place))[0]
		own := noiseOf(t, e, prior, of)[0]
		for i := range moved {
			oracle.Near(t, name+": within other scopes", moved[i], float64(movedFit[i]-own[i]), 2e-5)
		}
	}
	if fit, of := htransform.Fitted(htransform.RewardFree{}); fit != (htransform.RewardFree{}) || of != nil {
		t.Error("an h that is relative to the base model is taken apart")
	}
}

// A step with an h that is relative to the base model's own fit takes three networks.
func TestNeutralCalls(t *testing.T) {
	prior, _, _ := laws(t)
	e := oracle.Open(t)
	h := htransform.Neutral{Fit: htransform.RewardFree{NN1: vector(e, "/h/nn1", 4, 2)}, Self: htransform.RewardFree{NN1: vector(e, "/self", 4, 2)}}
	noiseOf(t, e, prior, h)
	if got, want := e.NetworkCalls(), int64(3*len(times)); got != want {
		t.Errorf("%d network calls, want %d", got, want)
	}
}

// The base model's own fit is the difference of two scores: that of the samples that it is given, and that of the base model, here another
// law's. For Gaussians both are known. The error is that of a small network, in units of the noise.
func TestOwnFit(t *testing.T) {
	normal := func(mean, sd float64) *gmm.Mixture {
		m, err := gmm.Isotropic([]float64{1}, [][]float64{{mean, -mean}}, sd)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	chain, model := normal(0.4, 0.8), normal(0, 1) // what the chain draws, and what the base model takes it for
	e := oracle.Open(t)
	h := htransform.RewardFree{NN1: nn.MLP{Scope: e.Scope("/self"), In: 4, Out: 2, Width: 32, Depth: 2, Timed: true}.Init(noise.New(1), 0, 0)}
	p := diffusion.Pretraining{Training: nn.Training{Steps: 400, Batch: 256, Optimizer: nn.Optimizer{LearningRate: 0.01}}, Denoising: diffusion.Denoising{Velocity: true}}
	trainer, err := htransform.OwnFit(e, schedule, diffusion.Mixture{Density: model}, h, p)
	if err != nil {
		t.Fatal(err)
	}
	inputs := p.Inputs(noise.New(2), schedule, []int{2}, func(rows []float32, step int) { copy(rows, chain.Sample(p.Batch, noise.New(3).At(step))) })
	if err := trainer.Run(t.Context(), p.Steps, inputs, nil); err != nil {
		t.Fatal(err)
	}
	const n = 500
	for _, at := range []float64{0.1, 0.3, 0.5} {
		alpha, sigma := schedule.Alpha(at), schedule.Sigma(at)
		x := chain.Diffuse(alpha, sigma).Sample(n, noise.New(4))
		got := oracle.RunOn(t, e, func(in []*graph.Node) []*graph.Node {
			return []*graph.Node{diffusion.State{Process: schedule, X: in[0], T: in[1]}.Evaluate(diffusion.Mixture{Density: model}).Noise(h)}
		}, engine.Rows(x, 2), []float32{float32(at)})[0]
		var square, size float64
		for i := range n {
			point := []float64{float64(x[2*i]), float64(x[2*i+1])}
			p, q := model.Diffuse(alpha, sigma).Score(point), chain.Diffuse(alpha, sigma).Score(point)
			for j := range 2 {
				want := -sigma * (q[j] - p[j])
				square += (float64(got[2*i+j]) - want) * (float64(got[2*i+j]) - want)
				size += want * want
			}
		}
		if !(square < 0.1*size) {
			t.Errorf("at %g the mean square error is %.3g of the whole", at, square/size)
		}
	}
}

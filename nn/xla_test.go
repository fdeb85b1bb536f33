//go:build xla

package nn_test

import (
	"math"
	"testing"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/nn"
)

// The outputs of all networks, with random parameters, are those of package cpu within 1e-5 of the largest entry.
func TestXLANetworks(t *testing.T) {
	backend := oracle.XLA(t)
	const height, width = 4, 8
	x, times := images(3, height*width*2), []float32{0.1, 0.5, 0.9}
	for _, c := range []struct {
		name  string
		apply func(e *engine.Engine) func(in []*graph.Node) *graph.Node
	}{
		{"U-Net", func(e *engine.Engine) func(in []*graph.Node) *graph.Node {
			u := begin(tiny(e), 1, 1, 0)
			return func(in []*graph.Node) *graph.Node { return u.Apply(in[1], in[0]) }
		}},
		{"U-Net on patches", func(e *engine.Engine) func(in []*graph.Node) *graph.Node {
			u := tiny(e)
			u.Patch = 2
			u = begin(u, 1, 1, 0)
			return func(in []*graph.Node) *graph.Node { return u.Apply(in[1], in[0]) }
		}},
		{"CNN", func(e *engine.Engine) func(in []*graph.Node) *graph.Node {
			n := begin(smallCNN(e), 1, 1, 0)
			return func(in []*graph.Node) *graph.Node { return n.Apply(nil, in[0]) }
		}},
		{"MLP", func(e *engine.Engine) func(in []*graph.Node) *graph.Node {
			m := begin(nn.MLP{Scope: e.Scope("/u"), In: height * width * 2, Out: 5, Width: 33, Depth: 3, Timed: true, Octaves: 2}, 1, 1, 0)
			return func(in []*graph.Node) *graph.Node { return m.Dense(in[1], graph.Reshape(in[0], 3, -1)) }
		}},
	} {
		run := func(backend string) []float32 {
			e := oracle.OpenOn(t, backend)
			apply := c.apply(e)
			randomize(t, e)
			return oracle.RunOn(t, e, func(in []*graph.Node) []*graph.Node { return []*graph.Node{apply(in)} }, engine.Rows(x, height, width, 2), times)[0]
		}
		t.Logf("%s: off by %.1e of the largest entry", c.name, oracle.Alike(t, c.name, run(backend), run("cpu"), 1e-5))
	}
}

// Fifty steps of training, clipped, decayed and averaged, go the way they go on package cpu: losses, and all parameters and averages as one
// vector. Not each tensor: Adam divides by the size of a gradient, so where that is only rounding, as of a bias of the keys of an
// attention, every step moves the parameter by the learning rate in a direction of its own.
func TestXLATraining(t *testing.T) {
	backend := oracle.XLA(t)
	for _, c := range tasks() {
		want, parameters := train(t, c, "cpu")
		got, trained := train(t, c, backend)
		var loss, norm, distance float64
		for step, w := range want {
			loss = max(loss, math.Abs(got[step]-w)/w)
		}
		for k, want := range parameters {
			for i, w := range want {
				norm += float64(w) * float64(w)
				distance += math.Pow(float64(trained[k][i])-float64(w), 2)
			}
		}
		off := math.Sqrt(distance / norm)
		if !(loss <= 1e-4 && off <= 1e-3) {
			t.Errorf("%s: losses are off by %.1e of them, parameters by %.1e of their norm; want 1e-4 and 1e-3", c.name, loss, off)
		}
		t.Logf("%s: 50 losses off by at most %.1e, parameters and averages by %.1e of their norm", c.name, loss, off)
	}
}

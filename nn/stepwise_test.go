package nn_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
	"github.com/gomlx/gomlx/ml/model"

	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/nn"
)

// The architecture on the host in float64, each row at its own step: y = ReLU(γ·(W·x + b)), and a dense layer; also with γ below 0, as they may become.
func TestStepwiseAgainstHost(t *testing.T) {
	e := oracle.Open(t)
	n := begin(nn.Stepwise{Scope: e.Scope("/u"), In: 6, Out: 2, Steps: 3, Width: 5, Depth: 2}, 1, 1, 0)
	randomize(t, e)
	x, steps := images(4, 6), []float32{2, 0, 2, 1}
	out := oracle.RunOn(t, e, func(in []*graph.Node) []*graph.Node { return []*graph.Node{n.Apply(in[1], in[0])} }, engine.Rows(x, 2, 3), steps)[0]
	for i, step := range steps {
		var h []float64
		for _, v := range x[i*6 : (i+1)*6] {
			h = append(h, float64(v))
		}
		for layer := range 2 {
			path := fmt.Sprintf("/u/hidden_%d", layer)
			y := dense(t, e, path, h)
			for k := range y {
				y[k] = max(0, y[k]*float64(value(t, e, path+"/step/weights")[int(step)*5+k]))
			}
			h = y
		}
		for k, want := range dense(t, e, "/u/out", h) {
			oracle.Near(t, fmt.Sprintf("row %d, output %d", i, k), out[i*2+k], want, 1e-5*(1+math.Abs(want)))
		}
	}
}

// It starts with weights of variance 2/(in + out) and γ uniform in (0, 1); a last layer of 0 makes it a constant. Gradients reach the γ of the step alone.
func TestStepwiseStart(t *testing.T) {
	e := oracle.Open(t)
	n := begin(nn.Stepwise{Scope: e.Scope("/u"), In: 300, Out: 1, Steps: 20, Width: 100, Depth: 1}, 1, 0, 0.25)
	var square, mean float64
	for _, w := range value(t, e, "/u/hidden_0/weights") {
		square += float64(w) * float64(w) / 30_000
	}
	for _, g := range value(t, e, "/u/hidden_0/step/weights") {
		mean += float64(g) / 2000
		if !(g > 0 && g < 1) {
			t.Fatalf("γ is %g", g)
		}
	}
	oracle.Near(t, "variance of the weights", square, 2./400, 4*2./400*math.Sqrt(2./30_000))
	oracle.Near(t, "mean of γ", mean, 0.5, 4*math.Sqrt(1./12/2000))
	x := images(2, 300)
	out := oracle.RunOn(t, e, func(in []*graph.Node) []*graph.Node { return []*graph.Node{n.Apply(in[1], in[0])} }, engine.Rows(x, 300), []float32{3, 3})[0]
	if out[0] != 0.25 || out[1] != 0.25 {
		t.Errorf("outputs %v, want 0.25", out)
	}
	v := e.Params.GetVariable("/u/out/weights")
	ones := make([]float32, 100)
	for i := range ones {
		ones[i] = 1
	}
	if err := v.SetValue(tensors.FromFlatDataAndDimensions(ones, 100, 1)); err != nil {
		t.Fatal(err)
	}
	gradient := oracle.RunOn(t, e, func(in []*graph.Node) []*graph.Node {
		return graph.Gradient(graph.ReduceAllSum(n.Apply(in[1], in[0])), engine.Parameter(e.Params.GetVariable("/u/hidden_0/step/weights"), in[0]))
	}, engine.Rows(x, 300), []float32{3, 3})[0]
	for i, g := range gradient {
		if i/100 != 3 && g != 0 {
			t.Fatalf("the gradient to γ of step %d is %g", i/100, g)
		}
	}
	moved := n.Within(func(*model.Scope) *model.Scope { return e.Scope("/elsewhere") })
	if len(n.Parameters()) != 5 || len(moved.Parameters()) != 0 {
		t.Errorf("%d parameters, elsewhere %d; want 5 and none", len(n.Parameters()), len(moved.Parameters()))
	}
}

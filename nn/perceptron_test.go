package nn_test

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/nn"
)

// The architecture on the host in float64, for images in two parts, each by itself: y = SiLU(W·x + b), from the second layer on added to x,
// and a dense layer; of which the probabilities of the classes are, and the most probable one.
func TestPerceptronAgainstHost(t *testing.T) {
	e := oracle.Open(t)
	p := begin(nn.Perceptron{Scope: e.Scope("/p"), In: 12, Out: 3, Width: 8, Depth: 2}, 1, 1, 0.25)
	randomize(t, e)
	x := images(4, 12)
	program, err := e.Compile(func(in []*graph.Node) []*graph.Node {
		left, right := graph.Slice(in[0], graph.AxisRange(), graph.AxisRange(0, 1)), graph.Slice(in[0], graph.AxisRange(), graph.AxisRange(1, 2))
		return []*graph.Node{p.Apply(nil, left, right), p.LogProbabilities(in[0])}
	})
	if err != nil {
		t.Fatal(err)
	}
	out, err := program.Run(engine.Rows(x, 2, 3, 2))
	if err != nil {
		t.Fatal(err)
	}
	scores, logP := tensors.MustCopyFlatData[float32](out[0]), tensors.MustCopyFlatData[float32](out[1])
	got, err := nn.Predict(t.Context(), e, p, x, 4, 3, 2, 3, 2)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 4 {
		var h []float64
		for _, v := range x[i*12 : (i+1)*12] {
			h = append(h, float64(v))
		}
		for layer := range 2 {
			y := dense(t, e, fmt.Sprintf("/p/hidden_%d", layer), h)
			for k := range y {
				y[k] /= 1 + math.Exp(-y[k])
				if layer > 0 {
					y[k] += h[k]
				}
			}
			h = y
		}
		want, sum := dense(t, e, "/p/out", h), 0.0
		for _, v := range want {
			sum += math.Exp(v)
		}
		for k, v := range want {
			oracle.Near(t, fmt.Sprintf("image %d, score %d", i, k), scores[i*3+k], v, 1e-5*(1+math.Abs(v)))
			oracle.Near(t, fmt.Sprintf("image %d, log p(%d)", i, k), logP[i*3+k], v-math.Log(sum), 1e-5*(1+math.Abs(v)))
		}
		if best := slices.Index(want, slices.Max(want)); got[i] != best {
			t.Errorf("image %d is of class %d, want %d", i, got[i], best)
		}
	}
	x[0] = float32(math.NaN())
	if got, err := nn.Predict(t.Context(), e, p, x, 4, 3, 2, 3, 2); err != nil || got[0] != -1 || got[1] < 0 {
		t.Errorf("an image that is no number has class %d, the next %d, %v", got[0], got[1], err)
	}
	if _, err := nn.Predict(t.Context(), e, p, x[:33], 3, 3, 11); err == nil {
		t.Error("images of 11 numbers: no error")
	}
}

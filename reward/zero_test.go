package reward_test

import (
	"slices"
	"testing"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/reward"
)

// Nothing is rewarded, on the host, in a graph, and on images; and there is no gradient.
func TestZero(t *testing.T) {
	host, err := reward.Evaluate(t.Context(), reward.Zero{}, points, nil, 4)
	if err != nil || !slices.Equal(host, make([]float64, 4)) {
		t.Errorf("rewards %v, %v", host, err)
	}
	for _, shape := range [][]int{{2}, {2, 1, 1}} {
		out := oracle.Run(t, "", func(in []*graph.Node) []*graph.Node {
			return []*graph.Node{reward.Zero{}.Graph(in[0]), reward.Gradient(reward.Zero{}, in[0], in[0])}
		}, engine.Rows(points, shape...))
		if !slices.Equal(out[0], make([]float32, 4)) || !slices.Equal(out[1], make([]float32, 8)) {
			t.Errorf("shape %v: rewards %v, gradient %v", shape, out[0], out[1])
		}
	}
}

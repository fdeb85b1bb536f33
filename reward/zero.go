package reward

import (
	"context"

	"github.com/gomlx/gomlx/core/graph"
)

// Zero is r = 0, with which the tilted law is that of the base model and nothing is to be learned.
type Zero struct{}

var _ Differentiable = Zero{}

// Rewards implements [Reward].
func (Zero) Rewards(_ context.Context, _ []float32, n int) ([]float64, error) {
	return make([]float64, n), nil
}

// Graph implements [Differentiable].
func (Zero) Graph(x *graph.Node) *graph.Node {
	axes := make([]int, x.Rank()-1)
	for i := range axes {
		axes[i] = i + 1
	}
	return graph.MulScalar(graph.ReduceSum(x, axes...), 0)
}

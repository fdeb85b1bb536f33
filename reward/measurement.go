package reward

import (
	"context"
	"fmt"
	"math"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/noise"
)

// Residual returns ‖Ax − y‖²/(nσ²) per image, n being the number of observed entries, for x [n, …] and y [n, …]; with y
// nil, Y stands for all. It is 1 ± √(2/n) where y was drawn from x, and near 1 for samples of the posterior: far above it
// they miss the measurement, below it they fit its noise.
func (r *Inverse) Residual(ctx context.Context, x, y []float32, n int) ([]float64, error) {
	var out []float64
	var err error
	if y == nil {
		out, err = r.Rewards(ctx, x, n)
	} else {
		out, err = r.RewardsGiven(ctx, x, y, n)
	}
	for i := range out {
		out[i] *= -2 / float64(r.count)
	}
	return out, err
}

// Measure draws y = Ax + σξ, [n, …], for x [n, …]. The noise of image i is that of path from+i of the key; what is not
// observed is 0.
func (r *Inverse) Measure(ctx context.Context, x []float32, from, n int, key noise.Key) ([]float32, error) {
	y, err := r.Apply(ctx, x, n)
	if err != nil {
		return nil, err
	}
	d := engine.Size(r.Shape)
	xi := make([]float32, d)
	for i := range n {
		key.Normal(xi, uint64(from+i), 0)
		for k, v := range xi {
			y[i*d+k] += float32(r.Sigma) * v * r.Observed[k]
		}
	}
	return y, nil
}

// Draw is Measure in a graph: y = Ax + σξ [batch, …] for x [batch, …] and ξ ~ N(0, I) [batch, …].
func (r *Inverse) Draw(x, xi *graph.Node) *graph.Node {
	if r.count < len(r.Observed) {
		xi = graph.Mul(xi, r.constant(x, r.Observed))
	}
	return graph.Add(r.Operator.Measure(x), graph.MulScalar(xi, r.Sigma))
}

// Norm returns ‖A‖², the largest eigenvalue of AAᵀ, by so many steps of the power method from a normal image: from below, and
// exactly for averages and masks, whose eigenvalues are all the same.
func (r *Inverse) Norm(ctx context.Context, steps int, key noise.Key) (float64, error) {
	program, err := r.engine.Compile(func(in []*graph.Node) []*graph.Node {
		return []*graph.Node{r.Operator.Adjoint(r.Operator.Measure(in[0]))}
	})
	if err != nil {
		return 0, fmt.Errorf("reward: %w", err)
	}
	x := make([]float32, engine.Size(r.Image))
	key.Normal(x, 0, 0)
	for range steps {
		scale := float32(1 / length(x))
		for i := range x {
			x[i] *= scale
		}
		if x, err = program.Map(ctx, x, 1, 1, r.Image...); err != nil {
			return 0, fmt.Errorf("reward: norm: %w", err)
		}
	}
	return length(x), nil // of AᵀA applied to a unit vector
}

func length(x []float32) float64 {
	var sum float64
	for _, v := range x {
		sum += float64(v) * float64(v)
	}
	return math.Sqrt(sum)
}

// Apply returns Ax [n, …] for x [n, …], on the host.
func (r *Inverse) Apply(ctx context.Context, x []float32, n int) ([]float32, error) {
	if len(x) != n*engine.Size(r.Image) {
		return nil, fmt.Errorf("reward: %d numbers for %d images of shape %v, want %d", len(x), n, r.Image, n*engine.Size(r.Image))
	}
	y, err := r.program.Map(ctx, x, n, r.Batch, r.Image...)
	if err != nil {
		return nil, fmt.Errorf("reward: measure: %w", err)
	}
	return y, nil
}

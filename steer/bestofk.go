package steer

import (
	"context"
	"math"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/reward"
)

// BestOfK simulates n·k paths and returns, of every k, the endpoint of highest reward: [n, dim] row-major.
func BestOfK(ctx context.Context, s *diffusion.Sampler, r reward.Reward, key noise.Key, n, k int) ([]float32, error) {
	paths, err := s.Run(ctx, key, 0, n*k, nil)
	if err != nil {
		return nil, err
	}
	rewards, err := reward.Evaluate(ctx, r, paths.X, paths.Given, n*k)
	if err != nil {
		return nil, err
	}
	return Best(paths, rewards, k), nil
}

// Best returns, of every k consecutive paths, the endpoint of highest reward, the first of equals: [N/k, dim] row-major. A reward that is
// NaN loses to any other.
func Best(paths diffusion.Paths, rewards []float64, k int) []float32 {
	n := paths.N / k
	out := make([]float32, 0, n*paths.Dim)
	for g := range n {
		best := g * k
		for i := best + 1; i < (g+1)*k; i++ {
			if rewards[i] > rewards[best] || math.IsNaN(rewards[best]) && !math.IsNaN(rewards[i]) {
				best = i
			}
		}
		out = append(out, paths.X[best*paths.Dim:(best+1)*paths.Dim]...)
	}
	return out
}

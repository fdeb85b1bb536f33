package reward_test

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/reward"
)

// A sum of black boxes and graphs is a black box of the weighted sum; of graphs alone it has their gradient.
func TestSum(t *testing.T) {
	e, ctx := oracle.Open(t), context.Background()
	square, err := reward.NewGraphed(e, []int{1}, 2, func(x *graph.Node) *graph.Node { return graph.ReduceSum(graph.Square(x), 1) })
	if err != nil {
		t.Fatal(err)
	}
	linear, err := reward.NewGraphed(e, []int{1}, 2, func(x *graph.Node) *graph.Node { return graph.ReduceSum(x, 1) })
	if err != nil {
		t.Fatal(err)
	}
	box := reward.Func(func(x []float32) float64 { return math.Exp(float64(x[0])) })
	x := []float32{-1, 0.5, 2}
	mixed, err := reward.NewSum(reward.Term{Weight: 2, Reward: square}, reward.Term{Weight: -0.5, Reward: box})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := mixed.(reward.Differentiable); ok {
		t.Error("a sum with a black box has a gradient")
	}
	got, err := mixed.Rewards(ctx, x, 3)
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range x {
		oracle.Near(t, "weighted sum", got[i], 2*float64(v)*float64(v)-0.5*math.Exp(float64(v)), 1e-6)
	}

	smooth, err := reward.NewSum(reward.Term{Weight: 2, Reward: square}, reward.Term{Weight: 3, Reward: linear})
	if err != nil {
		t.Fatal(err)
	}
	program, err := e.Compile(func(in []*graph.Node) []*graph.Node {
		return []*graph.Node{reward.Gradient(smooth.(reward.Differentiable), in[0], nil)}
	})
	if err != nil {
		t.Fatal(err)
	}
	gradient, err := program.Map(ctx, x, 3, 3, 1)
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range x {
		oracle.Near(t, "gradient", float64(gradient[i]), 4*float64(v)+3, 1e-5)
	}
}

// What one term forbids is forbidden, a term that is NaN is named, and conditional terms are refused.
func TestSumOfInvalid(t *testing.T) {
	ctx := context.Background()
	of := func(v float64) reward.Reward { return reward.Func(func([]float32) float64 { return v }) }
	s, err := reward.NewSum(reward.Term{Weight: 1, Reward: of(5)}, reward.Term{Weight: 1, Reward: of(math.Inf(-1))})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.Rewards(ctx, []float32{0}, 1); err != nil || !math.IsInf(got[0], -1) {
		t.Errorf("5 − ∞ is %v, %v", got, err)
	}
	s, err = reward.NewSum(reward.Term{Weight: 1, Reward: of(5)}, reward.Term{Weight: 1, Reward: of(math.NaN())})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Rewards(ctx, []float32{0}, 1); !errors.Is(err, reward.ErrInvalid) || !strings.Contains(err.Error(), "term 1") {
		t.Errorf("error %v, want ErrInvalid of term 1", err)
	}
	inverse, err := reward.NewInverse(oracle.Open(t), reward.Average{Factor: 1}, 1, []int{1, 1, 1}, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := reward.NewSum(reward.Term{Weight: 1, Reward: inverse}); err == nil {
		t.Error("a conditional term is accepted")
	}
}

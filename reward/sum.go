package reward

import (
	"context"
	"fmt"
	"math"

	"github.com/gomlx/gomlx/core/graph"
)

// Term is a part of a sum of rewards.
type Term struct {
	Weight float64
	Reward Reward
}

// NewSum returns the reward r = Σ w_i·r_i: the law tilted by several rewards at once. It is [Differentiable] if all of its terms are. Terms must not be
// [Conditional].
func NewSum(terms ...Term) (Reward, error) {
	differentiable := true
	for i, t := range terms {
		if _, ok := t.Reward.(Conditional); ok {
			return nil, fmt.Errorf("reward: term %d of a sum is conditional: want rewards that judge a sample by itself", i)
		}
		_, ok := t.Reward.(Differentiable)
		differentiable = differentiable && ok
	}
	if differentiable {
		return differentiableSum{terms}, nil
	}
	return sum(terms), nil
}

type sum []Term

type differentiableSum struct{ sum }

var (
	_ Reward         = sum(nil)
	_ Differentiable = differentiableSum{}
)

// Rewards implements [Reward]. A term of −∞ forbids the sample, whatever the others say; one that is otherwise not finite is an error, which
// wraps [ErrInvalid].
func (s sum) Rewards(ctx context.Context, x []float32, n int) ([]float64, error) {
	out := make([]float64, n)
	for i, t := range s {
		values, err := Evaluate(ctx, t.Reward, x, nil, n)
		if err != nil {
			return nil, fmt.Errorf("term %d: %w", i, err)
		}
		for j, v := range values {
			if math.IsInf(v, -1) { // also of a term with a negative weight, or none
				out[j] = v
			} else {
				out[j] += t.Weight * v
			}
		}
	}
	return out, nil
}

// Graph implements [Differentiable].
func (s differentiableSum) Graph(x *graph.Node) *graph.Node {
	var out *graph.Node
	for _, t := range s.sum {
		part := graph.MulScalar(t.Reward.(Differentiable).Graph(x), t.Weight)
		if out == nil {
			out = part
		} else {
			out = graph.Add(out, part)
		}
	}
	return out
}

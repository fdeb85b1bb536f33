package nn

import (
	"context"
	"fmt"
	"slices"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/engine"
)

// LogProbabilities returns log p(class | x), [batch, Out], for images x.
func (c CNN) LogProbabilities(x *graph.Node) *graph.Node {
	return graph.LogSoftmax(c.Apply(nil, x), -1)
}

// Trainer compiles the cross-entropy, with a learning rate that falls to zero over the steps. The inputs of a step are images
// [batch, height, width, In] and labels [batch], int32.
func (c CNN) Trainer(e *engine.Engine, s Training) (*Trainer, error) {
	trainer, err := NewTrainer(e, c.Parameters(), s.Optimizer, func(in []*graph.Node) *graph.Node {
		truth := graph.OneHot(in[1], c.Out, in[0].DType())
		return graph.Neg(graph.ReduceAllMean(graph.ReduceSum(graph.Mul(truth, c.LogProbabilities(in[0])), -1)))
	})
	if err != nil {
		return nil, err
	}
	trainer.Decay(0, s.Steps)
	return trainer, nil
}

// Predict returns the most probable class of every image in x [n, height, width, In], in batches of the given size; −1
// where the scores are not all numbers, as of an image that is not finite.
func (c CNN) Predict(ctx context.Context, e *engine.Engine, x []float32, n, batch, height, width int) ([]int, error) {
	program, err := e.Compile(func(in []*graph.Node) []*graph.Node { return []*graph.Node{c.LogProbabilities(in[0])} })
	if err != nil {
		return nil, err
	}
	scores, err := program.Map(ctx, x, n, batch, height, width, c.In)
	if err != nil {
		return nil, fmt.Errorf("nn: predict: %w", err)
	}
	out := make([]int, n)
	for i := range out {
		row := scores[i*c.Out : (i+1)*c.Out]
		out[i] = slices.Index(row, slices.Max(row))
	}
	return out, nil
}

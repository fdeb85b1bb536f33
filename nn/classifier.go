package nn

import (
	"context"
	"fmt"
	"slices"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/engine"
)

// Classifier is a network that says how probable each class of an image is.
type Classifier interface {
	Network
	// LogProbabilities returns log p(class | x), [batch, classes], for images x [batch, …].
	LogProbabilities(x *graph.Node) *graph.Node
}

var (
	_ Classifier = CNN{}
	_ Classifier = Perceptron{}
)

// NewClassifierTrainer compiles the cross-entropy, with a learning rate that falls to zero over the steps. The inputs of a step are images
// [batch, …] and labels [batch], int32.
func NewClassifierTrainer(e *engine.Engine, c Classifier, s Training) (*Trainer, error) {
	trainer, err := NewTrainer(e, c.Parameters(), s.Optimizer, func(in []*graph.Node) *graph.Node {
		logP := c.LogProbabilities(in[0])
		truth := graph.OneHot(in[1], logP.Shape().Dimensions[1], in[0].DType())
		return graph.Neg(graph.ReduceAllMean(graph.ReduceSum(graph.Mul(truth, logP), -1)))
	})
	if err != nil {
		return nil, err
	}
	trainer.Decay(0, s.Steps)
	return trainer, nil
}

// Predict returns the most probable class of every image in x [n, shape…], in batches of the given size; −1 where the scores are not all
// numbers, as of an image that is not finite.
func Predict(ctx context.Context, e *engine.Engine, c Classifier, x []float32, n, batch int, shape ...int) ([]int, error) {
	program, err := e.Compile(func(in []*graph.Node) []*graph.Node { return []*graph.Node{c.LogProbabilities(in[0])} })
	if err != nil {
		return nil, err
	}
	scores, err := program.Map(ctx, x, n, batch, shape...)
	if err != nil {
		return nil, fmt.Errorf("nn: predict: %w", err)
	}
	out := make([]int, n)
	for i := range out {
		classes := len(scores) / n
		row := scores[i*classes : (i+1)*classes]
		out[i] = slices.Index(row, slices.Max(row))
	}
	return out, nil
}

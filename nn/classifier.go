package nn

import (
	"context"
	"fmt"
	"slices"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/engine"
)

// Classifier predicts one of MLP.Out classes from flattened samples.
type Classifier struct{ MLP MLP }

// LogProbabilities returns log p(class | x), [batch, classes], for x [batch, …].
func (c Classifier) LogProbabilities(x *graph.Node) *graph.Node {
	flat := graph.Reshape(x, x.Shape().Dimensions[0], -1)
	return graph.LogSoftmax(c.MLP.Apply(flat, nil), -1)
}

// Classification are the settings of [Classifier.Fit].
type Classification struct {
	Steps     int       `yaml:"steps"`
	Batch     int       `yaml:"batch"`
	Optimizer Optimizer `yaml:",inline"`
}

// Fit minimises the cross-entropy over the parameters below path. Data fills rows [Batch, shape…] and labels for a
// step; observe, if not nil, is called after every step.
func (c Classifier) Fit(ctx context.Context, e *engine.Engine, path string, s Classification, shape []int,
	data func(rows []float32, labels []int32, step int), observe func(step int, loss float64)) error {
	options := s.Optimizer
	options.Decay = s.Steps
	trainer, err := NewTrainer(e, path, options, func(in []*graph.Node) *graph.Node {
		truth := graph.OneHot(in[1], c.MLP.Out, in[0].DType())
		return graph.Neg(graph.ReduceAllMean(graph.ReduceSum(graph.Mul(truth, c.LogProbabilities(in[0])), -1)))
	})
	if err != nil {
		return err
	}
	rows, labels := make([]float32, s.Batch*c.MLP.In), make([]int32, s.Batch)
	for step := range s.Steps {
		if err := ctx.Err(); err != nil {
			return err
		}
		data(rows, labels, step)
		loss, err := trainer.Step(engine.Rows(rows, shape...), labels)
		if err != nil {
			return err
		}
		if observe != nil {
			observe(step+1, loss)
		}
	}
	return nil
}

// Predict returns the most probable class of every sample in x [n, In], flat, in batches of the given size.
func (c Classifier) Predict(ctx context.Context, e *engine.Engine, x []float32, batch int) ([]int, error) {
	program, err := e.Compile(func(in []*graph.Node) []*graph.Node { return []*graph.Node{c.LogProbabilities(in[0])} })
	if err != nil {
		return nil, err
	}
	n, classes := len(x)/c.MLP.In, c.MLP.Out
	out := make([]int, n)
	rows, scores := make([]float32, batch*c.MLP.In), make([]float32, batch*classes)
	for lo := 0; lo < n; lo += batch {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		hi := min(lo+batch, n)
		copy(rows, x[lo*c.MLP.In:hi*c.MLP.In])
		result, err := program.Run(engine.Rows(rows, c.MLP.In))
		if err != nil {
			return nil, fmt.Errorf("nn: predict: %w", err)
		}
		if err := engine.Floats(scores, result[0]); err != nil {
			return nil, err
		}
		for i := lo; i < hi; i++ {
			row := scores[(i-lo)*classes : (i-lo+1)*classes]
			out[i] = slices.Index(row, slices.Max(row))
		}
	}
	return out, nil
}

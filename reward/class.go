package reward

import (
	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/engine"
)

// Classifier says how probable each class is.
type Classifier interface {
	// LogProbabilities returns log p(class | x), [batch, classes].
	LogProbabilities(x *graph.Node) *graph.Node
}

// NewClass returns the reward r(x) = scale · log Σ_{c∈classes} p(c | x) of a classifier, for samples of the given shape:
// the tilted law is then class-conditional sampling, sharpened by scale.
func NewClass(e *engine.Engine, c Classifier, classes []int, scale float64, shape []int, batch int) (*Graphed, error) {
	return NewGraphed(e, shape, batch, func(x *graph.Node) *graph.Node {
		logP := c.LogProbabilities(x)
		chosen := make([][]float64, logP.Shape().Dimensions[1]) // a product, since slices cannot be differentiated twice
		for class := range chosen {
			chosen[class] = make([]float64, len(classes))
		}
		for i, class := range classes {
			chosen[class][i] = 1
		}
		joint := graph.MatMul(logP, graph.ConstAs(logP, chosen))
		top := graph.StopGradient(graph.ReduceMax(joint, -1))
		sum := graph.ReduceSum(graph.Exp(graph.Sub(joint, graph.InsertAxes(top, -1))), -1)
		return graph.MulScalar(graph.Add(top, graph.Log(sum)), scale)
	})
}

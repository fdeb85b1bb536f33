package nn

import (
	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/ml/model"
)

// Field is a network whose result has the shape of a sample: a noise prediction, or a control.
type Field interface {
	// Field returns the network at several inputs of one shape [batch, …], as that shape. Times t are [batch] or [1].
	Field(t *graph.Node, inputs ...*graph.Node) *graph.Node
	// Within returns the same network with its parameters in another scope, such as that of their averages.
	Within(s *model.Scope) Field
}

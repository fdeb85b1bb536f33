package engine

import (
	"fmt"

	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/ml/model"
)

// Parameter returns the value of a variable, of any engine, in the graph of x. It panics if the graph uses another variable
// of the same path: a graph knows variables by their paths, and would take the one for the other.
func Parameter(v *model.Variable, x *graph.Node) *graph.Node {
	g := x.Graph()
	used, _ := g.State(parametersKey{}).(map[string]*model.Variable)
	if used == nil {
		used = map[string]*model.Variable{}
		g.AttachState(parametersKey{}, used)
	}
	if other, ok := used[v.Path()]; ok && other != v {
		panic(fmt.Errorf("engine: two parameters of one program have the path %s, in different engines: create one of the networks in another scope", v.Path()))
	}
	used[v.Path()] = v
	return v.NodeValue(g)
}

type parametersKey struct{}

package nn

import (
	"slices"
	"strings"

	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/ml/model"

	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/noise"
)

// Network is a function with parameters, described by its sizes and the scope of its parameters.
type Network interface {
	// Init creates the parameters and returns the network. The weights of the last layer are scaled by last and its bias is
	// equal to bias: with last = 0 the network starts as that constant. A parameter depends on key and path only.
	Init(key noise.Key, last, bias float64) Network
	// Apply returns the network at several inputs [batch, …] of one shape but for their channels. Times t are [batch] or [1];
	// nil for networks that take none. The result of a network of samples has the shape of the first input; that of a
	// classifier is [batch, classes].
	Apply(t *graph.Node, inputs ...*graph.Node) *graph.Node
	// Parameters returns the parameters, sorted by path.
	Parameters() []*model.Variable
	// Within returns the same network with its parameters in other scopes, such as those of their averages, see [Averages].
	Within(place func(*model.Scope) *model.Scope) Network
}

var (
	_ Network = MLP{}
	_ Network = UNet{}
	_ Network = CNN{}
	_ Network = Perceptron{}
	_ Network = Stepwise{}
)

// Averages returns the place of the moving averages that a [Trainer] of the engine makes of parameters.
func Averages(e *engine.Engine) func(*model.Scope) *model.Scope {
	return func(s *model.Scope) *model.Scope { return e.Scope(Averaged(s.Scope())) }
}

// Averaged returns the path of the averaged copy of a parameter or scope.
func Averaged(path string) string { return "/ema" + path }

// below returns the variables below a scope, sorted by path.
func below(s *model.Scope) []*model.Variable { return Sorted(slices.Collect(s.IterVariables())) }

// Sorted returns variables, each of them once, sorted by path.
func Sorted(variables []*model.Variable) []*model.Variable {
	out := slices.Clone(variables)
	slices.SortFunc(out, func(a, b *model.Variable) int { return strings.Compare(a.Path(), b.Path()) })
	return slices.Compact(out)
}

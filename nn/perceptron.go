package nn

import (
	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/ml/model"

	"github.com/doob-diffusion/doob/noise"
)

// Perceptron is a classifier of images that looks at all pixels at once: an [MLP] without convolutions, pooling or norms, that must learn
// where things may stand. Its faults are others than those of a [CNN].
type Perceptron struct {
	// Scope holds the parameters.
	Scope *model.Scope `yaml:"-" json:"-"`
	// In are the numbers in an image, Out the classes.
	In  int `yaml:"-" json:"-"`
	Out int `yaml:"-" json:"-"`
	// Width and Depth are the sizes of the hidden layers.
	Width int `yaml:"width"`
	Depth int `yaml:"depth"`
}

func (p Perceptron) mlp() MLP {
	return MLP{Scope: p.Scope, In: p.In, Out: p.Out, Width: p.Width, Depth: p.Depth}
}

// Init implements [Network], as that of an [MLP].
func (p Perceptron) Init(key noise.Key, last, bias float64) Network {
	p.mlp().Init(key, last, bias)
	return p
}

// Apply implements [Network]: it takes no times, and images [batch, …] of In numbers together, and returns what is the log probabilities
// of the classes but for a constant, [batch, Out].
func (p Perceptron) Apply(_ *graph.Node, images ...*graph.Node) *graph.Node {
	return p.mlp().Dense(nil, flattened(images))
}

// Parameters implements [Network].
func (p Perceptron) Parameters() []*model.Variable { return below(p.Scope) }

// Within implements [Network].
func (p Perceptron) Within(place func(*model.Scope) *model.Scope) Network {
	p.Scope = place(p.Scope)
	return p
}

// LogProbabilities implements [Classifier].
func (p Perceptron) LogProbabilities(x *graph.Node) *graph.Node {
	return graph.LogSoftmax(p.Apply(nil, x), -1)
}

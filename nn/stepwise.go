package nn

import (
	"math"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
	"github.com/gomlx/gomlx/ml/model"

	"github.com/doob-diffusion/doob/noise"
)

// Stepwise is a perceptron that knows which step of a chain it looks at: every hidden layer is multiplied by a vector that is learned for the step,
//
//	y = ReLU(γ_step ∘ (Wx + b))
//
// DPOK's value network (Fan et al. 2023) is one. It is for chains of few steps, each at its own time.
type Stepwise struct {
	// Scope holds the parameters.
	Scope *model.Scope `yaml:"-" json:"-"`
	// In are the numbers of all inputs, Out those of the output, Steps those of the chain.
	In    int `yaml:"-" json:"-"`
	Out   int `yaml:"-" json:"-"`
	Steps int `yaml:"-" json:"-"`
	// Width and Depth are the sizes of the hidden layers.
	Width int `yaml:"width"`
	Depth int `yaml:"depth"`
}

// Init implements [Network]: weights N(0, 2/(fan-in + fan-out)) (Glorot & Bengio 2010), biases zero but for the last layer, γ from U(0, 1).
func (n Stepwise) Init(key noise.Key, last, bias float64) Network {
	in := n.In
	layer := func(s *model.Scope, out int, scale, bias float64) {
		dense(s, key, in, out, scale*math.Sqrt(2*float64(in)/float64(in+out)), bias)
		in = out
	}
	for i := range n.Depth {
		s := n.Scope.At("hidden_%d", i)
		layer(s, n.Width, 1, 0)
		gamma := make([]float32, n.Steps*n.Width)
		for j := range gamma {
			gamma[j] = float32(key.Sub(s.At("step").Scope()).Uniform(uint64(j), 0))
		}
		s.At("step").VariableWithValue("weights", tensors.FromFlatDataAndDimensions(gamma, n.Steps, n.Width))
	}
	layer(n.Scope.At("out"), n.Out, last, bias)
	return n
}

// Apply implements [Network]: in place of times it takes the numbers of steps [batch], from 0, and returns [batch, Out].
func (n Stepwise) Apply(steps *graph.Node, inputs ...*graph.Node) *graph.Node {
	x := flattened(inputs)
	one := graph.OneHot(graph.ConvertDType(steps, dtypes.Int32), n.Steps, x.DType())
	for i := range n.Depth {
		s := n.Scope.At("hidden_%d", i)
		gamma := graph.MatMul(one, parameter(s.At("step"), "weights", x))
		x = graph.MaxScalar(graph.Mul(gamma, affine(s, x)), 0)
	}
	return affine(n.Scope.At("out"), x)
}

// Parameters implements [Network].
func (n Stepwise) Parameters() []*model.Variable { return below(n.Scope) }

// Within implements [Network].
func (n Stepwise) Within(place func(*model.Scope) *model.Scope) Network {
	n.Scope = place(n.Scope)
	return n
}

// Package nn holds the networks: multi-layer perceptrons, U-Nets, and the trainer that fits their parameters.
//
// Parameters live in a [model.Scope] under stable names ("hidden_0/weights"), are created once from a noise key, and do
// not depend on the order in which networks are made.
package nn

import (
	"fmt"
	"math"

	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
	"github.com/gomlx/gomlx/ml/model"

	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/op"
)

// TimeFeatures is the size of the sinusoidal embedding of t that enters every hidden layer of a timed network.
const TimeFeatures = 32

// MLP is a perceptron with SiLU hidden layers and residual connections between layers of equal width. With Timed set,
// a learned projection of the sinusoidal embedding of t is added before every activation.
type MLP struct {
	// Scope holds the parameters.
	Scope *model.Scope `yaml:"-" json:"-"`
	// In and Out are the sizes of input and output.
	In  int `yaml:"-" json:"-"`
	Out int `yaml:"-" json:"-"`
	// Width and Depth are the sizes of the hidden layers.
	Width int `yaml:"width"`
	Depth int `yaml:"depth"`
	// Octaves is the number of frequencies π/4, π/2, π, … at which sines and cosines of every input join the inputs, for
	// functions with fine structure in few dimensions (Tancik et al. 2020). 0 adds none.
	Octaves int `yaml:"octaves"`
	// Timed says that the network takes times.
	Timed bool `yaml:"-" json:"-"`
}

// Init implements [Network]: weights N(0, 1/fan-in), biases zero, but for the last layer.
func (m MLP) Init(key noise.Key, last, bias float64) Network {
	in := m.In * (1 + 2*m.Octaves)
	for i := range m.Depth {
		s := m.Scope.At("hidden_%d", i)
		dense(s, key, in, m.Width, 1, 0)
		if m.Timed {
			dense(s.At("time"), key, TimeFeatures, m.Width, 1, 0)
		}
		in = m.Width
	}
	dense(m.Scope.At("out"), key, in, m.Out, last, bias)
	return m
}

// At returns the same network with its parameters in another scope, such as that of their averages.
func (m MLP) At(s *model.Scope) MLP {
	m.Scope = s
	return m
}

// Dense returns the network at x [batch, In], as [batch, Out]. Times t are [batch] or [1]; nil unless Timed.
func (m MLP) Dense(t, x *graph.Node) *graph.Node {
	return affine(m.Scope.At("out"), m.Features(t, x))
}

// Apply implements [Network]: In counts the numbers of all inputs, Out those of the first.
func (m MLP) Apply(t *graph.Node, inputs ...*graph.Node) *graph.Node {
	return graph.Reshape(m.Dense(t, flattened(inputs)), inputs[0].Shape().Dimensions...)
}

// flattened returns inputs [batch, …] as one, [batch, numbers].
func flattened(inputs []*graph.Node) *graph.Node {
	flat := make([]*graph.Node, len(inputs))
	for i, in := range inputs {
		flat[i] = graph.Reshape(in, in.Shape().Dimensions[0], -1)
	}
	return graph.Concatenate(flat, -1)
}

// Parameters implements [Network].
func (m MLP) Parameters() []*model.Variable { return below(m.Scope) }

// Within implements [Network].
func (m MLP) Within(place func(*model.Scope) *model.Scope) Network { return m.At(place(m.Scope)) }

// Features returns the last hidden layer [batch, Width].
func (m MLP) Features(t, x *graph.Node) *graph.Node {
	x = octaves(x, m.Octaves)
	var embedding *graph.Node
	if m.Timed {
		embedding = op.Sinusoids(t, TimeFeatures)
	}
	for i := range m.Depth {
		s := m.Scope.At("hidden_%d", i)
		y := affine(s, x)
		if m.Timed {
			y = graph.Add(y, affine(s.At("time"), embedding))
		}
		y = op.SiLU(y)
		if i > 0 {
			y = graph.Add(x, y)
		}
		x = y
	}
	return x
}

// octaves returns x [batch, n] with the sines and cosines of π/4·2ᵏ·x for k below count, [batch, n·(1+2·count)].
func octaves(x *graph.Node, count int) *graph.Node {
	parts := []*graph.Node{x}
	for k := range count {
		phase := graph.MulScalar(x, math.Pi/4*math.Pow(2, float64(k)))
		parts = append(parts, graph.Sin(phase), graph.Cos(phase))
	}
	return graph.Concatenate(parts, -1)
}

// dense creates the weights [in, out], N(0, scale²/in), and the bias [out] of a layer.
func dense(s *model.Scope, key noise.Key, in, out int, scale, bias float64) {
	normal(s, key, scale, in, out)
	constant(s, "bias", bias, out)
}

// normal creates weights of the given dimensions, the last one being that of the outputs: N(0, scale²/fan-in).
func normal(s *model.Scope, key noise.Key, scale float64, dims ...int) {
	fanIn := 1
	for _, d := range dims[:len(dims)-1] {
		fanIn *= d
	}
	w := make([]float32, fanIn*dims[len(dims)-1])
	key.Sub(s.Scope()).Normal(w, 0, 0)
	for i := range w {
		w[i] *= float32(scale / math.Sqrt(float64(fanIn)))
	}
	s.VariableWithValue("weights", tensors.FromFlatDataAndDimensions(w, dims...))
}

func constant(s *model.Scope, name string, value float64, size int) {
	s.VariableWithValue(name, tensors.FromScalarAndDimensions(float32(value), size))
}

func affine(s *model.Scope, x *graph.Node) *graph.Node {
	return graph.Add(graph.MatMul(x, parameter(s, "weights", x)), graph.InsertAxes(parameter(s, "bias", x), 0))
}

// parameter returns a parameter's node, in the precision of x.
func parameter(s *model.Scope, name string, x *graph.Node) *graph.Node {
	v := s.GetVariable(name)
	if v == nil {
		panic(fmt.Errorf("nn: no parameter %q: Init has not run, or the checkpoint holds another architecture", model.JoinPath(s.Scope(), name)))
	}
	return graph.ConvertDType(engine.Parameter(v, x), x.DType())
}

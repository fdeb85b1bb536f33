package nn

import (
	"fmt"

	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/ml/model"

	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/op"
)

// CNN is a small convolutional classifier of images. Five 3×3 convolutions with strides 1, 2, 1, 2, 1 take an image to a
// quarter of its size; the first has Width channels, the others 2·Width. SiLU follows each, after group normalisation in
// groups of 8 channels, except that the last has no norm: it would take away much of the mean over what is left, and
// training would start far more slowly. That mean is the features, and one dense layer above it the result.
//
// With the default width it has 131 thousand parameters for 10 classes, and an image of 28×28×1 takes 15 million products.
type CNN struct {
	// Scope holds the parameters.
	Scope *model.Scope `yaml:"-" json:"-"`
	// In are the channels of the images, Out the classes.
	In  int `yaml:"-" json:"-"`
	Out int `yaml:"-" json:"-"`
	// Width is that of the first layer, a multiple of 8; 0 means 32.
	Width int `yaml:"width"`
}

// cnnStrides are the strides of the convolutions.
var cnnStrides = [5]int{1, 2, 1, 2, 1}

// normalised reports whether convolution i has a norm after it.
func normalised(i int) bool { return i < len(cnnStrides)-1 }

// Init implements [Network]: weights N(0, 1/fan-in), biases zero, but for the last layer.
func (c CNN) Init(key noise.Key, last, bias float64) Network {
	c.check()
	in := c.In
	for i := range cnnStrides {
		s, out := c.Scope.At("conv_%d", i), c.channels(i)
		normal(s, key, 1, 3, 3, in, out)
		constant(s, "bias", 0, out)
		if normalised(i) {
			n := c.Scope.At("norm_%d", i)
			constant(n, "scale", 1, out)
			constant(n, "bias", 0, out)
		}
		in = out
	}
	dense(c.Scope.At("out"), key, in, c.Out, last, bias)
	return c
}

// At returns the same network with its parameters in another scope, such as that of their averages.
func (c CNN) At(s *model.Scope) CNN {
	c.Scope = s
	return c
}

// Apply implements [Network]: it takes no times, and images [batch, height, width, …] of In channels together, and returns
// what is the log probabilities of the classes but for a constant, [batch, Out].
func (c CNN) Apply(_ *graph.Node, images ...*graph.Node) *graph.Node {
	return affine(c.Scope.At("out"), c.Features(graph.Concatenate(images, -1)))
}

// Parameters implements [Network].
func (c CNN) Parameters() []*model.Variable { return below(c.Scope) }

// Within implements [Network].
func (c CNN) Within(place func(*model.Scope) *model.Scope) Network { return c.At(place(c.Scope)) }

// LogProbabilities implements [Classifier].
func (c CNN) LogProbabilities(x *graph.Node) *graph.Node {
	return graph.LogSoftmax(c.Apply(nil, x), -1)
}

// Features returns what the last layer sees of x [batch, height, width, In], [batch, FeatureSize]: the features for a Fréchet distance.
func (c CNN) Features(x *graph.Node) *graph.Node {
	c.check()
	if x.Rank() != 4 || x.Shape().Dimensions[3] != c.In {
		panic(fmt.Errorf("nn: CNN of x %s: want [batch, height, width, %d]", x.Shape(), c.In))
	}
	for i, stride := range cnnStrides {
		x = conv(c.Scope.At("conv_%d", i), x, stride)
		if !normalised(i) {
			x = op.SiLU(x)
			continue
		}
		const epsilon = 1e-5
		n := c.Scope.At("norm_%d", i)
		x = op.GroupNorm(x, parameter(n, "scale", x), parameter(n, "bias", x), c.channels(i)/8, epsilon, true)
	}
	return graph.ReduceMean(x, 1, 2)
}

// FeatureSize is the number of features of an image.
func (c CNN) FeatureSize() int { return c.channels(len(cnnStrides) - 1) }

// channels returns those of convolution i.
func (c CNN) channels(i int) int {
	width := c.Width
	if width == 0 {
		width = 32
	}
	if i > 0 {
		width *= 2
	}
	return width
}

// check panics if the settings make no network.
func (c CNN) check() {
	if c.In < 1 || c.Out < 1 || c.Width < 0 || c.Width%8 != 0 {
		panic(fmt.Errorf("nn: CNN with In %d, Out %d, Width %d: want positive numbers, the width a multiple of 8", c.In, c.Out, c.Width))
	}
}

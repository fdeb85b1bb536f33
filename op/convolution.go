package op

import (
	"fmt"
	"slices"

	"github.com/gomlx/gomlx/core/graph"
)

// Padding is the number of zeros before and after the rows, and before and after the columns, of an image.
type Padding [2][2]int

// Same is the padding with which a convolution of stride 1 and an odd kernel keeps the size of the image.
func Same(kernel int) Padding {
	p := [2]int{kernel / 2, kernel / 2}
	return Padding{p, p}
}

// Conv returns the convolution (in the sense of networks: correlation) of x [batch, height, width, in] with weights
// [rows, columns, in, out], plus a bias [out] that may be nil:
//
//	y[b, i, j, o] = bias[o] + Σ x[b, stride·i + r − top, stride·j + c − left, k]·weights[r, c, k, o]
//
// x is zero outside of the image. y has ⌊(height + top + bottom − rows)/stride⌋ + 1 rows, and columns likewise.
func Conv(x, weights, bias *graph.Node, stride int, padding Padding) *graph.Node {
	if x.Rank() != 4 || weights.Rank() != 4 || x.Shape().Dimensions[3] != weights.Shape().Dimensions[2] {
		panic(fmt.Errorf("op: convolution of x %s with weights %s: want [batch, height, width, in] and [rows, columns, in, out]",
			x.Shape(), weights.Shape()))
	}
	if p := slices.Concat(padding[0][:], padding[1][:]); stride < 1 || slices.Min(p) < 0 {
		panic(fmt.Errorf("op: convolution with stride %d and padding %v: want a positive stride, no negative padding", stride, p))
	}
	c := convolution{stride, padding}
	y := function{
		name: name("convolution", "s", stride, "t", padding[0][0], "b", padding[0][1], "l", padding[1][0], "r", padding[1][1]),
		body: c.forward,
		// GoMLX's gradient with respect to x is wrong for even kernels.
		gradient: func(in []*graph.Node, _, dy *graph.Node) []*graph.Node {
			return []*graph.Node{c.gradientX(dy, in[0], in[1]), c.gradientWeights(dy, in[0], in[1])}
		},
	}.call(x, weights)[0]
	if bias == nil {
		return y
	}
	return graph.Add(y, graph.Reshape(bias, 1, 1, 1, -1))
}

type convolution struct {
	stride  int
	padding Padding
}

func (c convolution) forward(in []*graph.Node) []*graph.Node {
	return []*graph.Node{graph.ConvGeneral(in[0], in[1], graph.ConvolveAxesConfig{
		InputBatch: 0, InputSpatial: []int{1, 2}, InputChannels: 3,
		KernelSpatial: []int{0, 1}, KernelInputChannels: 2, KernelOutputChannels: 3,
		OutputBatch: 0, OutputSpatial: []int{1, 2}, OutputChannels: 3,
	}, c.strides(), c.padding[:], nil, nil, 1, 1)}
}

// gradientX convolves dy, with stride−1 zeros between its pixels, with the reversed kernel, whose channels swap roles.
func (c convolution) gradientX(dy, x, weights *graph.Node) *graph.Node {
	n, k, o := x.Shape().Dimensions[1:3], weights.Shape().Dimensions[:2], dy.Shape().Dimensions[1:3]
	var padding Padding
	for i := range padding {
		before := k[i] - 1 - c.padding[i][0]
		padding[i] = [2]int{before, n[i] - 1 + k[i] - before - ((o[i]-1)*c.stride + 1)}
	}
	return graph.ConvGeneral(dy, graph.Reverse(weights, 0, 1), graph.ConvolveAxesConfig{
		InputBatch: 0, InputSpatial: []int{1, 2}, InputChannels: 3,
		KernelSpatial: []int{0, 1}, KernelInputChannels: 3, KernelOutputChannels: 2,
		OutputBatch: 0, OutputSpatial: []int{1, 2}, OutputChannels: 3,
	}, nil, padding[:], c.strides(), nil, 1, 1)
}

// gradientWeights convolves x with dy, whose pixels are stride apart, summing over images as over channels. Pixels of x
// that no window reached are cut off by a negative padding.
func (c convolution) gradientWeights(dy, x, weights *graph.Node) *graph.Node {
	n, k, o := x.Shape().Dimensions[1:3], weights.Shape().Dimensions[:2], dy.Shape().Dimensions[1:3]
	var padding Padding
	for i := range padding {
		before := c.padding[i][0]
		padding[i] = [2]int{before, k[i] - 1 + ((o[i]-1)*c.stride + 1) - n[i] - before}
	}
	return graph.ConvGeneral(x, dy, graph.ConvolveAxesConfig{
		InputBatch: 3, InputSpatial: []int{1, 2}, InputChannels: 0,
		KernelSpatial: []int{1, 2}, KernelInputChannels: 0, KernelOutputChannels: 3,
		OutputBatch: 2, OutputSpatial: []int{0, 1}, OutputChannels: 3,
	}, nil, padding[:], nil, c.strides(), 1, 1)
}

// strides returns the stride of every axis, nil for 1.
func (c convolution) strides() []int {
	if c.stride == 1 {
		return nil
	}
	return []int{c.stride, c.stride}
}

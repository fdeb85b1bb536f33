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
	y := convolution{stride, padding}.of(x, weights)
	if bias == nil {
		return y
	}
	return graph.Add(y, graph.Reshape(bias, 1, 1, 1, -1))
}

// convolution is bilinear, and so its gradients are each other's: with y = C(x, w), ⟨dy, C(x, w)⟩ is ⟨X(dy, w), x⟩ and ⟨W(dy, x), w⟩.
// GoMLX's gradient with respect to x is wrong for even kernels, and it has none of a gradient.
type convolution struct {
	stride  int
	padding Padding
}

// of returns C(x, w).
func (c convolution) of(x, w *graph.Node) *graph.Node {
	return function{name: c.name("convolution"), body: c.forward, gradient: func(in []*graph.Node, _, dy *graph.Node) []*graph.Node {
		return []*graph.Node{c.toX(dy, in[1], in[0]), c.toWeights(dy, in[0], in[1])}
	}}.call(x, w)[0]
}

// toX returns X(dy, w), shaped like x.
func (c convolution) toX(dy, w, x *graph.Node) *graph.Node {
	size := [2]int(x.Shape().Dimensions[1:3])
	return function{name: c.name("convolution_grad_x", "h", size[0], "w", size[1]), body: func(in []*graph.Node) []*graph.Node {
		return []*graph.Node{c.gradientX(in[0], in[1], size)}
	}, gradient: func(in []*graph.Node, _, dx *graph.Node) []*graph.Node {
		return []*graph.Node{c.of(dx, in[1]), c.toWeights(in[0], dx, in[1])}
	}}.call(dy, w)[0]
}

// toWeights returns W(dy, x), shaped like w.
func (c convolution) toWeights(dy, x, w *graph.Node) *graph.Node {
	kernel := [2]int(w.Shape().Dimensions[:2])
	return function{name: c.name("convolution_grad_w", "h", kernel[0], "w", kernel[1]), body: func(in []*graph.Node) []*graph.Node {
		return []*graph.Node{c.gradientWeights(in[0], in[1], kernel)}
	}, gradient: func(in []*graph.Node, _, dw *graph.Node) []*graph.Node {
		return []*graph.Node{c.of(in[1], dw), c.toX(in[0], dw, in[1])}
	}}.call(dy, x)[0]
}

func (c convolution) name(op string, more ...any) string {
	return name(op, append([]any{"s", c.stride, "t", c.padding[0][0], "b", c.padding[0][1], "l", c.padding[1][0], "r", c.padding[1][1]}, more...)...)
}

func (c convolution) forward(in []*graph.Node) []*graph.Node {
	return []*graph.Node{graph.ConvGeneral(in[0], in[1], graph.ConvolveAxesConfig{
		InputBatch: 0, InputSpatial: []int{1, 2}, InputChannels: 3,
		KernelSpatial: []int{0, 1}, KernelInputChannels: 2, KernelOutputChannels: 3,
		OutputBatch: 0, OutputSpatial: []int{1, 2}, OutputChannels: 3,
	}, c.strides(), c.padding[:], nil, nil, 1, 1)}
}

// gradientX convolves dy, with stride−1 zeros between its pixels, with the reversed kernel, whose channels swap roles.
func (c convolution) gradientX(dy, weights *graph.Node, n [2]int) *graph.Node {
	k, o := weights.Shape().Dimensions[:2], dy.Shape().Dimensions[1:3]
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
func (c convolution) gradientWeights(dy, x *graph.Node, k [2]int) *graph.Node {
	n, o := x.Shape().Dimensions[1:3], dy.Shape().Dimensions[1:3]
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

package reward

import (
	"fmt"

	"github.com/gomlx/gomlx/core/graph"
)

// Average measures the means of blocks of Factor×Factor pixels, the super-resolution of the paper's C.2 with Factor 2.
// Factor is required and divides both sides.
type Average struct{ Factor int }

var _ Operator = Average{}

// Measure implements [Operator]: [batch, height, width, channels] → [batch, height/Factor, width/Factor, channels].
func (a Average) Measure(x *graph.Node) *graph.Node {
	d, f := x.Shape().Dimensions, a.Factor
	blocks := graph.Reshape(x, d[0], d[1]/f, f, d[2]/f, f, d[3])
	return graph.MulScalar(graph.ReduceSum(blocks, 2, 4), 1/float64(f*f))
}

// Adjoint implements [Operator]: every pixel of a block gets its entry over Factor².
func (a Average) Adjoint(y *graph.Node) *graph.Node {
	d, f := y.Shape().Dimensions, a.Factor
	blocks := graph.Reshape(graph.MulScalar(y, 1/float64(f*f)), d[0], d[1], 1, d[2], 1, d[3])
	return graph.Reshape(graph.BroadcastToDims(blocks, d[0], d[1], f, d[2], f, d[3]), d[0], d[1]*f, d[2]*f, d[3])
}

// Shape implements [Operator].
func (a Average) Shape(image []int) ([]int, error) {
	if err := checkImage("average", image); err != nil {
		return nil, err
	}
	if a.Factor < 1 || image[0]%a.Factor != 0 || image[1]%a.Factor != 0 {
		return nil, fmt.Errorf("reward: average of blocks of %d×%d: the factor must be positive and divide both sides of the images, which are %d×%d",
			a.Factor, a.Factor, image[0], image[1])
	}
	return []int{image[0] / a.Factor, image[1] / a.Factor, image[2]}, nil
}

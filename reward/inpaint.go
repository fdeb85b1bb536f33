package reward

import (
	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/engine"
)

// Inpaint measures an image but for a hole in its middle, half as high and half as wide (rounded down). A measurement has
// the shape of the image and is 0 in the hole, where it is not observed.
type Inpaint struct{}

var _ Operator = Inpaint{}

// Measure implements [Operator], the shape stays.
func (Inpaint) Measure(x *graph.Node) *graph.Node {
	height, width := x.Shape().Dimensions[1], x.Shape().Dimensions[2]
	mask := make([]float32, height*width)
	top, left := (height-height/2)/2, (width-width/2)/2
	for i := range height {
		for j := range width {
			if i < top || i >= top+height/2 || j < left || j >= left+width/2 {
				mask[i*width+j] = 1
			}
		}
	}
	seen := graph.ConstTensor(x.Graph(), engine.Rows(mask, height, width, 1))
	return graph.Mul(x, graph.ConvertDType(seen, x.DType()))
}

// Adjoint implements [Operator]: a mask is its own adjoint.
func (a Inpaint) Adjoint(y *graph.Node) *graph.Node { return a.Measure(y) }

// Shape implements [Operator].
func (Inpaint) Shape(image []int) ([]int, error) {
	if err := checkImage("inpaint", image); err != nil {
		return nil, err
	}
	return []int{image[0], image[1], image[2]}, nil
}

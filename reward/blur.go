package reward

import (
	"fmt"
	"math"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/engine"
)

// Blur measures the image under a Gaussian blur, Ax = K x Kᵀ per channel with
//
//	K_ij = exp(−(i−j)²/2SD²) / Σ_k exp(−(i−k)²/2SD²):
//
// the weights are renormalised at the border, so a constant image stays what it is. The shape stays. SD is required, in
// pixels. The two matrices are dense: at these sizes that costs less than it would to cut them off.
type Blur struct{ SD float64 }

var _ Operator = Blur{}

// Measure implements [Operator].
func (a Blur) Measure(x *graph.Node) *graph.Node {
	rows := graph.Einsum("ih,bhwc->biwc", a.kernel(x, 1), x)
	return graph.Einsum("jw,biwc->bijc", a.kernel(x, 2), rows)
}

// Adjoint implements [Operator]: Aᵀy = Kᵀ y K.
func (a Blur) Adjoint(y *graph.Node) *graph.Node {
	rows := graph.Einsum("ih,biwc->bhwc", a.kernel(y, 1), y)
	return graph.Einsum("jw,bhjc->bhwc", a.kernel(y, 2), rows)
}

// kernel returns K [n, n] for an axis of x of n pixels.
func (a Blur) kernel(x *graph.Node, axis int) *graph.Node {
	n := x.Shape().Dimensions[axis]
	k := make([]float32, n*n)
	row := make([]float64, n)
	for i := range n {
		var sum float64
		for j := range row {
			d := float64(i-j) / a.SD
			row[j] = math.Exp(-d * d / 2)
			sum += row[j]
		}
		for j, v := range row {
			k[i*n+j] = float32(v / sum)
		}
	}
	return graph.ConvertDType(graph.ConstTensor(x.Graph(), engine.Rows(k, n)), x.DType())
}

// Shape implements [Operator].
func (a Blur) Shape(image []int) ([]int, error) {
	if err := checkImage("blur", image); err != nil {
		return nil, err
	}
	if !(a.SD > 0) || math.IsInf(a.SD, 1) {
		return nil, fmt.Errorf("reward: blur: the standard deviation is %g pixels, want a positive number", a.SD)
	}
	return []int{image[0], image[1], image[2]}, nil
}

package op

import (
	"fmt"

	"github.com/gomlx/gomlx/core/graph"
)

// LayerNorm normalises x [..., width] over its last axis (Ba et al. 2016):
//
//	y = (x − mean x)/√(var x + ε)·scale + bias
//
// with the biased variance; scale and bias are [width].
func LayerNorm(x, scale, bias *graph.Node, epsilon float64) *graph.Node {
	if width := x.Shape().Dimensions[x.Rank()-1]; scale.Rank() != 1 || scale.Shape().Size() != width || !scale.Shape().Equal(bias.Shape()) {
		panic(fmt.Errorf("op: layer norm of %s with scale %s and bias %s: want [%d] for both", x.Shape(), scale.Shape(), bias.Shape(), width))
	}
	n := layerNorm{epsilon}
	return function{
		name: name("layer_norm", "e", epsilon),
		body: func(in []*graph.Node) []*graph.Node {
			unit, _ := n.unit(in[0])
			return []*graph.Node{graph.Add(graph.Mul(unit, n.coefficient(in[1], in[0])), n.coefficient(in[2], in[0]))}
		},
		gradient: func(in []*graph.Node, _, dy *graph.Node) []*graph.Node {
			return function{name: name("layer_norm_grad", "e", epsilon), body: n.backward}.call(dy, in[0], in[1])
		},
	}.call(x, scale, bias)[0]
}

type layerNorm struct{ epsilon float64 }

// unit returns (x − mean x)/√(var x + ε), and the reciprocal of that root.
func (n layerNorm) unit(x *graph.Node) (unit, inverse *graph.Node) {
	x = graph.Sub(x, n.mean(x))
	inverse = graph.Div(number(x, 1), graph.Sqrt(graph.Add(n.mean(graph.Mul(x, x)), number(x, n.epsilon))))
	return graph.Mul(x, inverse), inverse
}

// backward takes dy, x, scale and returns dx, dscale, dbias. With u = unit x and means over the last axis,
//
//	dbias = Σ dy,   dscale = Σ dy·u,   du = dy·scale,   dx = (du − mean du − u·mean(du·u))/√(var x + ε)
func (n layerNorm) backward(in []*graph.Node) []*graph.Node {
	dy, x, scale := in[0], in[1], in[2]
	unit, inverse := n.unit(x)
	du := graph.Mul(dy, n.coefficient(scale, x))
	dx := graph.Mul(inverse, graph.Sub(graph.Sub(du, n.mean(du)), graph.Mul(unit, n.mean(graph.Mul(du, unit)))))
	total := func(v *graph.Node) *graph.Node {
		return graph.ReduceSum(graph.Reshape(v, -1, scale.Shape().Dimensions[0]), 0)
	}
	return []*graph.Node{dx, total(graph.Mul(dy, unit)), total(dy)}
}

func (n layerNorm) mean(x *graph.Node) *graph.Node {
	d := x.Shape().Dimensions
	return graph.Mul(sum(x, -1), number(x, 1/float64(d[len(d)-1])))
}

// coefficient returns v [width] with the rank of x.
func (n layerNorm) coefficient(v, x *graph.Node) *graph.Node {
	d := make([]int, x.Rank())
	for i := range d {
		d[i] = 1
	}
	d[len(d)-1] = v.Shape().Dimensions[0]
	return graph.Reshape(v, d...)
}

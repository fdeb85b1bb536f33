package op

import (
	"fmt"
	"math"

	"github.com/gomlx/gomlx/core/graph"
)

// GELU returns x·Φ(x), elementwise, Φ being the distribution function of the standard normal law (Hendrycks & Gimpel 2016): the
// exact one, by the error function.
func GELU(x *graph.Node) *graph.Node { return elementwise("gelu", gelu, geluSlope, x) }

// QuickGELU returns x·σ(1.702·x), elementwise: the approximation of [GELU] with which OpenAI trained CLIP.
func QuickGELU(x *graph.Node) *graph.Node {
	return elementwise("quick_gelu", quickGELU, quickGELUSlope, x)
}

// GEGLU returns value·GELU(gate) [..., width] of x [..., 2·width], which has the values first and then the gates (Shazeer 2020).
func GEGLU(x *graph.Node) *graph.Node {
	if n := x.Shape().Dimensions[x.Rank()-1]; n%2 != 0 {
		panic(fmt.Errorf("op: GEGLU of %s: want an even last axis, of values and gates", x.Shape()))
	}
	return function{
		name: "geglu",
		body: func(in []*graph.Node) []*graph.Node {
			value, gate := halves(in[0])
			return []*graph.Node{graph.Mul(value, gelu(gate))}
		},
		gradient: func(in []*graph.Node, _, dy *graph.Node) []*graph.Node {
			return function{
				name: "geglu_grad",
				body: func(in []*graph.Node) []*graph.Node {
					dy := in[0]
					value, gate := halves(in[1])
					dgate := graph.Mul(graph.Mul(dy, value), geluSlope(gate))
					return []*graph.Node{graph.Concatenate([]*graph.Node{graph.Mul(dy, gelu(gate)), dgate}, -1)}
				},
			}.call(dy, in[0])
		},
	}.call(x)[0]
}

// halves cuts the last axis of x in two.
func halves(x *graph.Node) (first, second *graph.Node) {
	n := x.Shape().Dimensions[x.Rank()-1]
	return graph.SliceAxis(x, -1, graph.AxisRange(0, n/2)), graph.SliceAxis(x, -1, graph.AxisRange(n/2, n))
}

func gelu(x *graph.Node) *graph.Node { return graph.Mul(x, normalCDF(x)) }

// geluSlope returns Φ(x) + x·φ(x), φ being the density.
func geluSlope(x *graph.Node) *graph.Node {
	square := graph.Mul(graph.Mul(x, x), number(x, -0.5))
	density := graph.Mul(graph.Exp(square), number(x, 1/math.Sqrt(2*math.Pi)))
	return graph.Add(normalCDF(x), graph.Mul(x, density))
}

// normalCDF returns Φ(x) = ½·(1 + erf(x/√2)).
func normalCDF(x *graph.Node) *graph.Node {
	erf := graph.Erf(graph.Mul(x, number(x, math.Sqrt2/2)))
	return graph.Mul(graph.Add(erf, number(x, 1)), number(x, 0.5))
}

const quick = 1.702

func quickGELU(x *graph.Node) *graph.Node {
	return graph.Mul(x, graph.Logistic(graph.Mul(x, number(x, quick))))
}

// quickGELUSlope returns σ(z) + z·σ(z)·σ(−z) at z = 1.702·x, which is the slope of SiLU there.
func quickGELUSlope(x *graph.Node) *graph.Node { return siluSlope(graph.Mul(x, number(x, quick))) }

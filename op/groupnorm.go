package op

import (
	"fmt"

	"github.com/gomlx/gomlx/core/graph"
)

// GroupNorm normalises every image in groups of consecutive channels (Wu & He 2018) before an activation:
//
//	y = f((x − mean x)/√(var x + ε)·scale + bias),   f(z) = z, or z·σ(z) with silu
//
// Mean and biased variance are over the pixels and the channels of one group. x is [batch, …, channels]; scale and bias
// are [channels], or, if they differ between the images, [batch, channels]. The number of groups divides that of the
// channels. y is shaped like x.
func GroupNorm(x, scale, bias *graph.Node, groups int, epsilon float64, silu bool) *graph.Node {
	channels := x.Shape().Dimensions[x.Rank()-1]
	if groups < 1 || channels%groups != 0 {
		panic(fmt.Errorf("op: group norm of %s in %d groups: the groups must divide the %d channels", x.Shape(), groups, channels))
	}
	coefficients := channels
	if scale.Rank() == 2 {
		coefficients *= x.Shape().Dimensions[0]
	}
	if !scale.Shape().Equal(bias.Shape()) || scale.Rank() > 2 || scale.Shape().Size() != coefficients {
		panic(fmt.Errorf("op: group norm of %s with scale %s and bias %s: want [channels] or [batch, channels] for both", x.Shape(), scale.Shape(), bias.Shape()))
	}
	n := groupNorm{groups: groups, epsilon: epsilon, silu: silu}
	return n.function("group_norm", n.forward, func(in []*graph.Node, _, dy *graph.Node) []*graph.Node {
		return n.function("group_norm_grad", n.backward, nil).call(append([]*graph.Node{dy}, in...)...)
	}).call(x, scale, bias)[0]
}

type groupNorm struct {
	groups  int
	epsilon float64
	silu    bool
}

func (n groupNorm) function(op string, body func([]*graph.Node) []*graph.Node, gradient func([]*graph.Node, *graph.Node, *graph.Node) []*graph.Node) function {
	return function{name(op, "g", n.groups, "e", n.epsilon, "s", n.silu), body, gradient}
}

func (n groupNorm) forward(in []*graph.Node) []*graph.Node {
	y := n.normalise(in).output
	if n.silu {
		y = silu(y)
	}
	return []*graph.Node{graph.Reshape(y, in[0].Shape().Dimensions...)}
}

// normalised holds the steps of the forward pass as [batch, pixels, groups, channels/groups].
type normalised struct {
	unit    *graph.Node // (x − mean)/√(var + ε)
	inverse *graph.Node // 1/√(var + ε), [batch, 1, groups, 1]
	scale   *graph.Node // [1 or batch, 1, groups, channels/groups]
	output  *graph.Node // unit·scale + bias
}

// normalise takes the inputs x, scale, bias.
func (n groupNorm) normalise(in []*graph.Node) normalised {
	x := n.split(in[0])
	x = graph.Sub(x, n.mean(x))
	variance := n.mean(graph.Mul(x, x))
	var out normalised
	out.inverse = graph.Div(number(x, 1), graph.Sqrt(graph.Add(variance, number(x, n.epsilon))))
	out.unit = graph.Mul(x, out.inverse)
	out.scale = n.coefficient(in[1])
	out.output = graph.Add(graph.Mul(out.unit, out.scale), n.coefficient(in[2]))
	return out
}

// coefficient returns v [channels] or [batch, channels] as [1 or batch, 1, groups, channels/groups].
func (n groupNorm) coefficient(v *graph.Node) *graph.Node {
	d := v.Shape().Dimensions
	return graph.Reshape(v, v.Shape().Size()/d[len(d)-1], 1, n.groups, -1)
}

// backward takes dy and the inputs, and returns the gradients of the inputs. With z the output before the activation and
// u = (x − mean x)/√(var x + ε), and means over a group,
//
//	dz = dy·f′(z),   dbias = Σ dz,   dscale = Σ dz·u,   du = dz·scale,   dx = (du − mean du − u·mean(du·u))/√(var x + ε)
func (n groupNorm) backward(in []*graph.Node) []*graph.Node {
	dy, in := n.split(in[0]), in[1:]
	x := n.normalise(in)
	dz := dy
	if n.silu {
		dz = graph.Mul(dy, siluSlope(x.output))
	}
	du := graph.Mul(dz, x.scale)
	dx := graph.Mul(x.inverse, graph.Sub(graph.Sub(du, n.mean(du)), graph.Mul(x.unit, n.mean(graph.Mul(du, x.unit)))))
	axes := []int{0, 1}
	if in[1].Rank() == 2 {
		axes = axes[1:]
	}
	like := in[1].Shape().Dimensions
	return []*graph.Node{graph.Reshape(dx, in[0].Shape().Dimensions...),
		graph.Reshape(sum(graph.Mul(dz, x.unit), axes...), like...), graph.Reshape(sum(dz, axes...), like...)}
}

// split returns x as [batch, pixels, groups, channels/groups].
func (n groupNorm) split(x *graph.Node) *graph.Node {
	d := x.Shape().Dimensions
	return graph.Reshape(x, d[0], -1, n.groups, d[len(d)-1]/n.groups)
}

// mean returns the mean of x [batch, pixels, groups, channels/groups] over every group, [batch, 1, groups, 1].
func (n groupNorm) mean(x *graph.Node) *graph.Node {
	d := x.Shape().Dimensions
	return graph.Mul(sum(x, 1, 3), number(x, 1/float64(d[1]*d[3])))
}

package op

import (
	"fmt"

	"github.com/gomlx/gomlx/core/graph"
)

// GroupNorm normalises every image in groups of consecutive channels (Wu & He 2018), after adding an embedding, and
// before an activation:
//
//	h = x + embedding,   y = f((h − mean h)/√(var h + ε)·scale + bias),   f(z) = z, or z·σ(z) with silu
//
// Mean and biased variance are over the pixels and the channels of one group. x is [batch, …, channels]; the embedding,
// one number per image and channel, is [batch, channels] or nil; scale and bias are [channels]. The number of groups
// divides that of the channels. y is shaped like x.
func GroupNorm(x, embedding, scale, bias *graph.Node, groups int, epsilon float64, silu bool) *graph.Node {
	channels := x.Shape().Dimensions[x.Rank()-1]
	if groups < 1 || channels%groups != 0 {
		panic(fmt.Errorf("op: group norm of %s in %d groups: the groups must divide the %d channels", x.Shape(), groups, channels))
	}
	n := groupNorm{groups: groups, epsilon: epsilon, silu: silu, embedded: embedding != nil}
	in := []*graph.Node{x}
	if n.embedded {
		in = append(in, embedding)
	}
	return n.function("group_norm", n.forward, func(in []*graph.Node, _, dy *graph.Node) []*graph.Node {
		return n.function("group_norm_grad", n.backward, nil).call(append([]*graph.Node{dy}, in...)...)
	}).call(append(in, scale, bias)...)[0]
}

type groupNorm struct {
	groups   int
	epsilon  float64
	silu     bool
	embedded bool // there is an embedding among the inputs
}

func (n groupNorm) function(op string, body func([]*graph.Node) []*graph.Node, gradient func([]*graph.Node, *graph.Node, *graph.Node) []*graph.Node) function {
	return function{name(op, "g", n.groups, "e", n.epsilon, "s", n.silu, "a", n.embedded), body, gradient}
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
	unit    *graph.Node // (h − mean)/√(var + ε)
	inverse *graph.Node // 1/√(var + ε), [batch, 1, groups, 1]
	scale   *graph.Node // [1, 1, groups, channels/groups]
	output  *graph.Node // unit·scale + bias
}

// normalise takes the inputs x, [embedding], scale, bias.
func (n groupNorm) normalise(in []*graph.Node) normalised {
	h := n.split(in[0])
	if n.embedded {
		h = graph.Add(h, graph.Reshape(in[1], h.Shape().Dimensions[0], 1, n.groups, -1))
	}
	h = graph.Sub(h, n.mean(h))
	variance := n.mean(graph.Mul(h, h))
	var out normalised
	out.inverse = graph.Div(number(h, 1), graph.Sqrt(graph.Add(variance, number(h, n.epsilon))))
	out.unit = graph.Mul(h, out.inverse)
	out.scale = graph.Reshape(in[len(in)-2], 1, 1, n.groups, -1)
	out.output = graph.Add(graph.Mul(out.unit, out.scale), graph.Reshape(in[len(in)-1], 1, 1, n.groups, -1))
	return out
}

// backward takes dy and the inputs, and returns the gradients of the inputs. With z the output before the activation and
// u = (h − mean h)/√(var h + ε), and means over a group,
//
//	dz = dy·f′(z),   dbias = Σ dz,   dscale = Σ dz·u,   du = dz·scale,   dh = (du − mean du − u·mean(du·u))/√(var h + ε)
func (n groupNorm) backward(in []*graph.Node) []*graph.Node {
	dy, in := n.split(in[0]), in[1:]
	x := n.normalise(in)
	dz := dy
	if n.silu {
		dz = graph.Mul(dy, siluSlope(x.output))
	}
	du := graph.Mul(dz, x.scale)
	dh := graph.Mul(x.inverse, graph.Sub(graph.Sub(du, n.mean(du)), graph.Mul(x.unit, n.mean(graph.Mul(du, x.unit)))))
	out := []*graph.Node{graph.Reshape(dh, in[0].Shape().Dimensions...)}
	if n.embedded {
		out = append(out, graph.Reshape(sum(dh, 1), in[1].Shape().Dimensions...))
	}
	return append(out,
		graph.Reshape(sum(graph.Mul(dz, x.unit), 0, 1), -1),
		graph.Reshape(sum(dz, 0, 1), -1))
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

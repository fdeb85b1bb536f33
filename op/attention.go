package op

import (
	"fmt"
	"math"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"
)

// Attention returns softmax(q·kᵀ/√dim)·v for every head (Vaswani et al. 2017). q is [batch, queries, heads, dim]; k and v
// are [batch, keys, heads, dim], where keys need not be queries; the result is shaped like q.
func Attention(q, k, v *graph.Node) *graph.Node { return attention{op: "attention"}.of(q, k, v) }

// CausalAttention is [Attention] in which query i sees the keys up to i only. There are as many keys as queries.
func CausalAttention(q, k, v *graph.Node) *graph.Node {
	if !q.Shape().Equal(k.Shape()) {
		panic(fmt.Errorf("op: causal attention of q %s, k %s: want as many keys as queries", q.Shape(), k.Shape()))
	}
	return attention{op: "causal_attention", causal: true}.of(q, k, v)
}

// BiasedAttention is [Attention] with a bias [batch, keys] that is added to the scores q·kᵀ/√dim of a key, for all queries and
// heads: a large negative one hides the key, such as that of padding.
func BiasedAttention(q, k, v, bias *graph.Node) *graph.Node {
	if k.Rank() != 4 || bias.Rank() != 2 || bias.Shape().Dimensions[0] != k.Shape().Dimensions[0] || bias.Shape().Dimensions[1] != k.Shape().Dimensions[1] {
		panic(fmt.Errorf("op: attention of k %s with bias %s: want [batch, keys, heads, dim] and [batch, keys]", k.Shape(), bias.Shape()))
	}
	return attention{op: "biased_attention"}.of(q, k, v, bias)
}

// attention is an op of q, k, v and maybe bias.
type attention struct {
	op     string
	causal bool
}

func (a attention) of(q, k, v *graph.Node, bias ...*graph.Node) *graph.Node {
	x, y := q.Shape().Dimensions, k.Shape().Dimensions
	if len(x) != 4 || len(y) != 4 || x[0] != y[0] || x[2] != y[2] || x[3] != y[3] || !k.Shape().Equal(v.Shape()) {
		panic(fmt.Errorf("op: attention of q %s, k %s, v %s: want [batch, queries, heads, dim] and twice [batch, keys, heads, dim]",
			q.Shape(), k.Shape(), v.Shape()))
	}
	return function{
		name: a.op,
		body: func(in []*graph.Node) []*graph.Node {
			return []*graph.Node{graph.Einsum("bhqk,bkhd->bqhd", a.weights(in), in[2])}
		},
		gradient: func(in []*graph.Node, y, dy *graph.Node) []*graph.Node {
			return function{name: a.op + "_grad", body: a.backward}.call(append([]*graph.Node{dy, y}, in...)...)
		},
	}.call(append([]*graph.Node{q, k, v}, bias...)...)[0]
}

// weights returns those of the values, [batch, heads, queries, keys].
func (a attention) weights(in []*graph.Node) *graph.Node {
	scores := graph.Mul(graph.Einsum("bqhd,bkhd->bhqk", in[0], in[1]), attentionScale(in[0]))
	if len(in) > 3 {
		d := in[3].Shape().Dimensions
		scores = graph.Add(scores, graph.Reshape(in[3], d[0], 1, 1, d[1]))
	}
	if a.causal {
		scores = graph.Where(later(scores), number(scores, math.Inf(-1)), scores)
	}
	return softmax(scores)
}

// later tells which keys come after the query, in the shape of scores.
func later(scores *graph.Node) *graph.Node {
	g, d := scores.Graph(), scores.Shape().Dimensions
	shape := shapes.Make(dtypes.Int32, 1, 1, d[2], d[3])
	return graph.BroadcastToDims(graph.GreaterThan(graph.Iota(g, shape, 3), graph.Iota(g, shape, 2)), d...)
}

func attentionScale(q *graph.Node) *graph.Node {
	return number(q, 1/math.Sqrt(float64(q.Shape().Dimensions[3])))
}

// backward takes dy, the result and the inputs, and returns the gradients of the inputs. The result is for kernels, which
// take Σ dy·y in place of the sum over the keys in the gradient of the softmax.
func (a attention) backward(in []*graph.Node) []*graph.Node {
	dy, in := in[0], in[2:]
	q, k, v := in[0], in[1], in[2]
	p := a.weights(in)
	dscores := softmaxGradient(graph.Einsum("bqhd,bkhd->bhqk", dy, v), p)
	scaled := graph.Mul(dscores, attentionScale(q))
	out := []*graph.Node{
		graph.Einsum("bhqk,bkhd->bqhd", scaled, k),
		graph.Einsum("bhqk,bqhd->bkhd", scaled, q),
		graph.Einsum("bhqk,bqhd->bkhd", p, dy),
	}
	if len(in) > 3 {
		out = append(out, graph.ReduceSum(dscores, 1, 2))
	}
	return out
}

package op

import (
	"fmt"
	"math"

	"github.com/gomlx/gomlx/core/graph"
)

// Attention returns softmax(q·kᵀ/√dim)·v for every head (Vaswani et al. 2017). q is [batch, queries, heads, dim]; k and v
// are [batch, keys, heads, dim], where keys need not be queries; the result is shaped like q.
func Attention(q, k, v *graph.Node) *graph.Node {
	a, b := q.Shape().Dimensions, k.Shape().Dimensions
	if len(a) != 4 || len(b) != 4 || a[0] != b[0] || a[2] != b[2] || a[3] != b[3] || !k.Shape().Equal(v.Shape()) {
		panic(fmt.Errorf("op: attention of q %s, k %s, v %s: want [batch, queries, heads, dim] and twice [batch, keys, heads, dim]",
			q.Shape(), k.Shape(), v.Shape()))
	}
	return function{
		name: "attention",
		body: func(in []*graph.Node) []*graph.Node {
			return []*graph.Node{graph.Einsum("bhqk,bkhd->bqhd", attend(in[0], in[1]), in[2])}
		},
		gradient: func(in []*graph.Node, _, dy *graph.Node) []*graph.Node {
			return function{name: "attention_grad", body: attentionGradient}.call(append([]*graph.Node{dy}, in...)...)
		},
	}.call(q, k, v)[0]
}

// attend returns the weights of the values, [batch, heads, queries, keys].
func attend(q, k *graph.Node) *graph.Node {
	return softmax(graph.Mul(graph.Einsum("bqhd,bkhd->bhqk", q, k), attentionScale(q)))
}

func attentionScale(q *graph.Node) *graph.Node {
	return number(q, 1/math.Sqrt(float64(q.Shape().Dimensions[3])))
}

// attentionGradient takes dy, q, k, v and returns dq, dk, dv.
func attentionGradient(in []*graph.Node) []*graph.Node {
	dy, q, k, v := in[0], in[1], in[2], in[3]
	p := attend(q, k)
	dp := softmaxGradient(graph.Einsum("bqhd,bkhd->bhqk", dy, v), p)
	dp = graph.Mul(dp, attentionScale(q))
	return []*graph.Node{
		graph.Einsum("bhqk,bkhd->bqhd", dp, k),
		graph.Einsum("bhqk,bqhd->bkhd", dp, q),
		graph.Einsum("bhqk,bqhd->bkhd", p, dy),
	}
}

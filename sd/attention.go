package sd

import (
	"strings"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/op"
)

// attention is multi-head attention from queries to states by four linear maps, whose names differ between networks.
type attention struct {
	query, key, value, out string
	heads                  int
	// product is one of the kinds of attention of package op.
	product func(q, k, v *graph.Node) *graph.Node
}

// of returns what x [batch, queries, width] finds in states [batch, keys, …], shaped like x.
func (a attention) of(m Modules, name string, x, states *graph.Node) *graph.Node {
	split := func(part string, x *graph.Node) *graph.Node {
		y := m.linear(name+"."+part, x)
		d := y.Shape().Dimensions
		return graph.Reshape(y, d[0], d[1], a.heads, d[2]/a.heads)
	}
	y := a.product(split(a.query, x), split(a.key, states), split(a.value, states))
	d := y.Shape().Dimensions
	return m.result(name, m.linear(name+"."+a.out, graph.Reshape(y, d[0], d[1], d[2]*d[3])))
}

// selfAttention adds to every position of x [batch, height, width, channels] what it finds in the picture.
func (m Modules) selfAttention(name string, heads, groups int, epsilon float64, x *graph.Node) *graph.Node {
	d := x.Shape().Dimensions
	h := graph.Reshape(m.groupNorm(name+".group_norm", x, groups, epsilon, false), d[0], d[1]*d[2], d[3])
	a := attention{"to_q", "to_k", "to_v", "to_out.0", heads, op.Attention}
	return graph.Add(x, graph.Reshape(a.of(m, name, h, h), d...))
}

// selfAttention adds the tensors of such a layer.
func (t table) selfAttention(name string, width int) {
	t.norm(name+".group_norm", width)
	for _, p := range []string{".to_q", ".to_k", ".to_v", ".to_out.0"} {
		t.linear(name+p, width, width, true)
	}
}

// selfAttentionNames spells those of files from before 2023 as today's.
var selfAttentionNames = strings.NewReplacer(".query.", ".to_q.", ".key.", ".to_k.", ".value.", ".to_v.", ".proj_attn.", ".to_out.0.")

package sd

import (
	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/op"
)

// transformer is CLIP's, for texts and pictures: layers x ↦ x + attention(norm x), x ↦ x + perceptron(norm x).
type transformer struct {
	heads      int
	epsilon    float64 // of normalisations
	activation func(x *graph.Node) *graph.Node
	product    func(q, k, v *graph.Node) *graph.Node
}

// of returns what the first n layers make of x [batch, tokens, width].
func (t transformer) of(m Modules, name string, n int, x *graph.Node) *graph.Node {
	a := attention{"q_proj", "k_proj", "v_proj", "out_proj", t.heads, t.product}
	for i := range n {
		layer := at("%s.layers.%d", name, i)
		h := m.layerNorm(layer+".layer_norm1", x, t.epsilon)
		x = graph.Add(x, a.of(m, layer+".self_attn", h, h))
		h = t.activation(m.linear(layer+".mlp.fc1", m.layerNorm(layer+".layer_norm2", x, t.epsilon)))
		x = m.result(layer, graph.Add(x, m.linear(layer+".mlp.fc2", h)))
	}
	return x
}

// activation is that of the perceptrons.
func activation(quick bool) func(x *graph.Node) *graph.Node {
	if quick {
		return op.QuickGELU
	}
	return op.GELU
}

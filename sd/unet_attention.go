package sd

import (
	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/op"
)

// attend adds to every position of x [batch, height, width, channels] what it finds in the picture and in the text [batch, tokens, Context]. The
// epsilons are constants of the architecture.
//
// UpcastScores needs nothing here: attention has the precision of x.
func (u UNet) attend(m Modules, name string, heads int, x, text *graph.Node) *graph.Node {
	d := x.Shape().Dimensions
	h := m.groupNorm(name+".norm", x, u.Groups, 1e-6, false)
	// Linear maps and convolutions of kernel 1×1 differ only in the shape of the tensor.
	h = graph.Reshape(m.linear(name+".proj_in", h), d[0], d[1]*d[2], d[3])

	a := attention{"to_q", "to_k", "to_v", "to_out.0", heads, op.Attention}
	block := name + ".transformer_blocks.0"
	normal := m.layerNorm(block+".norm1", h, 1e-5)
	h = graph.Add(h, a.of(m, block+".attn1", normal, normal))
	h = graph.Add(h, a.of(m, block+".attn2", m.layerNorm(block+".norm2", h, 1e-5), text))
	gated := op.GEGLU(m.linear(block+".ff.net.0.proj", m.layerNorm(block+".norm3", h, 1e-5)))
	h = graph.Add(h, m.result(block+".ff", m.linear(block+".ff.net.2", gated)))

	return m.result(name, graph.Add(x, graph.Reshape(m.linear(name+".proj_out", h), d...)))
}

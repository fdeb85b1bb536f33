package sd

import (
	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/op"
)

// residual is the residual block of U-Net and autoencoder: with f = SiLU after group normalisation,
//
//	x ↦ shortcut(x) + conv2(f₂(conv1(f₁(x)) + time_emb_proj(time)))
//
// The shortcut is a convolution of kernel 1×1 where the widths differ, else x.
type residual struct {
	groups  int
	epsilon float64
}

// of returns the block of x [batch, height, width, in] at the activated time embedding [batch, …], nil for none.
func (r residual) of(m Modules, name string, x, time *graph.Node) *graph.Node {
	h := m.conv(name+".conv1", m.groupNorm(name+".norm1", x, r.groups, r.epsilon, true), 1, op.Same(3))
	if time != nil {
		h = graph.Add(h, graph.InsertAxes(m.linear(name+".time_emb_proj", time), 1, 1))
	}
	h = m.conv(name+".conv2", m.groupNorm(name+".norm2", h, r.groups, r.epsilon, true), 1, op.Same(3))
	if m.has(name + ".conv_shortcut.weight") {
		x = m.linear(name+".conv_shortcut", x)
	}
	return m.result(name, graph.Add(x, h))
}

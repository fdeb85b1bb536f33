package sd

import (
	"fmt"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/op"
)

// Apply returns what the U-Net predicts of latents x [batch, height, width, Channels], shaped like them: the noise, or the velocity, as the model was
// trained. Timesteps t are [batch] or [1], whole numbers from 0 to 999; text is [batch, tokens, Context]. Sides need not be multiples of anything.
func (u UNet) Apply(m Modules, x, t, text *graph.Node) *graph.Node {
	d, states := x.Shape().Dimensions, text.Shape().Dimensions
	if len(d) != 4 || d[3] != u.Channels || len(states) != 3 || states[0] != d[0] || states[2] != u.Context {
		panic(fmt.Errorf("sd: U-Net of latents %s and text %s: want [batch, height, width, %d] and [batch, tokens, %d]", x.Shape(), text.Shape(), u.Channels, u.Context))
	}
	time := graph.ConvertDType(u.timeEmbedding(m, graph.BroadcastToDims(t, d[0])), x.DType())
	block := residual{u.Groups, u.Epsilon}
	last := len(u.Widths) - 1

	x = m.conv("conv_in", x, 1, op.Same(3))
	kept := []*graph.Node{x} // what the way up finds, the last one first
	for i := range u.Widths {
		name := at("down_blocks.%d", i)
		for j := range u.Layers {
			x = m.segment(func(x *graph.Node) *graph.Node {
				x = block.of(m, at("%s.resnets.%d", name, j), x, time)
				if u.AttendDown[i] {
					x = u.attend(m, at("%s.attentions.%d", name, j), u.Heads[i], x, text)
				}
				return x
			}, x)
			kept = append(kept, x)
		}
		if i < last {
			x = m.conv(name+".downsamplers.0.conv", x, 2, op.Same(3))
			kept = append(kept, x)
		}
	}

	x = m.segment(func(x *graph.Node) *graph.Node {
		x = block.of(m, "mid_block.resnets.0", x, time)
		x = u.attend(m, "mid_block.attentions.0", u.Heads[last], x, text)
		return block.of(m, "mid_block.resnets.1", x, time)
	}, x)
	x = m.result("mid_block", x)

	for i := range u.Widths {
		name := at("up_blocks.%d", i)
		for j := range u.Layers + 1 {
			x = m.segment(func(x *graph.Node) *graph.Node {
				x = block.of(m, at("%s.resnets.%d", name, j), x, time)
				if u.AttendUp[i] {
					x = u.attend(m, at("%s.attentions.%d", name, j), u.Heads[last-i], x, text)
				}
				return x
			}, x, kept[len(kept)-1])
			kept = kept[:len(kept)-1]
		}
		if i < last {
			x = m.conv(name+".upsamplers.0.conv", doubled(x, kept[len(kept)-1]), 1, op.Same(3))
		}
	}
	x = m.groupNorm("conv_norm_out", x, u.Groups, u.Epsilon, true)
	return m.conv("conv_out", x, 1, op.Same(3))
}

// doubled returns x at twice its size, without the last row or column where the picture that x was halved from had an odd side. That is what
// resizing to the size of that picture by nearest neighbours gives.
func doubled(x, like *graph.Node) *graph.Node {
	x = op.Upsample(x, 2)
	d := like.Shape().Dimensions
	return graph.Slice(x, graph.AxisRange(), graph.AxisRange(0, d[1]), graph.AxisRange(0, d[2]))
}

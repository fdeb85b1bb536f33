package sd

import (
	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/op"
)

// backbone is what all U-Nets of diffusers have in common: residual blocks at levels of falling size, and on the way up again what was there on the way
// down. They differ in what follows the blocks, see [UNet] and [UNet2D].
type backbone struct {
	widths       []int // channels at each level, the finest first
	layers       int   // residual blocks at each level on the way down; one more on the way up
	attendDown   []bool
	attendUp     []bool // the coarsest level first
	attendMiddle bool
	groups       int // of group normalisations
	epsilon      float64
	cosineFirst  bool
	freqShift    float64
	halving      op.Padding // of the convolutions that halve the sides
}

// of returns what the network says of x [batch, height, width, channels] at timesteps t [batch] or [1]. Attend follows the residual blocks at places that
// have attention: it has the name of the place, and its level.
func (b backbone) of(m Modules, x, t *graph.Node, attend func(name string, level int, x *graph.Node) *graph.Node) *graph.Node {
	time := graph.ConvertDType(b.timeEmbedding(m, graph.BroadcastToDims(t, x.Shape().Dimensions[0])), x.DType())
	block := residual{b.groups, b.epsilon}
	last := len(b.widths) - 1

	x = m.conv("conv_in", x, 1, op.Same(3))
	kept := []*graph.Node{x} // what the way up finds, the last one first
	for i := range b.widths {
		name := at("down_blocks.%d", i)
		for j := range b.layers {
			x = m.segment(func(x *graph.Node) *graph.Node {
				x = block.of(m, at("%s.resnets.%d", name, j), x, time)
				if b.attendDown[i] {
					x = attend(at("%s.attentions.%d", name, j), i, x)
				}
				return x
			}, x)
			kept = append(kept, x)
		}
		if i < last {
			x = m.conv(name+".downsamplers.0.conv", x, 2, b.halving)
			kept = append(kept, x)
		}
	}

	x = m.segment(func(x *graph.Node) *graph.Node {
		x = block.of(m, "mid_block.resnets.0", x, time)
		if b.attendMiddle {
			x = attend("mid_block.attentions.0", last, x)
		}
		return block.of(m, "mid_block.resnets.1", x, time)
	}, x)
	x = m.result("mid_block", x)

	for i := range b.widths {
		name := at("up_blocks.%d", i)
		for j := range b.layers + 1 {
			x = m.segment(func(x *graph.Node) *graph.Node {
				x = block.of(m, at("%s.resnets.%d", name, j), x, time)
				if b.attendUp[i] {
					x = attend(at("%s.attentions.%d", name, j), last-i, x)
				}
				return x
			}, x, kept[len(kept)-1])
			kept = kept[:len(kept)-1]
		}
		if i < last {
			x = m.conv(name+".upsamplers.0.conv", doubled(x, kept[len(kept)-1]), 1, op.Same(3))
		}
	}
	x = m.groupNorm("conv_norm_out", x, b.groups, b.epsilon, true)
	return m.conv("conv_out", x, 1, op.Same(3))
}

// tensors returns the shape of every tensor of a network of so many channels. Attention adds those of a place that has it.
func (b backbone) tensors(channels int, attention func(t table, name string, width int)) table {
	t := table{}
	first, time := b.widths[0], 4*b.widths[0]
	t.linear("time_embedding.linear_1", time, first, true)
	t.linear("time_embedding.linear_2", time, time, true)
	t.conv("conv_in", first, channels, 3)
	skips := []int{first} // widths of what the way up finds, the last one first
	in := first
	for i, width := range b.widths {
		block := at("down_blocks.%d", i)
		for j := range b.layers {
			t.resnet(at("%s.resnets.%d", block, j), width, in, time)
			if b.attendDown[i] {
				attention(t, at("%s.attentions.%d", block, j), width)
			}
			in = width
			skips = append(skips, width)
		}
		if i < len(b.widths)-1 {
			t.conv(block+".downsamplers.0.conv", width, width, 3)
			skips = append(skips, width)
		}
	}
	t.resnet("mid_block.resnets.0", in, in, time)
	if b.attendMiddle {
		attention(t, "mid_block.attentions.0", in)
	}
	t.resnet("mid_block.resnets.1", in, in, time)
	for i := range b.widths {
		block, width := at("up_blocks.%d", i), b.widths[len(b.widths)-1-i]
		for j := range b.layers + 1 {
			skip := skips[len(skips)-1]
			skips = skips[:len(skips)-1]
			t.resnet(at("%s.resnets.%d", block, j), width, in+skip, time)
			if b.attendUp[i] {
				attention(t, at("%s.attentions.%d", block, j), width)
			}
			in = width
		}
		if i < len(b.widths)-1 {
			t.conv(block+".upsamplers.0.conv", width, width, 3)
		}
	}
	t.norm("conv_norm_out", first)
	t.conv("conv_out", channels, first, 3)
	return t
}

// doubled returns x at twice its size, without the last row or column where the picture that x was halved from had an odd side. That is what
// resizing to the size of that picture by nearest neighbours gives.
func doubled(x, like *graph.Node) *graph.Node {
	x = op.Upsample(x, 2)
	d := like.Shape().Dimensions
	return graph.Slice(x, graph.AxisRange(), graph.AxisRange(0, d[1]), graph.AxisRange(0, d[2]))
}

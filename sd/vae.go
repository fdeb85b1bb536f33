package sd

import (
	"fmt"
	"strings"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/op"
)

// Drawing reports whether a tensor is of the decoder, which is all that drawing takes; for [Weights.Load].
func (v VAE) Drawing(name string) bool {
	return strings.HasPrefix(name, "decoder.") || strings.HasPrefix(name, "post_quant_conv.")
}

// block is the residual block. The epsilon is a constant of the architecture.
func (v VAE) block() residual { return residual{v.Groups, 1e-6} }

// Encode returns mean and log variance, both [batch, height/Factor, width/Factor, Latent], of the latents before they are scaled, of pictures [batch,
// height, width, 3] in [−1, 1]. Sides are multiples of Factor.
func (v VAE) Encode(m Modules, x *graph.Node) (mean, logVariance *graph.Node) {
	if d := x.Shape().Dimensions; len(d) != 4 || d[3] != v.Channels || d[1]%v.Factor() != 0 || d[2]%v.Factor() != 0 {
		panic(fmt.Errorf("sd: encoder of pictures %s: want [batch, height, width, %d] with sides that are multiples of %d", x.Shape(), v.Channels, v.Factor()))
	}
	x = m.conv("encoder.conv_in", x, 1, op.Same(3))
	for i := range v.Widths {
		name := at("encoder.down_blocks.%d", i)
		for j := range v.Layers {
			x = v.resnet(m, at("%s.resnets.%d", name, j), x)
		}
		if i < len(v.Widths)-1 {
			x = m.conv(name+".downsamplers.0.conv", x, 2, op.Padding{{0, 1}, {0, 1}})
		}
	}
	x = v.attend(m, "encoder.mid_block", x)
	x = m.conv("encoder.conv_out", m.groupNorm("encoder.conv_norm_out", x, v.Groups, 1e-6, true), 1, op.Same(3))
	x = m.linear("quant_conv", x)
	mean = graph.SliceAxis(x, -1, graph.AxisRange(0, v.Latent))
	return mean, graph.ClipScalar(graph.SliceAxis(x, -1, graph.AxisRange(v.Latent)), -30, 20)
}

// Latents returns the scaled latents of a picture from what [VAE.Encode] gives and standard normal noise, all of one shape.
func (v VAE) Latents(mean, logVariance, noise *graph.Node) *graph.Node {
	sd := graph.Exp(graph.MulScalar(logVariance, 0.5))
	return graph.MulScalar(graph.Add(mean, graph.Mul(sd, noise)), v.Scale)
}

// Decode returns the pictures [batch, Factor·height, Factor·width, 3] of scaled latents [batch, height, width, Latent]. Their values are about in
// [−1, 1] and not clipped, so that gradients pass.
func (v VAE) Decode(m Modules, latents *graph.Node) *graph.Node {
	if d := latents.Shape().Dimensions; len(d) != 4 || d[3] != v.Latent {
		panic(fmt.Errorf("sd: decoder of latents %s: want [batch, height, width, %d]", latents.Shape(), v.Latent))
	}
	x := m.linear("post_quant_conv", graph.DivScalar(latents, v.Scale))
	x = v.attend(m, "decoder.mid_block", m.conv("decoder.conv_in", x, 1, op.Same(3)))
	for i := range v.Widths {
		name := at("decoder.up_blocks.%d", i)
		for j := range v.Layers + 1 {
			x = v.resnet(m, at("%s.resnets.%d", name, j), x)
		}
		if i < len(v.Widths)-1 {
			x = m.conv(name+".upsamplers.0.conv", op.Upsample(x, 2), 1, op.Same(3))
		}
	}
	return m.conv("decoder.conv_out", m.groupNorm("decoder.conv_norm_out", x, v.Groups, 1e-6, true), 1, op.Same(3))
}

// resnet is a residual block.
func (v VAE) resnet(m Modules, name string, x *graph.Node) *graph.Node {
	return m.segment(func(x *graph.Node) *graph.Node { return v.block().of(m, name, x, nil) }, x)
}

// attend is the middle of both halves: attention of all pixels, by one head of full width, between two residual blocks.
func (v VAE) attend(m Modules, name string, x *graph.Node) *graph.Node {
	x = v.resnet(m, name+".resnets.0", x)
	x = m.selfAttention(name+".attentions.0", 1, v.Groups, 1e-6, x)
	return v.resnet(m, name+".resnets.1", x)
}

package sd

import "strings"

// Tensors returns the shape of every tensor of the network, by its name in the files of diffusers today. Those of the decoder alone, which is all
// that drawing takes, begin with decoder. and post_quant_conv.
func (v VAE) Tensors() map[string][]int {
	t := table{}
	first, last := v.Widths[0], v.Widths[len(v.Widths)-1]

	t.conv("encoder.conv_in", first, v.Channels, 3)
	in := first
	for i, width := range v.Widths {
		block := at("encoder.down_blocks.%d", i)
		for j := range v.Layers {
			t.resnet(at("%s.resnets.%d", block, j), width, in, 0)
			in = width
		}
		if i < len(v.Widths)-1 {
			t.conv(block+".downsamplers.0.conv", width, width, 3)
		}
	}
	v.middle(t, "encoder", last)
	t.norm("encoder.conv_norm_out", last)
	t.conv("encoder.conv_out", 2*v.Latent, last, 3) // means and log variances
	t.conv("quant_conv", 2*v.Latent, 2*v.Latent, 1)

	t.conv("post_quant_conv", v.Latent, v.Latent, 1)
	t.conv("decoder.conv_in", last, v.Latent, 3)
	v.middle(t, "decoder", last)
	in = last
	for i := range v.Widths {
		block, width := at("decoder.up_blocks.%d", i), v.Widths[len(v.Widths)-1-i]
		for j := range v.Layers + 1 {
			t.resnet(at("%s.resnets.%d", block, j), width, in, 0)
			in = width
		}
		if i < len(v.Widths)-1 {
			t.conv(block+".upsamplers.0.conv", width, width, 3)
		}
	}
	t.norm("decoder.conv_norm_out", first)
	t.conv("decoder.conv_out", v.Channels, first, 3)
	return t
}

func (v VAE) middle(t table, name string, width int) {
	t.resnet(name+".mid_block.resnets.0", width, width, 0)
	attention := name + ".mid_block.attentions.0"
	t.norm(attention+".group_norm", width)
	for _, p := range []string{".to_q", ".to_k", ".to_v", ".to_out.0"} {
		t.linear(attention+p, width, width, true)
	}
	t.resnet(name+".mid_block.resnets.1", width, width, 0)
}

// vaeNames spells the attention of published files as today's.
var vaeNames = strings.NewReplacer(
	".mid_block.attentions.0.query.", ".mid_block.attentions.0.to_q.", ".mid_block.attentions.0.key.", ".mid_block.attentions.0.to_k.",
	".mid_block.attentions.0.value.", ".mid_block.attentions.0.to_v.", ".mid_block.attentions.0.proj_attn.", ".mid_block.attentions.0.to_out.0.")

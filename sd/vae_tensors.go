package sd

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
	t.selfAttention(name+".mid_block.attentions.0", width)
	t.resnet(name+".mid_block.resnets.1", width, width, 0)
}

package sd

// Tensors returns the shape of every tensor of the network, by its name in the files of diffusers.
func (u UNet) Tensors() map[string][]int {
	t := table{}
	first, time := u.Widths[0], 4*u.Widths[0]
	t.linear("time_embedding.linear_1", time, first, true)
	t.linear("time_embedding.linear_2", time, time, true)
	t.conv("conv_in", first, u.Channels, 3)
	skips := []int{first} // widths of what the way up finds, the last one first
	in := first
	for i, width := range u.Widths {
		block := at("down_blocks.%d", i)
		for j := range u.Layers {
			t.resnet(at("%s.resnets.%d", block, j), width, in, time)
			if u.AttendDown[i] {
				u.transformer(t, at("%s.attentions.%d", block, j), width)
			}
			in = width
			skips = append(skips, width)
		}
		if i < len(u.Widths)-1 {
			t.conv(block+".downsamplers.0.conv", width, width, 3)
			skips = append(skips, width)
		}
	}
	t.resnet("mid_block.resnets.0", in, in, time)
	u.transformer(t, "mid_block.attentions.0", in)
	t.resnet("mid_block.resnets.1", in, in, time)
	for i := range u.Widths {
		block, width := at("up_blocks.%d", i), u.Widths[len(u.Widths)-1-i]
		for j := range u.Layers + 1 {
			skip := skips[len(skips)-1]
			skips = skips[:len(skips)-1]
			t.resnet(at("%s.resnets.%d", block, j), width, in+skip, time)
			if u.AttendUp[i] {
				u.transformer(t, at("%s.attentions.%d", block, j), width)
			}
			in = width
		}
		if i < len(u.Widths)-1 {
			t.conv(block+".upsamplers.0.conv", width, width, 3)
		}
	}
	t.norm("conv_norm_out", first)
	t.conv("conv_out", u.Channels, first, 3)
	return t
}

// transformer adds a block that attends to the picture and to the text.
func (u UNet) transformer(t table, name string, width int) {
	t.norm(name+".norm", width)
	for _, p := range []string{".proj_in", ".proj_out"} {
		if u.Linear {
			t.linear(name+p, width, width, true)
		} else {
			t.conv(name+p, width, width, 1)
		}
	}
	block := name + ".transformer_blocks.0"
	for _, n := range []string{".norm1", ".norm2", ".norm3"} {
		t.norm(block+n, width)
	}
	for attention, states := range map[string]int{".attn1": width, ".attn2": u.Context} {
		t.linear(block+attention+".to_q", width, width, false)
		t.linear(block+attention+".to_k", width, states, false)
		t.linear(block+attention+".to_v", width, states, false)
		t.linear(block+attention+".to_out.0", width, width, true)
	}
	t.linear(block+".ff.net.0.proj", 8*width, width, true) // values and gates
	t.linear(block+".ff.net.2", width, 4*width, true)
}

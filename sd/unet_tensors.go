package sd

// Tensors returns the shape of every tensor of the network, by its name in the files of diffusers.
func (u UNet) Tensors() map[string][]int { return u.backbone().tensors(u.Channels, u.transformer) }

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

package sd

// Tensors returns the shape of every tensor of both networks, by its name in the files of transformers.
func (c CLIP) Tensors() map[string][]int {
	t := table{}
	for name, shape := range c.Text.Tensors() {
		t["text_model."+name] = shape
	}
	const picture = "vision_model."
	p := c.Picture
	t[picture+"embeddings.class_embedding"] = []int{p.Width}
	t[picture+"embeddings.patch_embedding.weight"] = []int{p.Width, 3, p.Patch, p.Patch}
	t[picture+"embeddings.position_embedding.weight"] = []int{p.Tokens(), p.Width}
	t.norm(picture+"pre_layrnorm", p.Width) // sic
	t.layers(picture+"encoder", p.Layers, p.Width, p.Intermediate)
	t.norm(picture+"post_layernorm", p.Width)
	t.linear("text_projection", c.Projection, c.Text.Width, false)
	t.linear("visual_projection", c.Projection, p.Width, false)
	t["logit_scale"] = []int{}
	return t
}

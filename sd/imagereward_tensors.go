package sd

const (
	rewardPicture = "blip.visual_encoder."
	rewardText    = "blip.text_encoder."
)

// rewardHead are the places of the head's linear maps; between them are those of dropouts.
var rewardHead = []int{0, 2, 4, 6, 7}

// Tensors returns the shape of every tensor by its name in the published file.
func (c ImageReward) Tensors() map[string][]int {
	t := table{}
	p, b := c.Picture, c.Text
	t[rewardPicture+"cls_token"] = []int{1, 1, p.Width}
	t[rewardPicture+"pos_embed"] = []int{1, p.Tokens(), p.Width}
	t.conv(rewardPicture+"patch_embed.proj", p.Width, 3, p.Patch)
	for i := range p.Layers {
		block := at(rewardPicture+"blocks.%d", i)
		t.norm(block+".norm1", p.Width)
		t.linear(block+".attn.qkv", 3*p.Width, p.Width, true)
		t.linear(block+".attn.proj", p.Width, p.Width, true)
		t.norm(block+".norm2", p.Width)
		t.linear(block+".mlp.fc1", p.Intermediate, p.Width, true)
		t.linear(block+".mlp.fc2", p.Width, p.Intermediate, true)
	}
	t.norm(rewardPicture+"norm", p.Width)

	t[rewardText+"embeddings.word_embeddings.weight"] = []int{b.Vocabulary, b.Width}
	t[rewardText+"embeddings.position_embeddings.weight"] = []int{b.Positions, b.Width}
	t.norm(rewardText+"embeddings.LayerNorm", b.Width)
	for i := range b.Layers {
		layer := at(rewardText+"encoder.layer.%d", i)
		for attention, states := range map[string]int{".attention": b.Width, ".crossattention": p.Width} {
			t.linear(layer+attention+".self.query", b.Width, b.Width, true)
			t.linear(layer+attention+".self.key", b.Width, states, true)
			t.linear(layer+attention+".self.value", b.Width, states, true)
			t.linear(layer+attention+".output.dense", b.Width, b.Width, true)
			t.norm(layer+attention+".output.LayerNorm", b.Width)
		}
		t.linear(layer+".intermediate.dense", b.Intermediate, b.Width, true)
		t.linear(layer+".output.dense", b.Width, b.Intermediate, true)
		t.norm(layer+".output.LayerNorm", b.Width)
	}

	t.linear("blip.vision_proj", c.Joint, p.Width, true)
	t.linear("blip.text_proj", c.Joint, b.Width, true)
	for i, place := range rewardHead {
		t.linear(at("mlp.layers.%d", place), c.Head[i+1], c.Head[i], true)
	}
	return t
}

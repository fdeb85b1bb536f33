package sd

import "strings"

// Tensors returns the shape of every tensor of the network, by its name in the files of transformers today.
func (e TextEncoder) Tensors() map[string][]int {
	t := table{
		"embeddings.token_embedding.weight":    {e.Vocabulary, e.Width},
		"embeddings.position_embedding.weight": {e.Positions, e.Width},
	}
	for i := range e.Layers {
		layer := at("encoder.layers.%d", i)
		t.norm(layer+".layer_norm1", e.Width)
		for _, p := range []string{"q_proj", "k_proj", "v_proj", "out_proj"} {
			t.linear(layer+".self_attn."+p, e.Width, e.Width, true)
		}
		t.norm(layer+".layer_norm2", e.Width)
		t.linear(layer+".mlp.fc1", e.Intermediate, e.Width, true)
		t.linear(layer+".mlp.fc2", e.Width, e.Intermediate, true)
	}
	t.norm("final_layer_norm", e.Width)
	return t
}

// textName spells a name of published files as today's, which have no text_model before them.
func textName(name string) string { return strings.TrimPrefix(name, "text_model.") }

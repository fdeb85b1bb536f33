package sd

import "strings"

// Tensors returns the shape of every tensor of the network, by its name in the files of transformers today.
func (e TextEncoder) Tensors() map[string][]int {
	t := table{
		"embeddings.token_embedding.weight":    {e.Vocabulary, e.Width},
		"embeddings.position_embedding.weight": {e.Positions, e.Width},
	}
	t.layers("encoder", e.Layers, e.Width, e.Intermediate)
	t.norm("final_layer_norm", e.Width)
	return t
}

// textName spells a name of published files as today's, which have no text_model before them.
func textName(name string) string { return strings.TrimPrefix(name, "text_model.") }

package sd

import "path/filepath"

// TextEncoder is the configuration of a CLIPTextModel.
type TextEncoder struct {
	Vocabulary   int
	Positions    int
	Width        int
	Intermediate int // width of the perceptrons
	Layers       int
	Heads        int
	QuickGELU    bool // x·sigmoid(1.702x), as in 1.x; else GELU by erf, as in 2.x
	Epsilon      float64
	// EOS is the id at which the pooled state is taken. 2 stands, in files written before this was right, for where the largest id is.
	EOS int
}

func readTextEncoder(dir string) (TextEncoder, error) {
	s, err := readSettings(filepath.Join(dir, "config.json"))
	if err != nil {
		return TextEncoder{}, err
	}
	for _, a := range get(s, "architectures", []string(nil)) {
		if a != "CLIPTextModel" && a != "FlaxCLIPTextModel" {
			s.refuse("architectures", "", []string{"CLIPTextModel"})
		}
	}
	e := textEncoder(s)
	return e, s.err()
}

func textEncoder(s *settings) TextEncoder {
	only(s, "model_type", "clip_text_model", map[string]string{"t5": "Stable Diffusion 3, PixArt and others"}, "clip_text_model")
	e := TextEncoder{
		Vocabulary:   s.positive("vocab_size", 49408),
		Positions:    only(s, "max_position_embeddings", 77, nil, 77),
		Width:        s.positive("hidden_size", 512),
		Intermediate: s.positive("intermediate_size", 2048),
		Layers:       s.positive("num_hidden_layers", 12),
		Heads:        s.positive("num_attention_heads", 8),
		QuickGELU:    only(s, "hidden_act", "quick_gelu", nil, "quick_gelu", "gelu") == "quick_gelu",
		Epsilon:      get(s, "layer_norm_eps", 1e-5),
		EOS:          get(s, "eos_token_id", 49407),
	}
	if e.Width%e.Heads != 0 {
		s.fail(ErrConfig, "hidden_size is %d, expected a multiple of num_attention_heads, %d", e.Width, e.Heads)
	}
	return e
}

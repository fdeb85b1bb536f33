package sd

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/doob-diffusion/doob/checkpoint"
)

// CLIP is the configuration of a CLIPModel: a network that takes texts and pictures to one space, such as openai/clip-vit-large-patch14.
type CLIP struct {
	Text       TextEncoder
	Picture    PictureEncoder
	Projection int // width of the common space
}

// PictureEncoder is the configuration of CLIP's network of pictures.
type PictureEncoder struct {
	Width        int
	Intermediate int // width of the perceptrons
	Layers       int
	Heads        int
	Side         int  // of the square pictures that it takes
	Patch        int  // side of the squares that are one token, a divisor of Side
	QuickGELU    bool // as in [TextEncoder]
	Epsilon      float64
}

// Tokens returns how many there are: one for every patch, after one for the whole.
func (p PictureEncoder) Tokens() int { return p.Side/p.Patch*(p.Side/p.Patch) + 1 }

// OpenCLIP reads the configuration of a CLIPModel in a folder, and opens its weights, by the names of [CLIP.Tensors].
func OpenCLIP(dir string) (CLIP, *Weights, error) {
	c, err := ReadCLIP(dir)
	if err != nil {
		return CLIP{}, nil, fmt.Errorf("model %s: %w", dir, err)
	}
	r, err := checkpoint.OpenModel(dir)
	if err != nil {
		if other := weightsIn(dir); other != "" {
			err = fmt.Errorf("%w: it has weights as %s only, supported is safetensors", ErrUnsupported, other)
		}
		return CLIP{}, nil, fmt.Errorf("model %s: %w", dir, err)
	}
	w, err := newWeights(r, c.Tensors(), func(name string) string { return name })
	if err != nil {
		return CLIP{}, nil, errors.Join(fmt.Errorf("%s: %w", r.Path(), err), r.Close())
	}
	return c, w, nil
}

// ReadCLIP reads the configuration of a CLIPModel in a folder, which need not have weights.
func ReadCLIP(dir string) (CLIP, error) {
	s, err := readSettings(filepath.Join(dir, "config.json"))
	if err != nil {
		return CLIP{}, instead(err, dir)
	}
	if s.has("_class_name") { // diffusers writes it
		return CLIP{}, fmt.Errorf("%w: it is %s", ErrUnsupported, alone(dir))
	}
	only(s, "model_type", "clip", map[string]string{"clip_text_model": "the text encoder alone"}, "clip")
	text, picture := s.part("text_config"), s.part("vision_config")
	c := CLIP{Text: textEncoder(text), Picture: pictureEncoder(picture), Projection: s.positive("projection_dim", 512)}
	return c, errors.Join(s.err(), text.err(), picture.err())
}

func pictureEncoder(s *settings) PictureEncoder {
	only(s, "model_type", "clip_vision_model", nil, "clip_vision_model")
	only(s, "num_channels", 3, nil, 3)
	p := PictureEncoder{
		Width:        s.positive("hidden_size", 768),
		Intermediate: s.positive("intermediate_size", 3072),
		Layers:       s.positive("num_hidden_layers", 12),
		Heads:        s.positive("num_attention_heads", 12),
		Side:         s.positive("image_size", 224),
		Patch:        s.positive("patch_size", 32),
		QuickGELU:    only(s, "hidden_act", "quick_gelu", nil, "quick_gelu", "gelu") == "quick_gelu",
		Epsilon:      get(s, "layer_norm_eps", 1e-5),
	}
	if p.Width%p.Heads != 0 {
		s.fail(ErrConfig, "hidden_size is %d, expected a multiple of num_attention_heads, %d", p.Width, p.Heads)
	}
	if p.Side%p.Patch != 0 {
		s.fail(ErrConfig, "image_size is %d, expected a multiple of patch_size, %d", p.Side, p.Patch)
	}
	return p
}

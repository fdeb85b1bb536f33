package lora

import (
	"fmt"
	"strings"
)

// Spelling is a way in which adapters are written.
type Spelling string

const (
	PEFT       Spelling = "peft"       // base_model.model.MODULE.lora_A.weight; alpha in adapter_config.json
	Diffusers  Spelling = "diffusers"  // unet.MODULE.lora_A.weight, or .lora.down.weight; alpha in the metadata, else alpha = rank
	Processors Spelling = "processors" // ….attn1.processor.to_q_lora.down.weight, of the first diffusers; alpha = rank; not written
	Kohya      Spelling = "kohya"      // lora_unet_MODULE_WITH_UNDERSCORES.lora_down.weight; alpha beside it
)

// role is what a tensor is to its module.
type role int

const (
	down role = iota
	up
	alpha
)

// key is the name of a tensor, taken apart.
type key struct {
	spelling Spelling
	text     bool // whether its module is the text encoder's
	module   string
	role     role
}

// refused are parts of names of adapters that are more than B·A, or of other models.
var refused = []struct{ part, what string }{
	{"dora_scale", "DoRA"}, {"lora_magnitude_vector", "DoRA"}, {"hada_", "LoHa"}, {"lokr_", "LoKr"}, {"oft_", "OFT"}, {".lora_mid.", "LoCon with a Tucker decomposition"},
	{"lora_unet_input_blocks_", "one of Stable Diffusion XL"}, {"lora_unet_output_blocks_", "one of Stable Diffusion XL"}, {"lora_unet_middle_block_", "one of Stable Diffusion XL"},
	{"lora_te1_", "one of Stable Diffusion XL"}, {"lora_te2_", "one of Stable Diffusion XL"}, {"text_encoder_2.", "one of Stable Diffusion XL"}, {"transformer.", "one of Stable Diffusion 3 or Flux"},
}

// endings are those of tensors in each spelling.
var endings = map[Spelling]map[string]role{
	PEFT:       {".lora_A.weight": down, ".lora_B.weight": up},
	Diffusers:  {".lora_A.weight": down, ".lora_B.weight": up, ".lora.down.weight": down, ".lora.up.weight": up},
	Processors: {"_lora.down.weight": down, "_lora.up.weight": up},
	Kohya:      {".lora_down.weight": down, ".lora_up.weight": up, ".alpha": alpha},
}

// modules has the names of a model's modules by what kohya makes of them.
type modules map[string]string

func newModules(m Model) modules {
	out := modules{}
	for prefix, shapes := range map[string]map[string][]int{"lora_unet_": m.UNet, "lora_te_text_model_": m.Text} {
		for tensor := range shapes {
			if module, ok := strings.CutSuffix(tensor, ".weight"); ok {
				out[prefix+strings.ReplaceAll(module, ".", "_")] = module
			}
		}
	}
	return out
}

// parse takes the name of a tensor apart.
func (m modules) parse(name string) (key, error) {
	for _, r := range refused {
		if strings.Contains(name, r.part) {
			return key{}, fmt.Errorf("%w: tensor %q is of %s, supported are plain low-rank adapters of Stable Diffusion 1.x and 2.x", ErrUnsupported, name, r.what)
		}
	}
	k := key{spelling: Diffusers}
	rest, text := strings.CutPrefix(name, "text_encoder.")
	switch k.text = text; {
	case text:
	case strings.HasPrefix(name, "lora_unet_"), strings.HasPrefix(name, "lora_te_"):
		k.spelling, k.text = Kohya, strings.HasPrefix(name, "lora_te_")
	case strings.HasPrefix(name, "base_model.model."):
		k.spelling, rest = PEFT, strings.TrimPrefix(name, "base_model.model.")
	case strings.Contains(name, ".processor."):
		k.spelling, rest = Processors, strings.TrimPrefix(name, "unet.")
	case strings.HasPrefix(name, "unet."):
		rest = strings.TrimPrefix(name, "unet.")
	default:
		return key{}, unknown(name)
	}
	for ending, role := range endings[k.spelling] {
		module, ok := strings.CutSuffix(rest, ending)
		if !ok {
			continue
		}
		k.role = role
		switch k.spelling {
		case Kohya:
			if k.module, ok = m[module]; !ok {
				return key{}, fmt.Errorf("%w: tensor %q is for a module that the model has not", ErrModel, name)
			}
		case Processors:
			attention, projection, _ := strings.Cut(module, ".processor.")
			if projection == "to_out" {
				projection = "to_out.0"
			}
			k.module = attention + "." + projection
		default:
			k.module = module
		}
		if k.text {
			k.module = strings.TrimPrefix(k.module, "text_model.") // which current files have not
		}
		return k, nil
	}
	return key{}, unknown(name)
}

func unknown(name string) error {
	return fmt.Errorf("%w: tensor %q is none of an adapter in the spellings of PEFT, diffusers and kohya", ErrUnsupported, name)
}

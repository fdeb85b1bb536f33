package sd

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// UNet is the configuration of a UNet2DConditionModel. Levels go from the finest to the coarsest.
type UNet struct {
	Channels     int    // of a latent
	Widths       []int  // channels at each level
	Layers       int    // residual blocks at each level on the way down; one more on the way up
	Context      int    // width of the text states that it attends to
	Heads        []int  // attention heads at each level; the key attention_head_dim has them, for all its name
	AttendDown   []bool // whether a level has attention on the way down
	AttendUp     []bool // and on the way up; coarsest level first
	Groups       int    // of group normalisations
	Epsilon      float64
	Linear       bool    // whether transformers project with linear maps, as in 2.x, and not with 1×1 convolutions
	UpcastScores bool    // whether attention is in float32 whatever the precision
	CosineFirst  bool    // of the sinusoidal features of time
	FreqShift    float64 // of their frequencies
	Side         int     // of the latents that it was trained on; 0 if not known
}

var inChannels = map[int]string{9: "inpainting", 8: "InstructPix2Pix", 7: "upscaler", 5: "depth to image"}

func readUNet(dir string) (UNet, error) {
	s, err := readSettings(filepath.Join(dir, "config.json"))
	if err != nil {
		return UNet{}, err
	}
	only(s, "_class_name", "UNet2DConditionModel", nil, "UNet2DConditionModel", "FlaxUNet2DConditionModel")
	u := UNet{
		Channels:     s.positive("out_channels", 4),
		Widths:       s.levels("block_out_channels", []int{320, 640, 1280, 1280}),
		Layers:       s.positive("layers_per_block", 2),
		Context:      s.positive("cross_attention_dim", 1280),
		Groups:       s.positive("norm_num_groups", 32),
		Epsilon:      get(s, "norm_eps", 1e-5),
		Linear:       get(s, "use_linear_projection", false),
		UpcastScores: get(s, "upcast_attention", false),
		CosineFirst:  get(s, "flip_sin_to_cos", true),
		FreqShift:    get(s, "freq_shift", 0.0),
		Side:         get(s, "sample_size", 0),
	}
	if in := s.positive("in_channels", 4); in != u.Channels {
		s.refuse("in_channels", inChannels[in], fmt.Sprintf("out_channels, %d", u.Channels))
	}
	u.Heads = s.heads(len(u.Widths))
	u.AttendDown = s.attention("down_block_types", "CrossAttn", "DownBlock2D", []string{"CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"})
	u.AttendUp = s.attention("up_block_types", "CrossAttn", "UpBlock2D", []string{"UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"})
	s.refuseUNet()
	if u.Side == 32 && olderThan(s, 0, 9) {
		u.Side = 64 // a default that was written though the model is of another size
	}
	for i, w := range u.Widths {
		if w%u.Groups != 0 || w%u.Heads[i] != 0 || w%2 != 0 {
			s.fail(ErrConfig, "block_out_channels has %d, expected an even multiple of norm_num_groups, %d, and of the heads there, %d", w, u.Groups, u.Heads[i])
		}
	}
	s.blocks(len(u.AttendDown), len(u.AttendUp), len(u.Widths))
	return u, s.err()
}

// refuseUNet refuses what changes what a network computes and is not supported.
func (s *settings) refuseUNet() {
	for key, why := range map[string]string{
		"addition_embed_type": "Stable Diffusion XL and others", "encoder_hid_dim": "", "encoder_hid_dim_type": "", "class_embed_type": "", "num_class_embeds": "",
		"time_cond_proj_dim": "latent consistency model", "num_attention_heads": "", "cross_attention_norm": "", "time_embedding_dim": "",
		"time_embedding_act_fn": "", "timestep_post_act": "", "reverse_transformer_layers_per_block": "",
	} {
		s.null(key, why)
	}
	s.no("dual_cross_attention", "only_cross_attention", "mid_block_only_cross_attention", "center_input_sample", "resnet_skip_time_act", "class_embeddings_concat")
	only(s, "resnet_time_scale_shift", "default", nil, "default")
	only(s, "mid_block_type", "UNetMidBlock2DCrossAttn", nil, "UNetMidBlock2DCrossAttn")
	only(s, "time_embedding_type", "positional", nil, "positional")
	only(s, "attention_type", "default", nil, "default")
	only(s, "act_fn", "silu", nil, "silu")
	only(s, "conv_in_kernel", 3, nil, 3)
	only(s, "conv_out_kernel", 3, nil, 3)
	only(s, "downsample_padding", 1, nil, 1)
	only(s, "mid_block_scale_factor", 1.0, nil, 1)
	only(s, "resnet_out_scale_factor", 1.0, nil, 1)
	only(s, "dropout", 0.0, nil, 0)
	if _, err := strconv.Atoi(string(s.values["transformer_layers_per_block"])); s.has("transformer_layers_per_block") && err != nil {
		s.refuse("transformer_layers_per_block", "Stable Diffusion XL", "1")
	} else {
		only(s, "transformer_layers_per_block", 1, nil, 1)
	}
}

// heads returns attention_head_dim, which is one number for all levels or one for each.
func (s *settings) heads(levels int) []int {
	const key = "attention_head_dim"
	if !strings.HasPrefix(string(s.values[key]), "[") {
		return slices.Repeat([]int{s.positive(key, 8)}, levels)
	}
	heads := s.levels(key, nil)
	if len(heads) != levels {
		s.fail(ErrConfig, "%s is %s, expected %d numbers, as block_out_channels", key, s.values[key], levels)
		return slices.Repeat([]int{1}, levels)
	}
	return heads
}

// attention reads block types, plain or with a word before them for attention.
func (s *settings) attention(key, attending, plain string, missing []string) []bool {
	var attend []bool
	for _, kind := range get(s, key, missing) {
		if kind != plain && kind != attending+plain {
			s.refuse(key, "", []string{plain + " and " + attending + plain})
			return make([]bool, len(missing))
		}
		attend = append(attend, kind != plain)
	}
	return attend
}

// blocks refuses lists of blocks that are not as long as there are levels.
func (s *settings) blocks(down, up, levels int) {
	for key, n := range map[string]int{"down_block_types": down, "up_block_types": up} {
		if n != levels {
			s.fail(ErrConfig, "%s has %d blocks, expected %d, as block_out_channels", key, n, levels)
		}
	}
}

// olderThan reports whether a configuration was written by a version of diffusers before major.minor.
func olderThan(s *settings, major, minor int) bool {
	parts := strings.SplitN(get(s, "_diffusers_version", ""), ".", 3)
	if len(parts) < 2 {
		return false
	}
	a, errA := strconv.Atoi(parts[0])
	b, errB := strconv.Atoi(parts[1])
	return errA == nil && errB == nil && (a < major || a == major && b < minor)
}

package sd

import (
	"encoding/json"
	"fmt"
	"path/filepath"
)

func readUNet2D(dir string) (UNet2D, error) {
	s, err := readSettings(filepath.Join(dir, "config.json"))
	if err != nil {
		return UNet2D{}, err
	}
	only(s, "_class_name", "UNet2DModel", nil, "UNet2DModel")
	u := UNet2D{
		Channels:     s.positive("in_channels", 3),
		Widths:       s.levels("block_out_channels", []int{224, 448, 672, 896}),
		Layers:       s.positive("layers_per_block", 2),
		AttendMiddle: get(s, "add_attention", true),
		Groups:       s.positive("norm_num_groups", 32),
		Epsilon:      get(s, "norm_eps", 1e-5),
		CosineFirst:  get(s, "flip_sin_to_cos", true),
		FreqShift:    get(s, "freq_shift", 0.0),
		PadAround:    only(s, "downsample_padding", 1, nil, 0, 1) == 1,
		Centred:      get(s, "center_input_sample", false),
	}
	if out := s.positive("out_channels", 3); out != u.Channels {
		why := ""
		if out == 2*u.Channels {
			why = "it predicts variances too"
		}
		s.refuse("out_channels", why, fmt.Sprintf("in_channels, %d", u.Channels))
	}
	if !s.isNull("attention_head_dim") {
		u.HeadWidth = s.positive("attention_head_dim", 8)
	}
	u.AttendDown = s.attention("down_block_types", "Attn", "DownBlock2D", []string{"DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"})
	u.AttendUp = s.attention("up_block_types", "Attn", "UpBlock2D", []string{"AttnUpBlock2D", "AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"})
	s.refuseUNet2D()
	s.blocks(len(u.AttendDown), len(u.AttendUp), len(u.Widths))
	for _, w := range u.Widths {
		if w%u.Groups != 0 || w%2 != 0 || u.HeadWidth > 0 && w%u.HeadWidth != 0 {
			s.fail(ErrConfig, "block_out_channels has %d, expected an even multiple of norm_num_groups, %d, and of attention_head_dim, %d", w, u.Groups, u.HeadWidth)
		}
	}
	u.Height, u.Width = s.sides(u.Factor())
	return u, s.err()
}

// refuseUNet2D refuses what changes what a network computes and is not supported.
func (s *settings) refuseUNet2D() {
	for key, why := range map[string]string{"time_embedding_dim": "", "attn_norm_num_groups": "", "class_embed_type": "it is told a class", "num_class_embeds": "it is told a class"} {
		s.null(key, why)
	}
	if s.isNull("mid_block_type") {
		s.fail(ErrUnsupported, "mid_block_type is null, supported is UNetMidBlock2D")
	}
	only(s, "mid_block_type", "UNetMidBlock2D", nil, "UNetMidBlock2D")
	only(s, "time_embedding_type", "positional", map[string]string{"fourier": "of score models with continuous times"}, "positional")
	only(s, "resnet_time_scale_shift", "default", nil, "default")
	only(s, "downsample_type", "conv", nil, "conv")
	only(s, "upsample_type", "conv", nil, "conv")
	only(s, "act_fn", "silu", nil, "silu")
	only(s, "mid_block_scale_factor", 1.0, nil, 1)
}

// isNull reports whether a key is there without a value, where that is not its default.
func (s *settings) isNull(key string) bool { return string(s.values[key]) == "null" }

// sides returns sample_size, which is one number or a height and a width, multiples of a factor; 0 where it is not said.
func (s *settings) sides(factor int) (height, width int) {
	const key = "sample_size"
	var both []int
	switch {
	case !s.has(key):
		return 0, 0
	case json.Unmarshal(s.values[key], &height) == nil:
		width = height
	case json.Unmarshal(s.values[key], &both) == nil && len(both) == 2:
		height, width = both[0], both[1]
	}
	if height < 1 || width < 1 || height%factor != 0 || width%factor != 0 {
		s.fail(ErrConfig, "%s is %s, expected a side of pictures, or height and width, that are multiples of %d", key, s.values[key], factor)
	}
	return height, width
}

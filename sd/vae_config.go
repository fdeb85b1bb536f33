package sd

import "path/filepath"

// VAE is the configuration of an AutoencoderKL. Levels go from the finest to the coarsest.
type VAE struct {
	Channels int     // of a picture
	Latent   int     // channels of a latent
	Widths   []int   // channels at each level
	Layers   int     // residual blocks at each level of the encoder; one more in the decoder
	Groups   int     // of group normalisations
	Scale    float64 // what latents are multiplied with, so that their variance is near 1
}

// Factor returns by how much a latent's sides are smaller than the picture's.
func (v VAE) Factor() int { return 1 << (len(v.Widths) - 1) }

func readVAE(dir string) (VAE, error) {
	s, err := readSettings(filepath.Join(dir, "config.json"))
	if err != nil {
		return VAE{}, err
	}
	only(s, "_class_name", "AutoencoderKL", map[string]string{"AsymmetricAutoencoderKL": "its decoder has a mask", "AutoencoderTiny": "it has other blocks"}, "AutoencoderKL", "FlaxAutoencoderKL")
	v := VAE{
		Channels: s.positive("in_channels", 3),
		Latent:   s.positive("latent_channels", 4),
		Widths:   s.levels("block_out_channels", []int{64}),
		Layers:   s.positive("layers_per_block", 1),
		Groups:   s.positive("norm_num_groups", 32),
		Scale:    get(s, "scaling_factor", 0.18215),
	}
	if out := s.positive("out_channels", 3); out != v.Channels || v.Channels != 3 {
		s.fail(ErrUnsupported, "in_channels is %d and out_channels %d, supported is 3, the colours of a picture", v.Channels, out)
	}
	for _, key := range []string{"shift_factor", "latents_mean", "latents_std"} {
		s.null(key, "of newer models, whose latents are shifted")
	}
	only(s, "act_fn", "silu", nil, "silu")
	for _, key := range []string{"use_quant_conv", "use_post_quant_conv", "mid_block_add_attention"} {
		only(s, key, true, nil, true)
	}
	for key, kind := range map[string]string{"down_block_types": "DownEncoderBlock2D", "up_block_types": "UpDecoderBlock2D"} {
		blocks := get(s, key, []string{kind})
		for _, b := range blocks {
			if b != kind {
				s.refuse(key, "", []string{kind})
				break
			}
		}
		if len(blocks) != len(v.Widths) {
			s.fail(ErrConfig, "%s has %d blocks, expected %d, as block_out_channels", key, len(blocks), len(v.Widths))
		}
	}
	if !(v.Scale > 0) {
		s.fail(ErrConfig, "scaling_factor is %g, expected a number above 0", v.Scale)
	}
	for _, w := range v.Widths {
		if w%v.Groups != 0 {
			s.fail(ErrConfig, "block_out_channels has %d, expected a multiple of norm_num_groups, %d", w, v.Groups)
		}
	}
	return v, s.err()
}

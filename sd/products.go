package sd

import (
	"strconv"
	"strings"
)

// Products returns how many multiplications that are added to a sum one row of the U-Net takes, for latents of some height and width and so many tokens of
// text. It counts convolutions, linear maps and attention, and all else for nothing.
func (u UNet) Products(height, width, tokens int) (n float64) {
	last := len(u.Widths) - 1
	positions := func(level int) float64 {
		return float64(((height-1)>>level)+1) * float64(((width-1)>>level)+1)
	}
	for name, shape := range u.Tensors() {
		if !strings.HasSuffix(name, ".weight") || len(shape) < 2 {
			continue
		}
		level, times := last, 1.0
		switch part, rest, _ := strings.Cut(name, "."); part {
		case "conv_in", "conv_out":
			level = 0
		case "time_embedding":
			level = -1
		case "down_blocks", "up_blocks":
			number, rest, _ := strings.Cut(rest, ".")
			level, _ = strconv.Atoi(number)
			if part == "up_blocks" {
				level = last - level
			}
			switch {
			case strings.HasPrefix(rest, "downsamplers"):
				level++
			case strings.HasPrefix(rest, "upsamplers"):
				level--
			}
		}
		switch {
		case level < 0 || strings.Contains(name, ".time_emb_proj."):
		case strings.Contains(name, ".attn2.to_k.") || strings.Contains(name, ".attn2.to_v."):
			times = float64(tokens)
		default:
			times = positions(level)
		}
		size := 1.0
		for _, d := range shape {
			size *= float64(d)
		}
		n += size * times
		switch { // scores and what they weigh
		case strings.HasSuffix(name, ".attn1.to_q.weight"):
			n += 2 * positions(level) * positions(level) * float64(shape[0])
		case strings.HasSuffix(name, ".attn2.to_q.weight"):
			n += 2 * positions(level) * float64(tokens) * float64(shape[0])
		}
	}
	return n
}

// Products returns those of decoding one latent of some height and width.
func (v VAE) Products(height, width int) (n float64) {
	last := len(v.Widths) - 1
	positions := func(ups int) float64 { return float64(height<<ups) * float64(width<<ups) }
	for name, shape := range v.Tensors() {
		if !v.Drawing(name) || !strings.HasSuffix(name, ".weight") || len(shape) < 2 {
			continue
		}
		ups := 0
		if rest, ok := strings.CutPrefix(name, "decoder.up_blocks."); ok {
			number, rest, _ := strings.Cut(rest, ".")
			if ups, _ = strconv.Atoi(number); strings.HasPrefix(rest, "upsamplers") {
				ups++
			}
		} else if strings.HasPrefix(name, "decoder.conv_out") {
			ups = last
		}
		size := 1.0
		for _, d := range shape {
			size *= float64(d)
		}
		n += size * positions(ups)
	}
	n += 2 * positions(0) * positions(0) * float64(v.Widths[last])
	return n
}

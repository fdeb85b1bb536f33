package reward

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/jpeg"

	"github.com/doob-diffusion/doob/vision"
)

// JPEG is r(x) = Scale·(bytes − Mean) of images compressed as JPEG: with a negative scale the compressibility of Black et al. (2024,
// DDPO), with a positive one its opposite. Nothing bounds it but what the prior can draw, and it has no gradient.
type JPEG struct {
	Shape   []int // of one image: height, width, and 1 or 3 channels, with values from −1 to 1
	Quality int   // of 100
	Mean    float64
	Scale   float64 // of a byte
}

var _ Reward = JPEG{}

// Rewards implements [Reward].
func (r JPEG) Rewards(ctx context.Context, x []float32, n int) ([]float64, error) {
	out, dim := make([]float64, n), len(x)/max(n, 1)
	for i := range out {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		size, err := r.Size(x[i*dim : (i+1)*dim])
		if err != nil {
			return nil, err
		}
		out[i] = r.Scale * (float64(size) - r.Mean)
	}
	return out, nil
}

// Size returns the bytes of an image's file.
func (r JPEG) Size(x []float32) (int, error) {
	h, w, channels := r.Shape[0], r.Shape[1], r.Shape[2]
	var picture image.Image
	switch channels {
	case 1:
		gray := image.NewGray(image.Rect(0, 0, w, h))
		for i := range gray.Pix {
			gray.Pix[i] = vision.Level(x[i])
		}
		picture = gray
	case 3:
		picture = vision.FromSample(x, h, w).Image()
	default:
		return 0, fmt.Errorf("reward: JPEG of %d channels, want 1 or 3", channels)
	}
	var file bytes.Buffer
	if err := jpeg.Encode(&file, picture, &jpeg.Options{Quality: r.Quality}); err != nil {
		return 0, fmt.Errorf("reward: %w", err)
	}
	return file.Len(), nil
}

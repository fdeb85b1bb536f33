package report

import (
	"fmt"
	"image"
)

// Picture writes one image, [height, width, channels] in [−1, 1], pixel by pixel as a PNG; see [ImageGrid] for its values.
func Picture(path string, pixels []float32, height, width, channels int) error {
	if height < 1 || width < 1 || channels != 1 && channels != 3 || len(pixels) != height*width*channels {
		return fmt.Errorf("report: picture %s: %d values of %d×%d with %d channels, want 1 channel (grey) or 3 (RGB)", path, len(pixels), height, width, channels)
	}
	img := image.NewRGBA(image.Rect(0, 0, width, height))
	stamp(img, 0, 0, pixels, width, channels, 1)
	return writePNG(path, img, 1)
}

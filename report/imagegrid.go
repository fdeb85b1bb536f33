package report

import (
	"fmt"
	"image"
	"image/color"
	"image/draw"

	"github.com/doob-diffusion/doob/vision"
)

const (
	gutter     = 2  // pixels around every image of a grid
	leastWidth = 84 // pixels an image of a grid should have to be seen: 28×28 digits are drawn three times as large
)

// ImageGrid writes n images, [n, height, width, channels] in [−1, 1], as one PNG with the given number of columns.
// One channel is grey, three are RGB. Values outside [−1, 1] are clipped, values that are not numbers are magenta.
// Small images are enlarged by a whole factor, so that pixels stay square and sharp.
func ImageGrid(path string, images []float32, n, height, width, channels, columns int) error {
	if columns < 1 {
		return fmt.Errorf("report: image grid %s: %d columns, want at least 1", path, columns)
	}
	if err := checkImages(len(images), n, height, width, channels); err != nil {
		return fmt.Errorf("report: image grid %s: %w", path, err)
	}
	columns = min(columns, n)
	rows := (n + columns - 1) / columns
	scale := (leastWidth + max(height, width) - 1) / max(height, width)
	cellW, cellH := width*scale+gutter, height*scale+gutter
	img := image.NewRGBA(image.Rect(0, 0, columns*cellW+gutter, rows*cellH+gutter))
	draw.Draw(img, img.Rect, image.White, image.Point{}, draw.Src)
	for i := range n {
		left, top := i%columns*cellW+gutter, i/columns*cellH+gutter
		stamp(img, left, top, images[i*height*width*channels:][:height*width*channels], width, channels, scale)
	}
	return writePNG(path, img, 1)
}

// Picture writes one image, [height, width, channels] in [−1, 1], pixel by pixel as a PNG; see [ImageGrid] for its values.
func Picture(path string, pixels []float32, height, width, channels int) error {
	if err := checkImages(len(pixels), 1, height, width, channels); err != nil {
		return fmt.Errorf("report: picture %s: %w", path, err)
	}
	img := image.NewRGBA(image.Rect(0, 0, width, height))
	stamp(img, 0, 0, pixels, width, channels, 1)
	return writePNG(path, img, 1)
}

// checkImages checks values that should be n images.
func checkImages(values, n, height, width, channels int) error {
	switch {
	case channels != 1 && channels != 3:
		return fmt.Errorf("%d channels, want 1 (grey) or 3 (RGB)", channels)
	case n < 1 || height < 1 || width < 1:
		return fmt.Errorf("%d images of %d×%d, want at least 1 of each", n, height, width)
	case values != n*height*width*channels:
		return fmt.Errorf("%d values, want %d = %d images × %d × %d × %d", values, n*height*width*channels, n, height, width, channels)
	}
	return nil
}

// stamp paints one image, [height, width, channels], with every value as a square of scale pixels.
func stamp(img *image.RGBA, left, top int, v []float32, width, channels, scale int) {
	for p := range len(v) / channels {
		x, y := left+p%width*scale, top+p/width*scale
		draw.Draw(img, image.Rect(x, y, x+scale, y+scale), image.NewUniform(pixel(v[p*channels:(p+1)*channels])), image.Point{}, draw.Src)
	}
}

// pixel returns the colour of one or three values in [−1, 1].
func pixel(v []float32) color.RGBA {
	var c [3]uint8
	for k := range c {
		x := v[k%len(v)]
		if x != x {
			return color.RGBA{255, 0, 255, 255}
		}
		c[k] = vision.Level(x)
	}
	return color.RGBA{c[0], c[1], c[2], 255}
}

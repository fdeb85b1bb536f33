package report

import (
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"math"
)

const (
	gutter     = 2  // pixels around every image of a grid
	leastWidth = 84 // pixels an image of a grid should have to be seen: 28×28 digits are drawn three times as large
)

// ImageGrid writes n images, [n, height, width, channels] in [−1, 1], as one PNG with the given number of columns.
// One channel is grey, three are RGB. Values outside [−1, 1] are clipped, values that are not numbers are magenta.
// Small images are enlarged by a whole factor, so that pixels stay square and sharp.
func ImageGrid(path string, images []float32, n, height, width, channels, columns int) error {
	switch {
	case channels != 1 && channels != 3:
		return fmt.Errorf("report: image grid %s: %d channels, want 1 (grey) or 3 (RGB)", path, channels)
	case n < 1 || height < 1 || width < 1 || columns < 1:
		return fmt.Errorf("report: image grid %s: %d images of %d×%d in %d columns, want at least 1 of each", path, n, height, width, columns)
	case len(images) != n*height*width*channels:
		return fmt.Errorf("report: image grid %s: %d values, want %d = %d images × %d × %d × %d", path, len(images),
			n*height*width*channels, n, height, width, channels)
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

// pixel returns the colour of one or three values in [−1, 1].
func pixel(v []float32) color.RGBA {
	var c [3]uint8
	for k := range c {
		x := float64(v[k%len(v)])
		if math.IsNaN(x) {
			return color.RGBA{255, 0, 255, 255}
		}
		c[k] = uint8(math.Round(255 * (min(1, max(-1, x)) + 1) / 2))
	}
	return color.RGBA{c[0], c[1], c[2], 255}
}

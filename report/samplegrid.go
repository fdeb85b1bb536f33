package report

import (
	"fmt"
	"image"
	"image/draw"

	"gonum.org/v1/plot/vg"
	vgdraw "gonum.org/v1/plot/vg/draw"
)

// GridRow is one row of [SampleGrid]: a label and images, [n, height, width, channels] in [−1, 1].
type GridRow struct {
	Label  string
	Images []float32
}

// The measures of a sample grid.
const (
	leastSide   = 56  // image pixels of an image's larger side, at least: digits of 28×28 are drawn twice as large
	largeSide   = 96  // image pixels of an image's larger side from which it is never enlarged
	imageGap    = 2   // image pixels between neighbours of a row
	rowGap      = 8   // image pixels between rows: more, so that rows are read as rows
	labelGap    = 12  // CSS pixels between labels and images
	widestLabel = 180 // CSS pixels
)

// SampleGrid writes rows of images with their labels at the left, such as one row for the prior and one for each class,
// whose columns share their noise. Every row has the same number of images; see [ImageGrid] for their values and
// channels. Small images are enlarged by a whole number of image pixels, so that they stay sharp.
func SampleGrid(path string, rows []GridRow, height, width, channels int) error {
	n, err := checkGrid(rows, height, width, channels)
	if err != nil {
		return fmt.Errorf("report: sample grid %s: %w", path, err)
	}
	var label vg.Length
	for _, r := range rows {
		label = max(label, rowText.Width(fit(r.Label, rowText, widestLabel)))
	}
	if label > 0 {
		label = ceil(label) + labelGap
	}
	scale := (leastSide + max(height, width) - 1) / max(height, width)
	if max(height, width) < largeSide {
		scale = max(scale, pixelRatio) // a pixel of an image is a CSS pixel
	}
	left, top := int(margin+label)*pixelRatio, margin*pixelRatio
	stepX, stepY := width*scale+imageGap, height*scale+rowGap
	c := newCanvas(2*margin+label+vg.Length(n*stepX-imageGap)/pixelRatio, 2*margin+vg.Length(len(rows)*stepY-rowGap)/pixelRatio)
	size := height * width * channels
	for j, r := range rows {
		middle := c.Max.Y - vg.Length(top+j*stepY)/pixelRatio - vg.Length(height*scale)/pixelRatio/2
		c.text(rowText, margin+label-labelGap, middle-0.36*rowText.Font.Size, fit(r.Label, rowText, widestLabel), vgdraw.XRight)
		for i := range n {
			stamp(c.img, left+i*stepX, top+j*stepY, r.Images[i*size:(i+1)*size], width, channels, scale)
		}
	}
	return c.write(path)
}

// stamp paints one image, [height, width, channels], with every value as a square of scale pixels.
func stamp(img *image.RGBA, left, top int, v []float32, width, channels, scale int) {
	for p := range len(v) / channels {
		x, y := left+p%width*scale, top+p/width*scale
		draw.Draw(img, image.Rect(x, y, x+scale, y+scale), image.NewUniform(pixel(v[p*channels:(p+1)*channels])), image.Point{}, draw.Src)
	}
}

// checkGrid returns how many images every row has.
func checkGrid(rows []GridRow, height, width, channels int) (n int, err error) {
	switch {
	case channels != 1 && channels != 3:
		return 0, fmt.Errorf("%d channels, want 1 (grey) or 3 (RGB)", channels)
	case len(rows) == 0 || height < 1 || width < 1:
		return 0, fmt.Errorf("%d rows of images of %d×%d, want at least 1 of each", len(rows), height, width)
	}
	size := height * width * channels
	n = len(rows[0].Images) / size
	for i, r := range rows {
		switch {
		case len(r.Images) == 0 || len(r.Images)%size != 0:
			return 0, fmt.Errorf("row %d (%q) has %d values, want a whole number of images of %d × %d × %d = %d values, at least one",
				i, r.Label, len(r.Images), height, width, channels, size)
		case len(r.Images) != n*size:
			return 0, fmt.Errorf("row %d (%q) has %d images, want %d as in row 0 (%q)", i, r.Label, len(r.Images)/size, n, rows[0].Label)
		}
	}
	return n, nil
}

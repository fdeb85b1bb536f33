package report

import (
	"fmt"

	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
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
	if len(rows) == 0 {
		return fmt.Errorf("report: sample grid %s: 0 rows, want at least 1", path)
	}
	size := height * width * channels
	n := len(rows[0].Images) / max(1, size) // as many images in every row
	for i, r := range rows {
		if err := checkImages(len(r.Images), n, height, width, channels); err != nil {
			return fmt.Errorf("report: sample grid %s: row %d (%q): %w", path, i, r.Label, err)
		}
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
	for j, r := range rows {
		middle := c.Max.Y - vg.Length(top+j*stepY)/pixelRatio - vg.Length(height*scale)/pixelRatio/2
		c.text(rowText, margin+label-labelGap, middle-0.36*rowText.Font.Size, fit(r.Label, rowText, widestLabel), draw.XRight)
		for i := range n {
			stamp(c.img, left+i*stepX, top+j*stepY, r.Images[i*size:(i+1)*size], width, channels, scale)
		}
	}
	return c.write(path)
}

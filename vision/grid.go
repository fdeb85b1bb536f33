package vision

// Grid returns pictures of one size side by side, row by row, with so many in a row; places that are left are black. It panics if there are none, or sizes
// differ.
func Grid(pictures []RGB, columns int) RGB {
	columns = min(columns, len(pictures))
	height, width := pictures[0].Height, pictures[0].Width
	rows := (len(pictures) + columns - 1) / columns
	out := RGB{Height: rows * height, Width: columns * width, Pixels: make([]uint8, 3*rows*height*columns*width)}
	for i, p := range pictures {
		if p.Height != height || p.Width != width {
			panic("vision.Grid: pictures have different sizes")
		}
		for y := range height {
			at := ((i/columns*height+y)*columns + i%columns) * 3 * width
			copy(out.Pixels[at:at+3*width], p.Pixels[y*3*width:])
		}
	}
	return out
}

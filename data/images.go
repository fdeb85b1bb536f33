// Package data provides data sets as plain arrays, and the order in which training visits them.
package data

// Images is a labelled set of images. The zero Images is empty.
type Images struct {
	Pixels                     []float32 // [N, Height, Width, Channels], in [−1, 1]
	Labels                     []int     // [N]
	N, Height, Width, Channels int
}

// At returns image i as a view of Pixels, [Height, Width, Channels].
func (im Images) At(i int) []float32 {
	size := im.Height * im.Width * im.Channels
	return im.Pixels[i*size : (i+1)*size : (i+1)*size]
}

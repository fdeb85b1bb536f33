package data

import (
	"math"
	"slices"
)

// overlap is how much of a tile's measurement is that of its neighbour too, where both results are blended.
const overlap = 0.25

// Tiling covers a picture with tiles of one size that overlap. A picture that is smaller than a tile is continued by its
// border.
type Tiling struct {
	Picture Images
	Tile    []int // height, width, channels

	tops, lefts []int
}

// NewTiling covers a picture with tiles of [height, width, channels].
func NewTiling(picture Images, tile []int) Tiling {
	starts := func(length, side int) []int {
		step := max(1, side-int(overlap*float64(side)))
		var out []int
		for at := 0; ; at += step {
			if at+side >= length {
				return append(out, max(0, length-side))
			}
			out = append(out, at)
		}
	}
	return Tiling{Picture: picture, Tile: tile, tops: starts(picture.Height, tile[0]), lefts: starts(picture.Width, tile[1])}
}

// N is the number of tiles.
func (t Tiling) N() int { return len(t.tops) * len(t.lefts) }

// Cut returns the tiles, [n, height, width, channels].
func (t Tiling) Cut() []float32 {
	var out []float32
	p := t.Picture
	for _, top := range t.tops {
		for _, left := range t.lefts {
			for y := range t.Tile[0] {
				for x := range t.Tile[1] {
					at := (min(top+y, p.Height-1)*p.Width + min(left+x, p.Width-1)) * p.Channels
					out = append(out, p.Pixels[at:at+p.Channels]...)
				}
			}
		}
	}
	return out
}

// Blend puts results of the tiles together, which are larger than the tiles by a factor. Their weights fall toward
// the border of a tile, so that no seam shows.
func (t Tiling) Blend(results []float32, image []int, factor int) []float32 {
	height, width, channels := t.Picture.Height*factor, t.Picture.Width*factor, image[2]
	sum, weight := make([]float64, height*width*channels), make([]float64, height*width)
	hat := func(at, side int) float64 { // 1 in the middle, falling over the overlap
		edge := float64(min(at, side-1-at)) + 0.5
		return math.Min(1, edge/(overlap*float64(side)))
	}
	tile := 0
	for _, top := range t.tops {
		for _, left := range t.lefts {
			from := results[tile*image[0]*image[1]*channels:]
			tile++
			for y := range min(image[0], height-top*factor) {
				for x := range min(image[1], width-left*factor) {
					w := hat(y, image[0]) * hat(x, image[1])
					at := (top*factor+y)*width + left*factor + x
					weight[at] += w
					for c := range channels {
						sum[at*channels+c] += w * float64(from[(y*image[1]+x)*channels+c])
					}
				}
			}
		}
	}
	out := slices.Repeat([]float32{0}, len(sum))
	for i := range out {
		out[i] = float32(sum[i] / weight[i/channels])
	}
	return out
}

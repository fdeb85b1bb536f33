package data

import "math"

// overlap is how much of a tile's measurement is that of its neighbour too, where both results are blended.
const overlap = 0.25

// Tiling covers a picture with tiles of one size that overlap, row by row. A picture that is smaller than a tile is continued by its
// border.
type Tiling struct {
	Height, Width int   // of the picture
	Tile          []int // height, width, channels

	tops, lefts []int
}

// NewTiling covers a picture with tiles of [height, width, channels].
func NewTiling(height, width int, tile []int) Tiling {
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
	return Tiling{Height: height, Width: width, Tile: tile, tops: starts(height, tile[0]), lefts: starts(width, tile[1])}
}

// N is the number of tiles.
func (t Tiling) N() int { return len(t.tops) * len(t.lefts) }

// Cut returns n tiles from the one of a number on, [n, height, width, channels], of a picture of which pixel fills in single ones.
func (t Tiling) Cut(from, n int, pixel func(y, x int, dst []float32)) []float32 {
	out := make([]float32, 0, n*t.Tile[0]*t.Tile[1]*t.Tile[2])
	one := make([]float32, t.Tile[2])
	for tile := from; tile < from+n; tile++ {
		top, left := t.tops[tile/len(t.lefts)], t.lefts[tile%len(t.lefts)]
		for y := range t.Tile[0] {
			for x := range t.Tile[1] {
				pixel(min(top+y, t.Height-1), min(left+x, t.Width-1), one)
				out = append(out, one...)
			}
		}
	}
	return out
}

// Blend puts results of the tiles together, which are larger than the tiles by a factor. Their weights fall toward the border of a tile, so
// that no seam shows. It holds as many rows as a tile has, and hands them on from top to bottom as no more tiles come to them.
type Blend struct {
	tiling      Tiling
	result      []int // height, width, channels
	factor      int
	rows        func(rows []float32) error
	sum, weight []float64 // of rows from top on
	top, tile   int
}

// Blend begins with the first tile. Rows is called with whole rows of the picture.
func (t Tiling) Blend(result []int, factor int, rows func(rows []float32) error) *Blend {
	width := t.Width * factor
	return &Blend{tiling: t, result: result, factor: factor, rows: rows, sum: make([]float64, result[0]*width*result[2]), weight: make([]float64, result[0]*width)}
}

// Add takes the results of the next tiles. After the last one all rows have been handed on.
func (b *Blend) Add(results []float32) error {
	t, size := b.tiling, b.result[0]*b.result[1]*b.result[2]
	for ; len(results) > 0; results = results[size:] {
		row := b.tile / len(t.lefts)
		b.add(results[:size], t.lefts[b.tile%len(t.lefts)]*b.factor)
		if b.tile++; b.tile%len(t.lefts) != 0 {
			continue
		}
		next := t.Height
		if row+1 < len(t.tops) {
			next = t.tops[row+1]
		}
		if err := b.finish(next * b.factor); err != nil {
			return err
		}
	}
	return nil
}

// add adds one tile, whose first row is the first one here.
func (b *Blend) add(result []float32, left int) {
	width, channels := b.tiling.Width*b.factor, b.result[2]
	hat := func(at, side int) float64 { // 1 in the middle, falling over the overlap
		edge := float64(min(at, side-1-at)) + 0.5
		return math.Min(1, edge/(overlap*float64(side)))
	}
	for y := range min(b.result[0], b.tiling.Height*b.factor-b.top) {
		for x := range min(b.result[1], width-left) {
			w := hat(y, b.result[0]) * hat(x, b.result[1])
			at := y*width + left + x
			b.weight[at] += w
			for c := range channels {
				b.sum[at*channels+c] += w * float64(result[(y*b.result[1]+x)*channels+c])
			}
		}
	}
}

// finish hands on the rows above next, and moves down to there.
func (b *Blend) finish(next int) error {
	n := (next - b.top) * b.tiling.Width * b.factor
	channels := b.result[2]
	out := make([]float32, n*channels)
	for i := range out {
		out[i] = float32(b.sum[i] / b.weight[i/channels])
	}
	clear(b.sum[copy(b.sum, b.sum[n*channels:]):])
	clear(b.weight[copy(b.weight, b.weight[n:]):])
	b.top = next
	return b.rows(out)
}

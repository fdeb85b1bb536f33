package conv

import "github.com/doob-diffusion/doob/cpu/internal/kern"

// A tile of 4×4 outputs needs a tile of 6×6 inputs, and either has 36 points when transformed. The kernel has 9 taps.
const (
	tileSide   = 4
	inputSide  = 6
	tilePoints = 36
	tileTaps   = 9
)

// lineFloats is the number of floats of a cache line.
const lineFloats = 16

// tiling is how the outputs of a convolution are divided into tiles: image after image, row after row.
type tiling struct{ images, rows, columns int }

func newTiling(images, h, w int) tiling {
	return tiling{images, ceil(h, tileSide), ceil(w, tileSide)}
}

func (t tiling) count() int { return t.images * t.rows * t.columns }

// run returns where tile number first lies, and how many tiles from it on, at most limit, lie in its row.
func (t tiling) run(first, limit int) (image, row, column, count int) {
	row, column = first/t.columns, first%t.columns
	return row / t.rows, row % t.rows, column, min(limit, t.columns-column)
}

// picture is how the tiles lie in one of the two sides of a convolution: the shape of its images, the rows and columns of
// zeros before them, the side of a tile, and a row of zeros to read outside of them.
type picture struct {
	h, w, c, top, left, side int
	zero                     []float32
}

// rowPointers is room for the rows of a tile; on the stack it would escape through the kernel.
type rowPointers [inputSide]*float32

// transform writes the points of count tiles to v, by the kernel made for tiles of that side.
func (p *picture) transform(kernel *kern.Wino, rows *rowPointers, t tiling, v []float32, point, row int, x []float32, first, count int) {
	f := kernel.Input
	if p.side == tileSide {
		f = kernel.OutputGrad
	}
	for at := 0; at < count; {
		image, i, j, n := t.run(first+at, count-at)
		for r := range p.side {
			rows[r] = &p.zero[0]
			if k := i*tileSide - p.top + r; 0 <= k && k < p.h {
				rows[r] = &x[(image*p.h+k)*p.w*p.c]
			}
		}
		f(&v[at*row], point, row, &rows[0], p.w, j*tileSide-p.left, p.c, p.c, n)
		at += n
	}
}

// little reports whether the products of so many tiles take some 20 µs at most.
func little(t tiling, ci, co int) bool {
	return 2*tilePoints*float64(t.count())*float64(ci)*float64(co) < 4e6
}

func dispatch(ctx *kern.Context, alone bool, parts int, part func(part, worker int)) {
	if !alone {
		ctx.Pool.Run(parts, part)
		return
	}
	for i := range parts {
		part(i, 0)
	}
}

func ceil(n, by int) int { return (n + by - 1) / by }

func roundUp(n, to int) int { return ceil(n, to) * to }

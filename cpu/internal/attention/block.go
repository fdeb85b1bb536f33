package attention

import (
	"github.com/doob-diffusion/doob/cpu/internal/gemm"
	"github.com/doob-diffusion/doob/cpu/internal/kern"
)

// block is a matrix in scratch memory, with room for whole tiles and rows of the given stride.
type block struct {
	data   []float32
	stride int
}

// row returns the first n values of a row.
func (b block) row(i, n int) []float32 { return b.data[i*b.stride:][:n] }

// area is scratch memory that is cut into blocks.
type area []float32

// take returns a block of so many rows and columns.
func (a *area) take(rows, columns int) block {
	n, stride := size(rows, columns), padded(columns)
	b := block{(*a)[:n:n], stride}
	*a = (*a)[n:]
	return b
}

// size returns the floats that a block takes.
func size(rows, columns int) int { return rows * padded(columns) }

// padded returns the stride of rows of so many columns: room for whole panels of every instruction set, in an odd number of
// cache lines, for rows whose distance is a power of two would lie on each other in the cache.
func padded(columns int) int {
	const line = 16
	return (ceil(columns, line) | 1) * line
}

// point appends pointers to so many rows, and to the last again to fill the last tile.
func point(rows []*float32, k *kern.Gemm, of block, count int) []*float32 {
	rows = rows[:0]
	for i := range count {
		rows = append(rows, &of.data[i*of.stride])
	}
	for len(rows)%k.MR != 0 {
		rows = append(rows, rows[count-1])
	}
	return rows
}

// multiply computes c = A·B, or with accumulate c += A·B. The first depth values of the rows are those of A. B is the rows
// from first on of some panels, of those from one up to another.
func multiply(k *kern.Gemm, c block, rows []*float32, depth int, p gemm.Panels, packed []float32, first, panel, end int, accumulate bool) {
	for j := panel; j < end; j++ {
		kernel, width := k.Tile, p.Width(j)
		if width < k.NR {
			kernel = k.Half
		}
		b := &packed[p.Start(j)+first*width]
		for t := 0; t < len(rows); t += k.MR {
			to := &c.data[t*c.stride+(j-panel)*k.NR]
			var add *float32
			if accumulate {
				add = to
			}
			kernel(1, depth, &rows[t], b, width, to, c.stride, add, c.stride, nil)
		}
	}
}

// outer adds Xᵀ·Y to c, for X and Y of as many rows as there are pairs of offsets, of which m and n columns count.
func outer(k *kern.Gemm, c, x, y block, pairs []int32, m, n int) {
	p := gemm.Panels{N: n, NR: k.NR}
	for j := range p.Count() {
		kernel := k.Outer
		if p.Width(j) < k.NR {
			kernel = k.OuterHalf
		}
		for i := 0; i < m; i += k.OR {
			kernel(len(pairs)/2, &pairs[0], &x.data[i], &y.data[j*k.NR], &c.data[i*c.stride+j*k.NR], c.stride, 1)
		}
	}
}

// offset lists where so many rows of x and y begin, for outer.
func offset(pairs []int32, x, y block, rows int) []int32 {
	pairs = pairs[:0]
	for i := range rows {
		pairs = append(pairs, int32(i*x.stride), int32(i*y.stride))
	}
	return pairs
}

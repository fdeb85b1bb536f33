package conv

import (
	"unsafe"

	"github.com/doob-diffusion/doob/cpu/internal/gemm"
	"github.com/doob-diffusion/doob/cpu/internal/kern"
)

// pass is a sum over taps for a grid of pixels,
//
//	out[b,i,j] = Σ_t in[b, i·stepH + dh_t, j·stepW + dw_t]·B_t,
//
// whose results may lie anywhere: a forward pass is one, an input gradient is one for each phase of the stride.
//
// The product reads the pixels where they are, by a pointer per tap and pixel; beyond the image it reads a row of zeros.
type pass struct {
	batch, h, w, c int // the map that is read
	rows, columns  int // the grid
	stepH, stepW   int
	taps           []tap
	// Where the result of a grid pixel goes: origin + b·image + i·row + j·column.
	n, origin, image, row, column int

	byPixel bool   // neighbours in a tile are images, not pixels of one image, see plan
	runs    []run  // if taps are copied to one row per pixel, what is adjacent; else nil
	moves   []move // then, how the taps of a pixel are copied that are all inside, and the floats that are read and written in that
	reach   [2]int
	spread  bool // the product makes a column per tap and channel, see spread.go

	product *gemm.Product
	offset  []int // of the taps of a pixel, from the tap at (0, 0)
	zeros   []float32
	lanes   int
	low     [2]int // the least offset of a tap, in rows and columns, and the greatest
	high    [2]int
	ctx     *kern.Context
}

// tap is one term of the sum: the offset in the map and which of the kernel's taps it is.
type tap struct{ dh, dw, kernel int }

// run is a number of taps that are adjacent in the map.
type run struct{ first, taps, dh, dw int }

// move is a copy of moved floats: where they are from the first tap of a pixel on, and where in its row they go, in bytes.
type move struct{ from, to uintptr }

const moved = 4

// narrow is the number of channels below which the taps of a pixel are copied to one row: the kernel's work per pointer
// would be too little.
const narrow = 16

// plan divides the pass, which is one of several.
func (p *pass) plan(k *kern.Gemm, workers, several int) {
	p.offset, p.runs, p.byPixel, p.spread, p.lanes = nil, nil, false, false, k.MR
	for i, t := range p.taps {
		p.offset = append(p.offset, (t.dh*p.w+t.dw)*p.c)
		if i == 0 {
			p.low, p.high = [2]int{t.dh, t.dw}, [2]int{t.dh, t.dw}
		}
		p.low = [2]int{min(p.low[0], t.dh), min(p.low[1], t.dw)}
		p.high = [2]int{max(p.high[0], t.dh), max(p.high[1], t.dw)}
		if n := len(p.runs); n > 0 && p.runs[n-1].dh == t.dh && p.runs[n-1].dw+p.runs[n-1].taps == t.dw {
			p.runs[n-1].taps++
		} else {
			p.runs = append(p.runs, run{i, 1, t.dh, t.dw})
		}
	}
	p.zeros = kern.Aligned(p.c)
	pixels := p.batch * p.rows * p.columns
	if p.c < narrow && len(p.taps) > 1 {
		p.moves, p.reach = nil, [2]int{}
		for _, r := range p.runs {
			from, to := ((r.dh-p.low[0])*p.w+r.dw-p.low[1])*p.c, r.first*p.c
			for q := 0; q < r.taps*p.c; q += moved {
				p.moves = append(p.moves, move{uintptr(4 * (from + q)), uintptr(4 * (to + q))})
				p.reach = [2]int{max(p.reach[0], from+q+moved), max(p.reach[1], to+q+moved)}
			}
		}
		p.product = gemm.NewProduct(k, workers, pixels, 1, len(p.taps)*p.c, p.n, several)
		return
	}
	p.runs = nil
	if p.spread = several == 1 && p.spreads(k.NR); p.spread {
		p.product = gemm.NewProduct(k, workers, p.batch*p.h*p.w, 1, p.c, len(p.taps)*p.n, several)
		return
	}
	p.product = gemm.NewProduct(k, workers, pixels, len(p.taps), p.c, p.n, several)
	// A tile of one pixel in many images has all of its taps inside or outside of the image, and leaves the latter out.
	// That pays if there are many of them: the rows of such a tile are far apart.
	const most = 0.92
	p.byPixel = p.batch >= k.MR && p.inside() < most
}

// inside returns the share of taps, over all pixels, that are inside of the map.
func (p *pass) inside() float64 {
	hits, all := 0, 0
	for i := range p.rows {
		for _, t := range p.taps {
			all++
			if y := i*p.stepH + t.dh; y >= 0 && y < p.h {
				hits++
			}
		}
	}
	share := float64(hits) / float64(max(all, 1))
	hits, all = 0, 0
	for j := range p.columns {
		for _, t := range p.taps {
			all++
			if x := j*p.stepW + t.dw; x >= 0 && x < p.w {
				hits++
			}
		}
	}
	return share * float64(hits) / float64(max(all, 1))
}

// cursor walks over the pixels of the grid in the order of the product's rows.
type cursor struct{ b, i, j int }

func (p *pass) at(row int) cursor {
	if p.byPixel {
		return cursor{row % p.batch, row / p.batch / p.columns, row / p.batch % p.columns}
	}
	return cursor{row / p.columns / p.rows, row / p.columns % p.rows, row % p.columns}
}

func (p *pass) next(c *cursor) {
	if p.byPixel {
		if c.b++; c.b < p.batch {
			return
		}
		c.b = 0
	}
	if c.j++; c.j < p.columns {
		return
	}
	c.j = 0
	if c.i++; c.i < p.rows {
		return
	}
	c.i = 0
	c.b++
}

// Place implements [gemm.Source].
func (p *pass) Place(c []int, first int) {
	if p.spread {
		for i := range c {
			c[i] = (first + i) * len(p.taps) * p.n
		}
		return
	}
	at := p.at(first)
	for i := range c {
		c[i] = p.origin + at.b*p.image + at.i*p.row + at.j*p.column
		p.next(&at)
	}
}

// Point implements [gemm.Source].
func (p *pass) Point(rows []*float32, used []uint64, first, count int, chunk gemm.Chunk, worker int, x []float32) {
	if p.spread {
		for i := range count {
			rows[i] = &x[(first+i)*p.c+chunk.From]
		}
		for i := count; i%p.lanes != 0; i++ {
			rows[i] = rows[count-1]
		}
		return
	}
	if p.runs != nil {
		p.gather(rows, first, count, chunk, worker, x)
		return
	}
	at := p.at(first)
	zero := &p.zeros[0]
	offset := p.offset[chunk.Tap:][:chunk.Taps]
	taps := p.taps[chunk.Tap:][:chunk.Taps]
	for tile := 0; tile*p.lanes < count; tile++ {
		list := rows[tile*chunk.Taps*p.lanes:][:chunk.Taps*p.lanes]
		seen := uint64(0)
		for lane := range p.lanes {
			if tile*p.lanes+lane >= count {
				for t := range offset {
					list[t*p.lanes+lane] = zero
				}
				continue
			}
			y, z := at.i*p.stepH, at.j*p.stepW
			origin := ((at.b*p.h+y)*p.w+z)*p.c + chunk.From
			if p.isInside(y, z) {
				for t, o := range offset {
					list[t*p.lanes+lane] = &x[origin+o]
				}
				seen = 1<<chunk.Taps - 1
			} else {
				for t, tap := range taps {
					if y, z := y+tap.dh, z+tap.dw; uint(y) < uint(p.h) && uint(z) < uint(p.w) {
						list[t*p.lanes+lane] = &x[origin+offset[t]]
						seen |= 1 << t
					} else {
						list[t*p.lanes+lane] = zero
					}
				}
			}
			p.next(&at)
		}
		used[tile] = seen
	}
}

// isInside reports whether the map has all taps of the pixel at row y, column z.
func (p *pass) isInside(y, z int) bool {
	return y+p.low[0] >= 0 && y+p.high[0] < p.h && z+p.low[1] >= 0 && z+p.high[1] < p.w
}

// gather copies the taps of every pixel to one row, and points there.
func (p *pass) gather(rows []*float32, first, count int, chunk gemm.Chunk, worker int, x []float32) {
	width := len(p.taps) * p.c
	area := p.ctx.Scratch(worker, p.scratch())
	if chunk.From == 0 { // else they are still there
		p.copyTaps(area, first, count, x)
	}
	for i := range count {
		rows[i] = &area[i*width+chunk.From]
	}
	for i := count; i%p.lanes != 0; i++ {
		rows[i] = rows[count-1]
	}
}

// scratch returns the floats that a worker needs for copied rows.
func (p *pass) scratch() int { return p.product.BlockRows()*len(p.taps)*p.c + moved }

// copyTaps writes a row of len(taps)·c floats per pixel, and may write up to three floats beyond the last one.
func (p *pass) copyTaps(area []float32, first, count int, x []float32) {
	width := len(p.taps) * p.c
	at := p.at(first)
	for i := range count {
		row := area[i*width:]
		y, z := at.i*p.stepH, at.j*p.stepW
		if p.isInside(y, z) {
			if from := x[((at.b*p.h+y+p.low[0])*p.w+z+p.low[1])*p.c:]; len(from) >= p.reach[0] && len(row) >= p.reach[1] {
				// What is written beyond a run is where the next one goes, or the next row.
				dst, src := unsafe.Pointer(&row[0]), unsafe.Pointer(&from[0])
				for _, m := range p.moves {
					*(*[moved]float32)(unsafe.Add(dst, m.to)) = *(*[moved]float32)(unsafe.Add(src, m.from))
				}
				p.next(&at)
				continue
			}
		}
		clear(row[:width])
		for _, r := range p.runs {
			y, z := y+r.dh, z+r.dw
			if from, to := max(0, -z), min(r.taps, p.w-z); uint(y) < uint(p.h) && from < to {
				dst, src := row[(r.first+from)*p.c:(r.first+to)*p.c], x[((at.b*p.h+y)*p.w+z+from)*p.c:]
				for q := range dst { // a few floats: less than a call
					dst[q] = src[q]
				}
			}
		}
		p.next(&at)
	}
}

package vec

import (
	"fmt"

	"github.com/doob-diffusion/doob/cpu/internal/kern"
)

// Permute is a prepared permutation of axes: axis i of the result is axis perm[i] of the operand.
//
// Axes that stay together are one. If the last axis stays, runs of it are copied; otherwise the last axes of the two sides
// are a matrix that is transposed in squares, for each index of the others.
type Permute struct {
	size     int
	outer    []axis // the axes that are looped over, the slowest first
	run      int    // values of a run, if the last axis stays
	rows     axis   // else the last axis of the result: dst stride 1
	columns  axis   // and of the operand: src stride 1
	count    int    // of pieces of runs or of matrices
	block    int    // of them in a part
	ctx      *kern.Context
	dst, src []float32
	part     func(part, worker int)
}

type axis struct{ size, src, dst int } // strides in values

// PreparePermute takes the dimensions of the operand.
func PreparePermute(dims, perm []int) (*Permute, error) {
	if len(dims) != len(perm) {
		return nil, fmt.Errorf("vec: permutation %v of %d axes", perm, len(dims))
	}
	seen := make([]bool, len(dims))
	for i, p := range perm {
		if p < 0 || p >= len(dims) || seen[p] {
			return nil, fmt.Errorf("vec: permutation %v: expected each of 0 to %d once", perm, len(dims)-1)
		}
		if dims[i] < 0 {
			return nil, fmt.Errorf("vec: permutation of shape %v: expected dimensions of at least 0", dims)
		}
		seen[p] = true
	}
	axes, size := collapse(dims, perm)
	p := &Permute{size: size}
	if size == 0 {
		return p, nil
	}
	last := len(axes) - 1
	if axes[last].src == 1 {
		p.run, p.outer = axes[last].size, axes[:last]
		p.count, p.block = ceil(p.run, grain), max(1, grain/p.run)
		p.part = p.copyPart
	} else {
		p.rows = axes[last]
		for _, a := range axes[:last] {
			if a.src == 1 {
				p.columns = a
			} else {
				p.outer = append(p.outer, a)
			}
		}
		p.count = ceil(p.rows.size, pieceRows) * ceil(p.columns.size, pieceColumns)
		p.block = max(1, grain/(min(p.rows.size, pieceRows)*min(p.columns.size, pieceColumns)))
		p.part = p.transposePart
	}
	for _, a := range p.outer {
		p.count *= a.size
	}
	return p, nil
}

// The pieces of a matrix are so many cache lines of the result that they stay in L1 until they are full.
const pieceRows, pieceColumns = 64, 256

// collapse returns the axes of the result without those of size 1, with the neighbours merged that are also neighbours in
// the operand. There is at least one.
func collapse(dims, perm []int) (axes []axis, size int) {
	strides := make([]int, len(dims))
	size = 1
	for i := len(dims) - 1; i >= 0; i-- {
		strides[i] = size
		size *= dims[i]
	}
	for _, p := range perm {
		a := axis{size: dims[p], src: strides[p]}
		if a.size == 1 {
			continue
		}
		if n := len(axes); n > 0 && axes[n-1].src == a.src*a.size {
			axes[n-1] = axis{size: axes[n-1].size * a.size, src: a.src}
			continue
		}
		axes = append(axes, a)
	}
	if len(axes) == 0 {
		axes = []axis{{size: size, src: 1}}
	}
	stride := 1
	for i := len(axes) - 1; i >= 0; i-- {
		axes[i].dst = stride
		stride *= axes[i].size
	}
	return axes, size
}

// Run permutes src into dst, which must not overlap.
func (p *Permute) Run(ctx *kern.Context, dst, src []float32) {
	check("the result of a permutation", dst, p.size)
	check("the operand of a permutation", src, p.size)
	if p.size == 0 {
		return
	}
	p.ctx, p.dst, p.src = ctx, dst, src
	run(ctx, ceil(p.count, p.block), p.size, p.part)
	p.ctx, p.dst, p.src = nil, nil, nil
}

// offsets returns where the values of an index of the outer axes begin.
func (p *Permute) offsets(index int) (dst, src int) {
	for i := len(p.outer) - 1; i >= 0; i-- {
		a := p.outer[i]
		k := index % a.size
		index /= a.size
		dst += k * a.dst
		src += k * a.src
	}
	return dst, src
}

func (p *Permute) copyPart(part, _ int) {
	pieces := ceil(p.run, grain)
	first, last := span(part, p.block, p.count)
	if pieces > 1 || len(p.outer) == 0 {
		for i := first; i < last; i++ {
			dst, src := p.offsets(i / pieces)
			from, to := span(i%pieces, grain, p.run)
			copy(p.dst[dst+from:dst+to], p.src[src+from:])
		}
		return
	}
	inner := p.outer[len(p.outer)-1]
	for i := first; i < last; {
		dst, src := p.offsets(i)
		for end := min(last, i+inner.size-i%inner.size); i < end; i++ {
			copy(p.dst[dst:dst+p.run], p.src[src:])
			dst += inner.dst
			src += inner.src
		}
	}
}

func (p *Permute) transposePart(part, _ int) {
	rowPieces, columnPieces := ceil(p.rows.size, pieceRows), ceil(p.columns.size, pieceColumns)
	first, last := span(part, p.block, p.count)
	for i := first; i < last; i++ {
		dst, src := p.offsets(i / (rowPieces * columnPieces))
		top, bottom := span(i/columnPieces%rowPieces, pieceRows, p.rows.size)
		left, right := span(i%columnPieces, pieceColumns, p.columns.size)
		p.transpose(dst+left*p.columns.dst+top, src+top*p.rows.src+left, bottom-top, right-left)
	}
}

// transpose sets dst[j·columns.dst + i] = src[i·rows.src + j]: whole squares by the kernel, the edges one by one.
func (p *Permute) transpose(dst, src, rows, columns int) {
	side := p.ctx.Gemm.NR / 2
	wholeRows, wholeColumns := rows/side*side, columns/side*side
	if wholeColumns > 0 {
		for i := 0; i < wholeRows; i += side {
			p.ctx.Gemm.Transpose(wholeColumns/side, &p.src[src+i*p.rows.src], p.rows.src, &p.dst[dst+i], p.columns.dst)
		}
	}
	for j := range columns {
		i := 0
		if j < wholeColumns {
			i = wholeRows
		}
		d, s := p.dst[dst+j*p.columns.dst:], p.src[src+j:]
		for ; i < rows; i++ {
			d[i] = s[i*p.rows.src]
		}
	}
}

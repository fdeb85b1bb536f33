package conv

import (
	"github.com/doob-diffusion/doob/cpu/internal/gemm"
	"github.com/doob-diffusion/doob/cpu/internal/kern"
)

// A pass with few output channels, n, would use a few columns of the kernels' tiles. With stride 1 it is done in two steps
// instead: a product with all taps side by side as columns,
//
//	T[q, (t,o)] = Σ_c in[q,c]·B_t[c,o]   for every pixel q that is read,
//
// and the sum of what belongs to an output pixel, out[p,o] = Σ_t T[p + tap t, (t,o)].

// spreads reports whether two steps are less than half of the work.
func (p *pass) spreads(nr int) bool {
	one, all := gemm.Panels{N: p.n, NR: nr}, gemm.Panels{N: len(p.taps) * p.n, NR: nr}
	return p.stepH == 1 && p.stepW == 1 && len(p.taps) > 1 && p.n < nr/2 &&
		2*padded(all)*p.h*p.w < len(p.taps)*padded(one)*p.rows*p.columns
}

// padded returns the columns of all panels.
func padded(p gemm.Panels) int { return (p.Count()-1)*p.NR + p.Width(p.Count()-1) }

// spreadLen returns the floats of T.
func (p *pass) spreadLen() int {
	if !p.spread {
		return 0
	}
	return p.batch * p.h * p.w * len(p.taps) * p.n
}

// packSpread packs the kernel w with all taps as columns; transposed says that w's rows are the channels of the result.
func (p *pass) packSpread(ctx *kern.Context, dst []float32, w kern.Numbers, transposed bool) {
	b := p.product.B
	clear(dst[:b.Len()])
	for t, tap := range p.taps {
		of := w.From(tap.kernel * p.c * p.n)
		w := of.Single
		if of.Half != nil { // few numbers, as there are few channels
			w = ctx.Scratch(0, p.c*p.n)
			ctx.Widen(w, of)
		}
		for o := range p.n {
			column := t*p.n + o
			j := column / b.NR
			to := dst[b.Start(j)+column%b.NR:]
			for c := range p.c {
				from := c*p.n + o
				if transposed {
					from = o*p.c + c
				}
				to[c*b.Width(j)] = w[from]
			}
		}
	}
}

// combineRows is how many rows of the grid are one part of the second step.
const combineRows = 16

func (p *pass) combineParts() int {
	if !p.spread {
		return 0
	}
	return (p.batch*p.rows + combineRows - 1) / combineRows
}

// combine sums up T for some rows of the grid.
func (p *pass) combine(part int, out, spread, bias, add []float32) {
	stride := len(p.taps) * p.n
	for row := part * combineRows; row < min((part+1)*combineRows, p.batch*p.rows); row++ {
		b, i := row/p.rows, row%p.rows
		origin := p.origin + b*p.image + i*p.row
		for j := range p.columns {
			at := origin + j*p.column
			for o := range p.n {
				v := float32(0)
				if bias != nil {
					v = bias[o]
				}
				if add != nil {
					v += add[at+o]
				}
				out[at+o] = v
			}
		}
		for t, tap := range p.taps {
			y := i + tap.dh
			left, right := max(0, -tap.dw), min(p.columns, p.w-tap.dw)
			if uint(y) >= uint(p.h) || left >= right {
				continue
			}
			from := spread[((b*p.h+y)*p.w+left+tap.dw)*stride+t*p.n:]
			to := out[origin+left*p.column:]
			for j := range right - left {
				for o := range p.n {
					to[j*p.column+o] += from[j*stride+o]
				}
			}
		}
	}
}

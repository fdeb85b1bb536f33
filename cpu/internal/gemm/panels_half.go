package gemm

import "github.com/doob-diffusion/doob/cpu/internal/kern"

// This file packs a B that may have 16 bits. Some rows of it are widened in scratch memory, and packed from there.

// WidenFloats is the scratch memory that is needed for that: half of a first-level cache.
const WidenFloats = 4096

// PackRowsOf is [Panels.PackRows]. Temp has WidenFloats floats, if b has 16 bits.
func (p Panels) PackRowsOf(t *kern.Table, dst []float32, b kern.Numbers, stride, piece int, temp []float32) {
	first, rows, panel, end := p.piece(piece)
	p.CopyOf(t, dst, b.From(first*stride), stride, first, rows, panel, end, temp)
}

// PackColumnsOf is [Panels.PackColumns].
func (p Panels) PackColumnsOf(t *kern.Table, dst []float32, b kern.Numbers, stride, piece int, temp []float32) {
	first, rows, panel, end := p.piece(piece)
	p.TransposeOf(t, dst, b.From(first), stride, first, rows, panel, end, temp)
}

// CopyOf is [Panels.Copy].
func (p Panels) CopyOf(t *kern.Table, dst []float32, b kern.Numbers, stride, first, rows, panel, end int, temp []float32) {
	if b.Half == nil {
		p.Copy(&t.Gemm, dst, b.Single, stride, first, rows, panel, end)
		return
	}
	columns := min(end*p.NR, p.N) - panel*p.NR
	if rows == 0 || columns <= 0 {
		return
	}
	several := max(1, WidenFloats/columns)
	for r := 0; r < rows; r += several {
		n := min(several, rows-r)
		for i := range n {
			t.Widen(temp[i*columns:][:columns], b.From((r+i)*stride+panel*p.NR))
		}
		p.copy(&t.Gemm, dst, temp, columns, first+r, n, panel, end)
	}
}

// TransposeOf is [Panels.Transpose].
func (p Panels) TransposeOf(t *kern.Table, dst []float32, b kern.Numbers, stride, first, rows, panel, end int, temp []float32) {
	if b.Half == nil {
		p.Transpose(&t.Gemm, dst, b.Single, stride, first, rows, panel, end)
		return
	}
	several := WidenFloats / p.NR
	for j := panel; j < end; j++ {
		width, columns := p.Width(j), p.Columns(j)
		for r := 0; r < rows; r += several {
			n := min(several, rows-r)
			for c := range columns {
				t.Widen(temp[c*several:][:n], b.From((j*p.NR+c)*stride+r))
			}
			packColumns(&t.Gemm, dst[p.Start(j)+(first+r)*width:], width, temp, several, n, columns)
		}
	}
}

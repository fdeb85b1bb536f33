package gemm

import "github.com/doob-diffusion/doob/cpu/internal/kern"

// Panels is the order in which the kernels read a K×N matrix B: panels of NR columns, each of K rows of NR adjacent
// floats. If NR/2 columns hold what remains, the last panel has that width. What is in columns beyond N
// does not matter.
type Panels struct{ K, N, NR int }

// Count returns the number of panels.
func (p Panels) Count() int { return (p.N + p.NR - 1) / p.NR }

// Width returns how many columns panel j has, those beyond N included.
func (p Panels) Width(j int) int {
	if p.N-j*p.NR <= p.NR/2 {
		return p.NR / 2
	}
	return p.NR
}

// Columns returns how many columns of panel j are columns of B.
func (p Panels) Columns(j int) int { return min(p.NR, p.N-j*p.NR) }

// Start returns where panel j begins.
func (p Panels) Start(j int) int { return j * p.NR * p.K }

// Len returns the floats that all panels take.
func (p Panels) Len() int {
	if p.N == 0 {
		return 0
	}
	last := p.Count() - 1
	return p.Start(last) + p.K*p.Width(last)
}

// Panels are packed in pieces of so many rows of so many panels: rows of B are read in long stretches.
const (
	pieceRows   = 128
	piecePanels = 8
)

// Pieces returns in how many parts the panels can be packed.
func (p Panels) Pieces() int { return ceil(p.Count(), piecePanels) * ceil(p.K, pieceRows) }

func (p Panels) piece(i int) (first, rows, panel, end int) {
	each := ceil(p.K, pieceRows)
	first, panel = i%each*pieceRows, i/each*piecePanels
	return first, min(pieceRows, p.K-first), panel, min(panel+piecePanels, p.Count())
}

// PackRows packs a piece of b, which is B with rows of the given stride.
func (p Panels) PackRows(k *kern.Gemm, dst, b []float32, stride, piece int) {
	first, rows, panel, end := p.piece(piece)
	p.Copy(k, dst, b[first*stride:], stride, first, rows, panel, end)
}

// PackColumns packs a piece of b, which is B transposed: N rows of the given stride.
func (p Panels) PackColumns(k *kern.Gemm, dst, b []float32, stride, piece int) {
	first, rows, panel, end := p.piece(piece)
	p.Transpose(k, dst, b[first:], stride, first, rows, panel, end)
}

// Copy packs rows first to first+rows of the given panels; b begins with the first of them.
func (p Panels) Copy(k *kern.Gemm, dst, b []float32, stride, first, rows, panel, end int) {
	if rows > 0 && panel < end {
		p.copy(k, dst, b[panel*p.NR:], stride, first, rows, panel, end)
	}
}

// copy is Copy of a b that begins with the first column of the first panel.
func (p Panels) copy(k *kern.Gemm, dst, b []float32, stride, first, rows, panel, end int) {
	whole := max(0, min(end, p.N/p.NR)-panel)
	if whole > 0 {
		k.Pack(whole, rows, &b[0], stride, &dst[p.Start(panel)+first*p.NR], p.Start(1))
	}
	if j := panel + whole; j < end {
		width := p.Width(j)
		packRows(dst[p.Start(j)+first*width:], width, b[whole*p.NR:], stride, rows, p.Columns(j))
	}
}

// Transpose packs rows first to first+rows of the given panels; b holds these rows of B as columns.
func (p Panels) Transpose(k *kern.Gemm, dst, b []float32, stride, first, rows, panel, end int) {
	for j := panel; j < end; j++ {
		width := p.Width(j)
		packColumns(k, dst[p.Start(j)+first*width:], width, b[j*p.NR*stride:], stride, rows, p.Columns(j))
	}
}

// packRows copies rows of which the first columns count to rows of the given width.
func packRows(dst []float32, width int, src []float32, stride, rows, columns int) {
	for r := range rows {
		copy(dst[r*width:][:width], src[r*stride:][:columns])
	}
}

// packColumns copies columns: dst[r·width+c] = src[c·stride+r].
func packColumns(k *kern.Gemm, dst []float32, width int, src []float32, stride, rows, columns int) {
	size := k.NR / 2
	blocks := rows / size
	if blocks > 0 {
		for c := 0; c+size <= columns; c += size {
			k.Transpose(blocks, &src[c*stride], stride, &dst[c], width)
		}
	}
	whole := columns - columns%size
	if blocks == 0 {
		whole = 0
	}
	for r := range rows {
		first := whole
		if r >= blocks*size {
			first = 0
		}
		row := dst[r*width:][:width]
		for c := first; c < columns; c++ {
			row[c] = src[c*stride+r]
		}
	}
}

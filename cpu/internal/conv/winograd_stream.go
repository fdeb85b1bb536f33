package conv

import (
	"github.com/doob-diffusion/doob/cpu/internal/gemm"
	"github.com/doob-diffusion/doob/cpu/internal/kern"
)

// A streamed pass keeps no transformed weights, which take four times the memory of the kernel: with many channels and few tiles, writing and reading them
// takes longer than the products. It transforms all tiles first. Then each part takes some output channels, and goes through the input channels,
// some at a time: it transforms their weights, in its own cache, and adds the products up. So weights are read as they are, once per block of tiles.

const (
	streamTiles  = 96 // of a block, at most; a multiple of all heights of a product's tile
	streamRows   = 64 // input channels at a time
	streamPanels = 4  // of output channels in a part, about: rows of weights lie far apart, so each stretch of them is to be long
)

// planStream is plan for a streamed pass, which gives every worker as many parts.
func (p *winogradPass) planStream(k *kern.Gemm, workers int) {
	n := p.tiles.count()
	parts := workers * max(1, p.co/(streamPanels*k.NR*workers))
	p.columns = roundUp(ceil(p.co, parts), k.NR)
	p.ustride = p.columns + lineFloats
	p.block = min(streamTiles, roundUp(n, k.MR))
	p.vpoint, p.mpoint, p.upoint = n*p.row+lineFloats, p.block*p.columns+lineFloats, streamRows*p.ustride+lineFloats
}

// stream computes a streamed pass.
func (p *winogradPass) stream() {
	dispatch(p.ctx, p.alone, ceil(p.tiles.count(), p.ctx.Gemm.MR), p.inputs)
	dispatch(p.ctx, p.alone, ceil(p.co, p.columns), p.streamed)
}

// inputPart transforms some tiles.
func (p *winogradPass) inputPart(part, worker int) {
	first := part * p.ctx.Gemm.MR
	count := min(p.ctx.Gemm.MR, p.tiles.count()-first)
	p.in.transform(&p.ctx.Wino, &p.pointers[worker].tile, p.tiles, p.v[first*p.row:], p.vpoint, p.row, p.x, first, count)
}

// streamPart computes all outputs of some panels of channels.
func (p *winogradPass) streamPart(part, worker int) {
	scratch := p.ctx.Scratch(worker, tilePoints*(p.upoint+p.mpoint)+tileTaps*streamRows*p.columns+gemm.WidenFloats)
	u, m, temp := scratch[:tilePoints*p.upoint], scratch[tilePoints*p.upoint:][:tilePoints*p.mpoint], scratch[tilePoints*(p.upoint+p.mpoint):]
	channel, rows := part*p.columns, p.pointers[worker].block
	for from := 0; from < p.tiles.count(); from += p.block {
		count := min(p.block, p.tiles.count()-from)
		for first := 0; first < p.in.c; first += streamRows {
			depth := min(streamRows, p.in.c-first)
			p.transformWeights(u, p.ustride, channel, min(p.columns, p.co-channel), first, depth, temp)
			p.point(rows, from, count, first)
			p.accumulate(m, u, rows, channel/p.panels.NR, count, depth, first > 0)
		}
		p.output(m, channel, from, count)
	}
}

// accumulate multiplies some channels of a block with their weights, for the panels from one on, and adds the products to those of the channels before.
func (p *winogradPass) accumulate(m, u []float32, rows []*float32, panel, count, depth int, more bool) {
	g := &p.ctx.Gemm
	end := min(panel+p.columns/g.NR, p.panels.Count())
	for q := range tilePoints {
		for j := panel; j < end; j++ {
			tile, w := g.Tile, &u[q*p.upoint+(j-panel)*g.NR]
			if p.panels.Width(j) < g.NR {
				tile = g.Half
			}
			for i := 0; i < count; i += g.MR {
				to := &m[q*p.mpoint+i*p.columns+(j-panel)*g.NR]
				var add *float32
				if more {
					add = to
				}
				tile(1, depth, &rows[q*p.block+i], w, p.ustride, to, p.columns, add, p.columns, nil)
			}
		}
	}
}

// point makes rows those of count tiles, from one of the channels on, at all points; the last tile fills up what is left of a product's tile.
func (p *winogradPass) point(rows []*float32, from, count, first int) {
	for q := range tilePoints {
		v, to := p.v[q*p.vpoint+first:], rows[q*p.block:][:p.block]
		for i := range to {
			to[i] = &v[(from+min(i, count-1))*p.row]
		}
	}
}

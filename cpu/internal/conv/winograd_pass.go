package conv

import (
	"unsafe"

	"github.com/doob-diffusion/doob/cpu/internal/gemm"
	"github.com/doob-diffusion/doob/cpu/internal/kern"
)

// winogradPass is a convolution y = x∗w + bias + add. The weights are transformed first. Then each part transforms a block
// of tiles, multiplies it, at every point, with the weights of the point, and transforms the products back, without
// leaving the second-level cache. How the tiles are divided has no effect on the result.
type winogradPass struct {
	tiles   tiling
	in      picture
	oh, ow  int
	co      int
	adjoint bool      // the weights are those of the convolution of which this is the input gradient
	none    []float32 // the bias, if there is none

	table          *kern.Table
	panels         gemm.Panels // of the transformed weights of one point
	block, columns int         // tiles and output channels that are multiplied at a time
	splits         int         // parts among which the output channels of a block are divided
	pieces         int         // parts in which the weights of a panel are transformed

	streaming              bool // see winograd_stream.go
	alone                  bool // the work is too little to share
	row                    int  // stride of the tiles of a transformed block
	vpoint, mpoint, upoint int  // stride of the points: of the block, of the products, of the weights
	ustride                int  // stride of the rows of the weights, if streaming

	ctx              *kern.Context
	w                kern.Numbers
	y, x, bias, add  []float32
	u, v             []float32
	pointers         []blockPointers // of each worker
	weights, blocks  func(part, worker int)
	inputs, streamed func(part, worker int)
}

// blockPointers are what the kernels read of one worker's block: the rows of a tile, and the rows of the transformed block,
// point after point, which are right for the memory that begins at of.
type blockPointers struct {
	tile  rowPointers
	block []*float32
	of    *float32
}

const (
	blockTiles    = 24 // a multiple of all heights of a product's tile, as is its half
	columnsAtOnce = 64
	weightRows    = 64
)

func newWinogradPass(images int, in picture, oh, ow, co int, adjoint, streaming bool) *winogradPass {
	p := &winogradPass{tiles: newTiling(images, oh, ow), in: in, oh: oh, ow: ow, co: co, adjoint: adjoint, streaming: streaming}
	p.none = make([]float32, co)
	p.alone = little(p.tiles, in.c, co)
	p.weights, p.blocks, p.inputs, p.streamed = p.weightPart, p.blockPart, p.inputPart, p.streamPart
	return p
}

// plan fits the division into parts to an instruction set and a number of workers.
func (p *winogradPass) plan(ctx *kern.Context) {
	workers := ctx.Pool.Workers()
	p.table = ctx.Table
	p.panels = gemm.Panels{K: p.in.c, N: p.co, NR: ctx.Gemm.NR}
	p.row = tileRow(p.in.c)
	if p.streaming {
		p.planStream(&ctx.Gemm, workers)
	} else {
		p.planBlocks(workers)
	}
	p.pointers = make([]blockPointers, workers)
	for i := range p.pointers {
		p.pointers[i].block = make([]*float32, tilePoints*p.block)
	}
}

// tileRow is the stride of transformed tiles of so many channels.
func tileRow(channels int) int {
	row := roundUp(channels, lineFloats)
	if row%512 == 0 {
		row += lineFloats // at a distance of 2 KiB rows compete for the same cache lines
	}
	return row
}

// shared returns the floats of memory that all workers share, with panels of nr columns.
func (p *winogradPass) shared(nr int) int {
	if p.streaming {
		return tilePoints * (p.tiles.count()*tileRow(p.in.c) + lineFloats)
	}
	return tilePoints * (gemm.Panels{K: p.in.c, N: p.co, NR: nr}.Len() + lineFloats)
}

// planBlocks is plan for a pass that keeps transformed weights.
func (p *winogradPass) planBlocks(workers int) {
	p.columns = min(columnsAtOnce, roundUp(p.co, p.panels.NR))
	// Smaller blocks read the weights more often, and every split transforms its block again: both only to keep all
	// workers busy to the end.
	if p.block = blockTiles; ceil(p.tiles.count(), p.block) < 8*workers {
		p.block /= 2
	}
	p.splits = min(ceil(p.co, p.columns), ceil(2*workers, ceil(p.tiles.count(), p.block)))
	p.pieces = ceil(p.in.c, weightRows)
	p.vpoint, p.mpoint, p.upoint = p.block*p.row+lineFloats, p.block*p.columns+lineFloats, p.panels.Len()+lineFloats
}

func (p *winogradPass) run(ctx *kern.Context, y, x []float32, w kern.Numbers, bias, add []float32) {
	if p.table != ctx.Table || len(p.pointers) != ctx.Pool.Workers() {
		p.plan(ctx)
	}
	if bias == nil {
		bias = p.none
	}
	p.ctx, p.y, p.x, p.w, p.bias, p.add = ctx, y, x, w, bias, add
	if p.streaming {
		p.v = ctx.Shared(tilePoints * p.vpoint)
		p.stream()
	} else {
		p.u = ctx.Shared(tilePoints * p.upoint)
		dispatch(ctx, p.alone, p.panels.Count()*p.pieces, p.weights)
		dispatch(ctx, p.alone, ceil(p.tiles.count(), p.block)*p.splits, p.blocks)
	}
	p.ctx, p.y, p.x, p.w, p.bias, p.add, p.u, p.v = nil, nil, nil, kern.Numbers{}, nil, nil, nil, nil
}

// weightPart transforms some rows, input channels, of one panel of the weights.
func (p *winogradPass) weightPart(part, worker int) {
	j, first := part/p.pieces, part%p.pieces*weightRows
	rows, width := min(weightRows, p.in.c-first), p.panels.Width(j)
	u, temp := p.u[p.panels.Start(j)+first*width:], p.ctx.Scratch(worker, tileTaps*rows*width+gemm.WidenFloats)
	p.transformWeights(u, width, j*p.panels.NR, p.panels.Columns(j), first, rows, temp)
}

// transformWeights writes the points of the weights of some columns, output channels from one on, and of some rows, input channels from first on, to u, with rows of
// that stride. It takes room for 9 taps of whole panels and [gemm.WidenFloats].
func (p *winogradPass) transformWeights(u []float32, stride, channel, columns, first, rows int, temp []float32) {
	ci, wino := p.in.c, &p.ctx.Wino
	if p.adjoint {
		for c := 0; c < columns; c += p.panels.NR {
			p.turnWeights(u[c:], stride, channel+c, min(p.panels.NR, columns-c), first, rows, temp)
		}
		return
	}
	w := p.w.From(first*p.co + channel)
	if w.Half == nil {
		wino.Weight(&u[0], p.upoint, stride, &w.Single[0], ci*p.co, p.co, rows, columns)
		return
	}
	width := roundUp(columns, p.panels.NR/2)
	for t := range tileTaps {
		for k := range rows {
			p.ctx.Widen(temp[(t*rows+k)*width:][:columns], w.From((t*ci+k)*p.co))
		}
	}
	wino.Weight(&u[0], p.upoint, stride, &temp[0], rows*width, width, rows, columns)
}

// turnWeights is transformWeights of one panel where the rows of the weights are output channels: it transposes, and takes the taps from the last to the first.
func (p *winogradPass) turnWeights(u []float32, stride, channel, columns, first, rows int, temp []float32) {
	panel := gemm.Panels{K: rows, N: columns, NR: p.panels.NR}
	width := panel.Width(0)
	tap := rows * width
	taps, wide := temp[:tileTaps*tap], temp[tileTaps*tap:]
	for t := range tileTaps {
		panel.TransposeOf(p.ctx.Table, taps[t*tap:], p.w.From((t*p.co+channel)*p.in.c+first), p.in.c, 0, rows, 0, 1, wide)
	}
	p.ctx.Wino.Weight(&u[0], p.upoint, stride, &taps[(tileTaps-1)*tap], -tap, width, rows, columns)
}

// blockPart computes the outputs of a block of tiles, or of one split of their channels.
func (p *winogradPass) blockPart(part, worker int) {
	first, split := part/p.splits*p.block, part%p.splits
	count := min(p.block, p.tiles.count()-first)
	scratch := p.ctx.Scratch(worker, tilePoints*(p.vpoint+p.mpoint))
	v, m := scratch[:tilePoints*p.vpoint], scratch[tilePoints*p.vpoint:]
	p.in.transform(&p.ctx.Wino, &p.pointers[worker].tile, p.tiles, v, p.vpoint, p.row, p.x, first, count)
	rows := p.pointers[worker].rows(p, v)
	groups := ceil(p.co, p.columns)
	for group := split * groups / p.splits; group < (split+1)*groups/p.splits; group++ {
		channel := group * p.columns
		p.product(m, rows, channel, count)
		p.output(m, channel, first, count)
	}
}

// product multiplies a block with the weights of a group of output channels. The rows beyond count that fill up the last
// tile of a product hold what happens to be there, and are dropped.
func (p *winogradPass) product(m []float32, rows []*float32, channel, count int) {
	g, ci := &p.ctx.Gemm, p.in.c
	panel := channel / g.NR
	last := min(panel+p.columns/g.NR, p.panels.Count())
	for q := range tilePoints {
		for j := panel; j < last; j++ {
			tile, w := g.Tile, &p.u[q*p.upoint+p.panels.Start(j)]
			width := p.panels.Width(j)
			if width < g.NR {
				tile = g.Half
			}
			for i := 0; i < count; i += g.MR {
				to := &m[q*p.mpoint+i*p.columns+(j-panel)*g.NR]
				tile(1, ci, &rows[q*p.block+i], w, width, to, p.columns, nil, 0, nil)
			}
		}
	}
}

// output transforms the products of a group of channels back.
func (p *winogradPass) output(m []float32, channel, first, count int) {
	channels := min(p.columns, p.co-channel)
	for at := 0; at < count; {
		image, i, j, n := p.tiles.run(first+at, count-at)
		i, j = i*tileSide, j*tileSide
		to := ((image*p.oh+i)*p.ow+j)*p.co + channel
		var add *float32
		if p.add != nil {
			add = &p.add[to]
		}
		p.ctx.Wino.Output(&p.y[to], p.ow*p.co, p.co, &m[at*p.columns], p.mpoint, p.columns, &p.bias[channel], add,
			p.ow-j, min(tileSide, p.oh-i), channels, n)
		at += n
	}
}

// rows returns the pointers to the rows of v. They stay the same as long as the worker's scratch memory does.
func (b *blockPointers) rows(p *winogradPass, v []float32) []*float32 {
	if of := unsafe.SliceData(v); b.of != of {
		for i := range b.block {
			b.block[i] = &v[i/p.block*p.vpoint+i%p.block*p.row]
		}
		b.of = of
	}
	return b.block
}

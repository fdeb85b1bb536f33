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

	alone                  bool // the work is too little to share
	row                    int  // stride of the tiles of a transformed block
	vpoint, mpoint, upoint int  // stride of the points: of the block, of the products, of the weights

	ctx             *kern.Context
	w               kern.Numbers
	y, x, bias, add []float32
	u               []float32
	pointers        []blockPointers // of each worker
	weights, blocks func(part, worker int)
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

func newWinogradPass(images int, in picture, oh, ow, co int, adjoint bool) *winogradPass {
	p := &winogradPass{tiles: newTiling(images, oh, ow), in: in, oh: oh, ow: ow, co: co, adjoint: adjoint}
	p.none = make([]float32, co)
	p.alone = little(p.tiles, in.c, co)
	p.weights, p.blocks = p.weightPart, p.blockPart
	return p
}

// plan fits the division into parts to an instruction set and a number of workers.
func (p *winogradPass) plan(ctx *kern.Context) {
	workers := ctx.Pool.Workers()
	p.table = ctx.Table
	p.panels = gemm.Panels{K: p.in.c, N: p.co, NR: ctx.Gemm.NR}
	p.columns = min(columnsAtOnce, roundUp(p.co, ctx.Gemm.NR))
	// Smaller blocks read the weights more often, and every split transforms its block again: both only to keep all
	// workers busy to the end.
	if p.block = blockTiles; ceil(p.tiles.count(), p.block) < 8*workers {
		p.block /= 2
	}
	p.splits = min(ceil(p.co, p.columns), ceil(2*workers, ceil(p.tiles.count(), p.block)))
	p.pieces = ceil(p.in.c, weightRows)

	if p.row = roundUp(p.in.c, lineFloats); p.row%512 == 0 {
		p.row += lineFloats // at a distance of 2 KiB rows compete for the same cache lines
	}
	p.vpoint, p.mpoint, p.upoint = p.block*p.row+lineFloats, p.block*p.columns+lineFloats, p.panels.Len()+lineFloats
	p.pointers = make([]blockPointers, workers)
	for i := range p.pointers {
		p.pointers[i].block = make([]*float32, tilePoints*p.block)
	}
}

func (p *winogradPass) run(ctx *kern.Context, y, x []float32, w kern.Numbers, bias, add []float32) {
	if p.table != ctx.Table || len(p.pointers) != ctx.Pool.Workers() {
		p.plan(ctx)
	}
	if bias == nil {
		bias = p.none
	}
	p.ctx, p.y, p.x, p.w, p.bias, p.add = ctx, y, x, w, bias, add
	p.u = ctx.Shared(tilePoints * p.upoint)
	dispatch(ctx, p.alone, p.panels.Count()*p.pieces, p.weights)
	dispatch(ctx, p.alone, ceil(p.tiles.count(), p.block)*p.splits, p.blocks)
	p.ctx, p.y, p.x, p.w, p.bias, p.add, p.u = nil, nil, nil, kern.Numbers{}, nil, nil, nil
}

// weightPart transforms some rows, input channels, of one panel of the weights.
func (p *winogradPass) weightPart(part, worker int) {
	ci := p.in.c
	j, first := part/p.pieces, part%p.pieces*weightRows
	rows, width, columns, channel := min(weightRows, ci-first), p.panels.Width(j), p.panels.Columns(j), j*p.panels.NR
	u := &p.u[p.panels.Start(j)+first*width]
	tap := rows * width
	wino, half := &p.ctx.Wino, p.w.Half != nil
	if !p.adjoint {
		w := p.w.From(first*p.co + channel)
		if !half {
			wino.Weight(u, p.upoint, width, &w.Single[0], ci*p.co, p.co, rows, columns)
			return
		}
		wide := p.ctx.Scratch(worker, tileTaps*tap)
		for t := range tileTaps {
			for k := range rows {
				p.ctx.Widen(wide[t*tap+k*width:][:columns], w.From((t*ci+k)*p.co))
			}
		}
		wino.Weight(u, p.upoint, width, &wide[0], tap, width, rows, columns)
		return
	}
	// Here the rows of the weights are output channels: transpose, and take the taps from the last to the first.
	scratch := p.ctx.Scratch(worker, tileTaps*tap+gemm.WidenFloats)
	turned, temp := scratch[:tileTaps*tap], scratch[tileTaps*tap:]
	panel := gemm.Panels{K: rows, N: columns, NR: p.panels.NR}
	for t := range tileTaps {
		panel.TransposeOf(p.ctx.Table, turned[t*tap:], p.w.From((t*p.co+channel)*ci+first), ci, 0, rows, 0, 1, temp)
	}
	wino.Weight(u, p.upoint, width, &turned[(tileTaps-1)*tap], -tap, width, rows, columns)
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

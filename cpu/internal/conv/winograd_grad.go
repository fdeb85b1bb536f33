package conv

import "github.com/doob-diffusion/doob/cpu/internal/kern"

// winogradGrad is the gradient with respect to the weights, dw = Gᵀ(Σ V⊙Z)G summed over all tiles. It alternates between
// two stages: all channels of a block of tiles are transformed, then every point's V is multiplied with its Z, with all
// tiles of the block as the inner dimension. The sums are formed block by block, and a part has an element of them to
// itself, so the order of summation is always the same.
type winogradGrad struct {
	tiles   tiling
	in, out picture

	table         *kern.Table
	block         int  // tiles
	shares        int  // parts of the transform of x, and as many of dy
	bands, panels int  // parts of the product along the input and the output channels
	alone         bool // the work is too little to share

	vrow, vpoint int           // strides of V: of the tiles, of the points
	zrow, zpoint int           // of Z
	srow, spoint int           // of the sums: of the input channels, of the points
	pairs        []int32       // where the rows of V and Z lie, for the product
	rows         []rowPointers // of each worker

	ctx          *kern.Context
	dw, x, dy    []float32
	v, z, s      []float32
	first, count int // the block at hand

	transforms, products, results func(part, worker int)
}

const (
	shareTiles  = 12
	bandRows    = 64
	tilesAtOnce = 128 // tiles that are multiplied at a time, from the first-level cache
	resultRows  = 8
)

func newWinogradGrad(images int, in, out picture) *winogradGrad {
	p := &winogradGrad{tiles: newTiling(images, out.h, out.w), in: in, out: out}
	p.alone = little(p.tiles, in.c, out.c)
	p.transforms, p.products, p.results = p.transformPart, p.productPart, p.resultPart
	return p
}

// plan fits the strides to an instruction set. The size of a block decides about the order of summation and depends on
// the shape alone.
func (p *winogradGrad) plan(ctx *kern.Context) {
	const floats, fewest = 3 << 20 / 4, 96
	p.table = ctx.Table
	p.vrow, p.zrow = oddLines(p.in.c), oddLines(p.out.c)
	tiles := p.tiles.count()
	blocks := ceil(tiles, max(fewest, floats/(tilePoints*(p.vrow+p.zrow))))
	p.block = ceil(tiles, blocks)
	p.bands, p.panels = ceil(p.in.c, bandRows), ceil(p.out.c, ctx.Gemm.NR)
	p.vpoint, p.zpoint = p.block*p.vrow+lineFloats, p.block*p.zrow+lineFloats
	p.srow = roundUp(p.out.c, ctx.Gemm.NR)
	p.spoint = roundUp(p.in.c, ctx.Gemm.OR)*p.srow + lineFloats
	p.rows = make([]rowPointers, ctx.Pool.Workers())
	p.pairs = make([]int32, 2*tilesAtOnce)
	for t := range tilesAtOnce {
		p.pairs[2*t], p.pairs[2*t+1] = int32(t*p.vrow), int32(t*p.zrow)
	}
}

// oddLines returns the length of a row of c channels: an odd number of cache lines, so that a column of rows is spread
// over the whole cache.
func oddLines(c int) int { return ceil(c, lineFloats)/2*2*lineFloats + lineFloats }

func (p *winogradGrad) run(ctx *kern.Context, dw, x, dy []float32) {
	if p.table != ctx.Table || len(p.rows) != ctx.Pool.Workers() {
		p.plan(ctx)
	}
	p.ctx, p.dw, p.x, p.dy = ctx, dw, x, dy
	all := ctx.Shared(tilePoints * (p.vpoint + p.zpoint + p.spoint))
	p.v, all = all[:tilePoints*p.vpoint], all[tilePoints*p.vpoint:]
	p.z, p.s = all[:tilePoints*p.zpoint], all[tilePoints*p.zpoint:]
	for p.first = 0; p.first < p.tiles.count(); p.first += p.block {
		p.count = min(p.block, p.tiles.count()-p.first)
		p.shares = ceil(p.count, shareTiles)
		dispatch(ctx, p.alone, 2*p.shares, p.transforms)
		dispatch(ctx, p.alone, tilePoints*p.panels*p.bands, p.products)
	}
	dispatch(ctx, p.alone, ceil(p.in.c, resultRows), p.results)
	p.ctx, p.dw, p.x, p.dy, p.v, p.z, p.s = nil, nil, nil, nil, nil, nil, nil
}

// transformPart transforms some tiles of x, or of dy.
func (p *winogradGrad) transformPart(part, worker int) {
	at := part / 2 * shareTiles
	count := min(shareTiles, p.count-at)
	if part%2 == 0 {
		p.in.transform(&p.ctx.Wino, &p.rows[worker], p.tiles, p.v[at*p.vrow:], p.vpoint, p.vrow, p.x, p.first+at, count)
	} else {
		p.out.transform(&p.ctx.Wino, &p.rows[worker], p.tiles, p.z[at*p.zrow:], p.zpoint, p.zrow, p.dy, p.first+at, count)
	}
}

// productPart adds the block to a band of one panel of the sums of one point.
func (p *winogradGrad) productPart(part, _ int) {
	g := &p.ctx.Gemm
	q, j, band := part/(p.panels*p.bands), part/p.bands%p.panels*g.NR, part%p.bands*bandRows
	outer := g.Outer
	if p.out.c-j <= g.NR/2 {
		outer = g.OuterHalf
	}
	for t := 0; t < p.count; t += tilesAtOnce {
		v, z := p.v[q*p.vpoint+t*p.vrow:], &p.z[q*p.zpoint+t*p.zrow+j]
		for i := band; i < min(band+bandRows, p.in.c); i += g.OR {
			outer(min(tilesAtOnce, p.count-t), &p.pairs[0], &v[i], z, &p.s[q*p.spoint+i*p.srow+j], p.srow, min(1, p.first+t))
		}
	}
}

// resultPart transforms some input channels of the sums.
func (p *winogradGrad) resultPart(part, _ int) {
	first, ci, co := part*resultRows, p.in.c, p.out.c
	p.ctx.Wino.WeightGrad(&p.dw[first*co], ci*co, co, &p.s[first*p.srow], p.spoint, p.srow, min(resultRows, ci-first), co)
}

package gemm

import (
	"slices"

	"github.com/doob-diffusion/doob/cpu/internal/kern"
)

// Gemm is a prepared product, for one goroutine at a time.
type Gemm struct {
	spec    Spec
	batches int
	kernel  *kern.Gemm
	workers int

	product *Product
	outer   *Outer
	private bool  // every part packs its own B
	moves   bool  // every part copies its rows of A, see collides
	pieces  int   // parts of packing the B of one product
	paired  *Gemm // the product of pairs, see RunWith
	round   func(part, worker int)

	half                           bool // B has 16 bits
	ctx                            *kern.Context
	b                              kern.Numbers
	c, a, bias, add                []float32
	packed                         []float32 // B as panels, or the partial sums of an Outer product
	pack, whole, part, turn, merge func(part, worker int)
}

// Prepare returns the product of the given shape. It returns an error if the spec makes no sense.
func Prepare(spec Spec) (*Gemm, error) {
	spec.Batch = slices.Clone(spec.Batch)
	if err := spec.check(); err != nil {
		return nil, err
	}
	g := &Gemm{spec: spec, batches: spec.batches()}
	g.pack, g.whole, g.part, g.turn, g.merge = g.packPart, g.wholePart, g.productPart, g.outerPart, g.mergePart
	return g, nil
}

// Shared returns the floats of scratch memory that a run takes for all workers, at most, with panels of nr columns.
func (g *Gemm) Shared(nr int) int {
	s := &g.spec
	if s.TransA && (s.M > 1 || s.LDA > 1) {
		return outerShared
	}
	return g.batches * Panels{K: s.K, N: s.N, NR: nr}.Len()
}

// Run computes C = op(A)·op(B) + bias + residual for every product of the batch. bias has N floats, one per column;
// residual lies in memory like C, and may be C itself, which accumulates. Both may be nil.
func (g *Gemm) Run(ctx *kern.Context, c, a, b, bias, residual []float32) {
	g.RunWith(ctx, c, a, kern.Numbers{Single: b}, bias, residual)
}

// RunWith is Run with a B that may have 16 bits. The result is that of B widened, bit for bit; a transposed A does not go
// with it. A context with Rounding has A rounded to bfloat16 where B is bfloat16, if [Gemm.Rounds] says so.
func (g *Gemm) RunWith(ctx *kern.Context, c, a []float32, b kern.Numbers, bias, residual []float32) {
	s := &g.spec
	if g.batches == 0 || s.M == 0 || s.N == 0 {
		return
	}
	if ctx.Rounding != nil && b.Half != nil && b.Brain && g.Rounds() && aligned(b) {
		g.runRounding(ctx, c, a, b, bias, residual)
		return
	}
	if half := b.Half != nil; g.kernel != &ctx.Gemm || g.workers < ctx.Pool.Workers() || g.half != half {
		g.half = half
		g.plan(ctx)
	}
	g.ctx, g.c, g.a, g.b, g.bias, g.add = ctx, c, a, b, bias, residual
	flops := 2 * float64(g.batches) * float64(s.M) * float64(s.N) * float64(s.K)
	run := func(parts int, part func(part, worker int)) {
		if flops < partFlops {
			for i := range parts {
				part(i, 0)
			}
			return
		}
		ctx.Pool.Run(parts, part)
	}
	switch {
	case g.outer != nil:
		g.packed = ctx.Shared(g.batches * g.outer.Partial())
		run(g.batches*g.outer.Parts(), g.turn)
		run(g.batches*g.outer.Reductions(), g.merge)
	case g.product.LDB > 0:
		run(g.batches*g.product.Parts(), g.part)
	case g.private:
		run(g.batches, g.whole)
	default:
		g.packed = ctx.Shared(g.batches * g.product.B.Len())
		run(g.batches*g.pieces, g.pack)
		run(g.batches*g.product.Parts(), g.part)
	}
	g.ctx, g.c, g.a, g.b, g.bias, g.add, g.packed = nil, nil, nil, kern.Numbers{}, nil, nil, nil
}

func (g *Gemm) plan(ctx *kern.Context) {
	s := &g.spec
	g.kernel, g.workers = &ctx.Gemm, ctx.Pool.Workers()
	g.outer, g.product, g.private, g.moves = nil, nil, false, false
	if s.TransA && (s.M > 1 || s.LDA > 1) {
		if g.half {
			panic("gemm: B of 16 bits with a transposed A: widen B first")
		}
		g.outer = &Outer{Terms: s.K, Taps: 1, M: s.M, N: s.N, TransY: s.TransB, LDX: s.LDA, LDY: s.LDB, LDC: s.LDC}
		g.outer.Plan(g.kernel, g.workers, g.batches)
		return
	}
	g.product = NewProduct(g.kernel, g.workers, s.M, 1, s.K, s.N, g.batches)
	g.pieces = g.product.B.Pieces()
	if s.M <= g.kernel.MR && s.N%g.kernel.NR == 0 && !s.TransB && !g.half {
		g.product.LDB = s.LDB // to pack it would take longer than the product
		return
	}
	// Few products are shared among the workers, many are given out whole.
	const privateFloats = 96 * 1024
	g.private = g.batches >= enoughParts/2 && g.product.B.Len() <= privateFloats
	g.moves = !g.private && collides(s.LDA, g.product.B.Count())
}

// packPart packs a piece of one product's B.
func (g *Gemm) packPart(part, worker int) {
	_, b, _ := g.spec.origin(part / g.pieces)
	g.packPiece(g.packed[part/g.pieces*g.product.B.Len():], g.b.From(b), part%g.pieces, g.ctx.Scratch(worker, g.widening()))
}

func (g *Gemm) packPiece(dst []float32, b kern.Numbers, piece int, temp []float32) {
	if g.spec.TransB {
		g.product.B.PackColumnsOf(g.ctx.Table, dst, b, g.spec.LDB, piece, temp)
	} else {
		g.product.B.PackRowsOf(g.ctx.Table, dst, b, g.spec.LDB, piece, temp)
	}
}

// widening returns the floats that a worker needs to widen B.
func (g *Gemm) widening() int {
	if g.half {
		return WidenFloats
	}
	return 0
}

// productPart computes a part of one product.
func (g *Gemm) productPart(part, worker int) {
	parts := g.product.Parts()
	a, b, c := g.spec.origin(part / parts)
	panels := g.packed
	if g.product.LDB > 0 {
		panels = g.b.Single[b:]
	} else {
		panels = panels[part/parts*g.product.B.Len():]
	}
	g.product.Compute(part%parts, worker, g, g.c[c:], g.a[a:], panels, g.bias, after(g.add, c))
}

// wholePart packs the B of one product and computes it.
func (g *Gemm) wholePart(batch, worker int) {
	a, b, c := g.spec.origin(batch)
	scratch := g.ctx.Scratch(worker, g.product.B.Len()+g.widening())
	packed, temp := scratch[:g.product.B.Len()], scratch[g.product.B.Len():]
	for piece := range g.pieces {
		g.packPiece(packed, g.b.From(b), piece, temp)
	}
	for part := range g.product.Parts() {
		g.product.Compute(part, worker, g, g.c[c:], g.a[a:], packed, g.bias, after(g.add, c))
	}
}

// outerPart computes a part of one product with transposed A.
func (g *Gemm) outerPart(part, worker int) {
	parts := g.outer.Parts()
	a, b, c := g.spec.origin(part / parts)
	partial := g.packed[part/parts*g.outer.Partial():]
	g.outer.Compute(part%parts, worker, nil, g.ctx.Scratch(worker, g.outer.Scratch()), partial, g.c[c:], g.a[a:], g.b.Single[b:], g.bias, after(g.add, c))
}

func (g *Gemm) mergePart(part, _ int) {
	parts := g.outer.Reductions()
	_, _, c := g.spec.origin(part / parts)
	g.outer.Reduce(part%parts, g.packed[part/parts*g.outer.Partial():], g.c[c:], g.bias, after(g.add, c))
}

// after is v[n:], and nil for nil.
func after(v []float32, n int) []float32 {
	if v == nil {
		return nil
	}
	return v[n:]
}

// Place implements [Source].
func (g *Gemm) Place(c []int, first int) {
	for i := range c {
		c[i] = (first + i) * g.spec.LDC
	}
}

// Point implements [Source].
func (g *Gemm) Point(rows []*float32, _ []uint64, first, count int, chunk Chunk, worker int, a []float32) {
	ld := g.spec.LDA
	a = a[first*ld+chunk.From:]
	if g.moves {
		a, ld = g.move(a, count, chunk, worker)
	}
	for i := range count {
		rows[i] = &a[i*ld]
	}
	for i := count; i%g.kernel.MR != 0; i++ {
		rows[i] = rows[count-1]
	}
}

// collides reports whether rows of A at a distance compete for the same lines of the first-level cache: at multiples of 4 KB all that a tile reads side by side do. To copy
// them pays if they are read often enough.
func collides(lda, panels int) bool { return lda%1024 == 0 && panels >= 8 }

// move copies rows of A, of a chunk, to where they do not collide, and returns them with their distance.
func (g *Gemm) move(a []float32, count int, chunk Chunk, worker int) (moved []float32, ld int) {
	ld = chunk.Depth + line
	moved = g.ctx.Scratch(worker, g.product.BlockRows()*ld)
	for i := range count {
		copy(moved[i*ld:][:chunk.Depth], a[i*g.spec.LDA:])
	}
	return moved, ld
}

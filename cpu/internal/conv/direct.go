package conv

import (
	"github.com/doob-diffusion/doob/cpu/internal/gemm"
	"github.com/doob-diffusion/doob/cpu/internal/kern"
)

// direct computes a convolution as the sum that defines it.
type direct struct {
	spec    Spec
	kernel  *kern.Gemm
	workers int

	// A convolution of single pixels is a product of matrices, and so are its gradients.
	y, dx, dw *gemm.Gemm

	forwards  []pass // one
	gradients []pass // one per phase of the stride
	sums      terms

	ctx                          *kern.Context
	passes                       []pass
	w                            kern.Numbers
	to, from, bias, add          []float32
	packed, spread               []float32
	pack, part, sum, term, merge func(part, worker int)
}

func newDirect(s Spec) (*direct, error) {
	d := &direct{spec: s}
	d.pack, d.part, d.sum, d.term, d.merge = d.packPart, d.passPart, d.sumPart, d.termPart, d.mergePart
	if s.Kh == 1 && s.Kw == 1 && s.StrideH == 1 && s.StrideW == 1 && s.PadTop == 0 && s.PadBottom == 0 && s.PadLeft == 0 && s.PadRight == 0 {
		pixels := s.Batch * s.H * s.W
		var err error
		prepare := func(spec gemm.Spec) (g *gemm.Gemm) {
			if err == nil {
				g, err = gemm.Prepare(spec)
			}
			return g
		}
		d.y = prepare(gemm.Spec{M: pixels, N: s.Co, K: s.Ci})
		d.dx = prepare(gemm.Spec{M: pixels, N: s.Ci, K: s.Co, TransB: true})
		d.dw = prepare(gemm.Spec{M: s.Ci, N: s.Co, K: pixels, TransA: true})
		return d, err
	}
	d.forwards = []pass{forwardPass(s)}
	d.gradients = gradientPasses(s)
	d.sums = newTerms(s)
	return d, nil
}

func forwardPass(s Spec) pass {
	h, w := s.Out()
	p := pass{
		batch: s.Batch, h: s.H, w: s.W, c: s.Ci, rows: h, columns: w, stepH: s.StrideH, stepW: s.StrideW,
		n: s.Co, image: h * w * s.Co, row: w * s.Co, column: s.Co,
	}
	for k := range s.Kh {
		for l := range s.Kw {
			p.taps = append(p.taps, tap{k*s.DilationH - s.PadTop, l*s.DilationW - s.PadLeft, k*s.Kw + l})
		}
	}
	return p
}

// gradientPasses returns, for every phase (r, q) of the stride, the sum that makes the pixels dx[b, i·stride+r, j·stride+q]:
// over the taps that reach them from dy, at dy[b, i + (r + pad − k·dilation)/stride, …] where that is whole.
func gradientPasses(s Spec) []pass {
	h, w := s.Out()
	var list []pass
	for r := range min(s.StrideH, s.H) {
		for q := range min(s.StrideW, s.W) {
			p := pass{
				batch: s.Batch, h: h, w: w, c: s.Co,
				rows: (s.H - r + s.StrideH - 1) / s.StrideH, columns: (s.W - q + s.StrideW - 1) / s.StrideW, stepH: 1, stepW: 1,
				n: s.Ci, origin: (r*s.W + q) * s.Ci,
				image: s.H * s.W * s.Ci, row: s.StrideH * s.W * s.Ci, column: s.StrideW * s.Ci,
			}
			for k := s.Kh - 1; k >= 0; k-- { // dy in memory order
				for l := s.Kw - 1; l >= 0; l-- {
					y, x := r+s.PadTop-k*s.DilationH, q+s.PadLeft-l*s.DilationW
					if y%s.StrideH == 0 && x%s.StrideW == 0 {
						p.taps = append(p.taps, tap{y / s.StrideH, x / s.StrideW, k*s.Kw + l})
					}
				}
			}
			list = append(list, p)
		}
	}
	return list
}

func (d *direct) plan(ctx *kern.Context) {
	if d.kernel == &ctx.Gemm && d.workers >= ctx.Pool.Workers() {
		return
	}
	d.kernel, d.workers = &ctx.Gemm, ctx.Pool.Workers()
	for i := range d.forwards {
		d.forwards[i].plan(d.kernel, d.workers, 1)
	}
	for i := range d.gradients {
		d.gradients[i].plan(d.kernel, d.workers, len(d.gradients))
	}
	d.sums.plan(d.kernel, d.workers)
}

func (d *direct) forward(ctx *kern.Context, y, x []float32, w kern.Numbers, bias, residual []float32) {
	if d.y != nil {
		d.y.RunWith(ctx, y, x, w, bias, residual)
		return
	}
	d.plan(ctx)
	d.run(ctx, d.forwards, y, x, w, bias, residual)
}

func (d *direct) inputGrad(ctx *kern.Context, dx, dy []float32, w kern.Numbers) {
	if d.dx != nil {
		d.dx.RunWith(ctx, dx, dy, w, nil, nil)
		return
	}
	d.plan(ctx)
	d.run(ctx, d.gradients, dx, dy, w, nil, nil)
}

func (d *direct) kernelGrad(ctx *kern.Context, dw, x, dy []float32) {
	if d.dw != nil {
		d.dw.Run(ctx, dw, x, dy, nil, nil)
		return
	}
	d.plan(ctx)
	d.ctx, d.sums.ctx, d.sums.walk.ctx = ctx, ctx, ctx
	partial, swap := d.sums.outer.Partial(), 0
	if d.sums.swapped {
		swap = d.sums.outer.M * d.sums.outer.N
	}
	shared := ctx.Shared(partial + swap)
	d.packed, d.to, d.from, d.add = shared[:partial], dw, x, dy
	if d.sums.swapped {
		d.to, d.from, d.add = shared[partial:], dy, x
	}
	d.dispatch(d.sums.outer.Parts(), d.term)
	d.dispatch(d.sums.outer.Reductions(), d.merge)
	if d.sums.swapped {
		d.sums.unswap(dw, d.to)
	}
	d.release()
}

func (d *direct) run(ctx *kern.Context, passes []pass, to, from []float32, w kern.Numbers, bias, add []float32) {
	d.ctx, d.passes, d.to, d.from, d.w, d.bias, d.add = ctx, passes, to, from, w, bias, add
	panels, pieces, parts, spread := 0, 0, 0, 0
	for i := range passes {
		p := &passes[i]
		p.ctx = ctx
		panels += p.product.B.Len()
		spread += p.spreadLen()
		pieces += groups(p.product.B) * len(p.taps)
		parts += p.product.Parts()
	}
	shared := ctx.Shared(panels + spread)
	d.packed, d.spread = shared[:panels], shared[panels:]
	if spread > 0 { // there is one pass then
		passes[0].packSpread(ctx, d.packed, w, d.backwards())
		d.dispatch(parts, d.part)
		d.dispatch(passes[0].combineParts(), d.sum)
	} else {
		d.dispatch(pieces, d.pack)
		d.dispatch(parts, d.part)
	}
	d.release()
}

// dispatch runs small convolutions without help.
func (d *direct) dispatch(parts int, part func(part, worker int)) {
	const little = 4e6 // some 20 µs
	h, w := d.spec.Out()
	if 2*float64(d.spec.Batch*h*w)*float64(d.spec.Kh*d.spec.Kw)*float64(d.spec.Ci)*float64(d.spec.Co) < little {
		for i := range parts {
			part(i, 0)
		}
		return
	}
	d.ctx.Pool.Run(parts, part)
}

// release forgets the operands.
func (d *direct) release() {
	for i := range d.passes {
		d.passes[i].ctx = nil
	}
	d.ctx, d.sums.ctx, d.sums.walk.ctx, d.passes = nil, nil, nil, nil
	d.to, d.from, d.w, d.bias, d.add, d.packed, d.spread = nil, nil, kern.Numbers{}, nil, nil, nil, nil
}

// packPart packs one tap of some panels of the kernel.
func (d *direct) packPart(part, worker int) {
	packed := d.packed
	var temp []float32
	if d.w.Half != nil {
		temp = d.ctx.Scratch(worker, gemm.WidenFloats)
	}
	for i := range d.passes {
		p := &d.passes[i]
		b := p.product.B
		if n := groups(b) * len(p.taps); part >= n {
			part -= n
			packed = packed[b.Len():]
			continue
		}
		panel, t := part/len(p.taps)*packPanels, part%len(p.taps)
		end := min(panel+packPanels, b.Count())
		w := d.w.From(p.taps[t].kernel * d.spec.Ci * d.spec.Co)
		if d.backwards() {
			b.TransposeOf(d.ctx.Table, packed, w, d.spec.Co, t*p.c, p.c, panel, end, temp)
		} else {
			b.CopyOf(d.ctx.Table, packed, w, d.spec.Co, t*p.c, p.c, panel, end, temp)
		}
		return
	}
}

// backwards reports whether the passes are those of the input gradient, which read the kernel transposed.
func (d *direct) backwards() bool { return &d.passes[0] != &d.forwards[0] }

// packPanels is how many panels are packed as one part: rows of the kernel are read in long stretches.
const packPanels = 4

func groups(b gemm.Panels) int { return (b.Count() + packPanels - 1) / packPanels }

func (d *direct) passPart(part, worker int) {
	packed := d.packed
	for i := range d.passes {
		p := &d.passes[i]
		if n := p.product.Parts(); part >= n {
			part -= n
			packed = packed[p.product.B.Len():]
			continue
		}
		if p.spread {
			p.product.Compute(part, worker, p, d.spread, d.from, packed, nil, nil)
		} else {
			p.product.Compute(part, worker, p, d.to, d.from, packed, d.bias, d.add)
		}
		return
	}
}

func (d *direct) sumPart(part, _ int) { d.passes[0].combine(part, d.to, d.spread, d.bias, d.add) }

func (d *direct) termPart(part, worker int) {
	s := &d.sums
	scratch := d.ctx.Scratch(worker, s.scratch())[:s.outer.Scratch()]
	s.outer.Compute(part, worker, s, scratch, d.packed, d.to, d.from, d.add, nil, nil)
}

func (d *direct) mergePart(part, _ int) { d.sums.outer.Reduce(part, d.packed, d.to, nil, nil) }

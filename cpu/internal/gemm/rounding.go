package gemm

import (
	"unsafe"

	"github.com/doob-diffusion/doob/cpu/internal/kern"
)

// This file is the product whose A is rounded to bfloat16, as B is. A pair of neighbours in the sum lies in the place of a float32, so that all but the
// kernels is a product of half the depth.

// Rounds reports whether [Gemm.RunWith] takes the kernels of [kern.Brain] for a B of bfloat16, where the context has them: B is transposed, with pairs
// of one row side by side, as linear maps have it in a forward pass, and there is one product.
func (g *Gemm) Rounds() bool {
	s := &g.spec
	return len(s.Batch) == 0 && s.TransB && !s.TransA && s.K%2 == 0 && s.LDB%2 == 0 && s.K > 0
}

// SharedRounding returns the floats of scratch memory that such a run takes in the context for A, and in that for pairs for B.
func (g *Gemm) SharedRounding(nr int) (a, b int) {
	s := &g.spec
	return s.M * s.K / 2, Panels{K: s.K / 2, N: s.N, NR: nr}.Len()
}

// runRounding is RunWith for bfloat16.
func (g *Gemm) runRounding(ctx *kern.Context, c, a []float32, b kern.Numbers, bias, residual []float32) {
	const grain = 1 << 14 // numbers in a part, about
	s := &g.spec
	if g.paired == nil {
		var err error
		if g.paired, err = Prepare(Spec{M: s.M, N: s.N, K: s.K / 2, TransB: true, LDB: s.LDB / 2, LDC: s.LDC}); err != nil {
			panic(err) // the same shapes were right before
		}
		g.round = func(part, _ int) {
			several := max(1, grain/s.K)
			for i := part * several; i < min((part+1)*several, s.M); i++ {
				g.ctx.Brain.Round((*uint16)(unsafe.Pointer(&g.packed[i*s.K/2])), &g.a[i*s.LDA], s.K)
			}
		}
	}
	rounded := ctx.Shared(s.M * s.K / 2)
	g.ctx, g.a, g.packed = ctx, a, rounded
	ctx.Pool.Run(ceil(s.M, max(1, grain/s.K)), g.round)
	g.ctx, g.a, g.packed = nil, nil, nil
	g.paired.Run(ctx.Rounding, c, rounded, unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(b.Half))), len(b.Half)/2), bias, residual)
}

// aligned reports whether pairs of b are where a float32 can be.
func aligned(b kern.Numbers) bool { return uintptr(unsafe.Pointer(unsafe.SliceData(b.Half)))%4 == 0 }

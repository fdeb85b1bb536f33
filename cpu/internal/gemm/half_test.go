package gemm

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/doob-diffusion/doob/cpu/internal/kern"
)

// halves returns n finite numbers of 16 bits, small and subnormal ones too, and what they are in float32.
func halves(r *rand.Rand, table *kern.Table, n int, brain bool) (kern.Numbers, []float32) {
	h := kern.Numbers{Half: make([]uint16, n), Brain: brain}
	for i := range h.Half {
		h.Half[i] = uint16(r.IntN(2)<<15 | r.IntN(0x4400)) // up to 4, or 2⁹ in bfloat16
	}
	wide := make([]float32, n)
	table.Widen(wide, h)
	return h, wide
}

// B in 16 bits gives what B widened gives, bit for bit: widening is exact, and the order of the sums is the same.
func TestHalfIsWidenedExactly(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	specs := []Spec{
		{M: 1, N: 1, K: 1}, {M: 3, N: 32, K: 70}, {M: 5, N: 64, K: 9}, {M: 100, N: 33, K: 129}, {M: 37, N: 300, K: 700}, {M: 2, N: 1280, K: 320},
		{M: 13, N: 65, K: 150, LDB: 80}, {M: 60, N: 8, K: 0},
		{M: 4, N: 20, K: 30, Batch: []Axis{{Size: 60, A: 120, B: 600, C: 80}}},
		{M: 9, N: 40, K: 30, Batch: []Axis{{Size: 3, A: 270, B: 0, C: 360}}},
	}
	for _, ctx := range contexts(t, 1, 3) {
		for _, spec := range specs {
			for _, trans := range []bool{false, true} {
				for _, brain := range []bool{false, true} {
					s := spec
					if s.TransB = trans; s.LDB > 0 {
						s.LDB = max(s.N, s.K) + 3
					}
					p := newProblem(r, s, true, true)
					b, wide := halves(r, ctx.Table, len(p.b), brain)
					g, err := Prepare(s)
					if err != nil {
						t.Fatal(err)
					}
					want, got, again := slices.Clone(p.c), slices.Clone(p.c), slices.Clone(p.c)
					g.Run(ctx, want, p.a, wide, p.bias, p.residual)
					g.RunWith(ctx, got, p.a, b, p.bias, p.residual)
					g.Run(ctx, again, p.a, wide, p.bias, p.residual) // the plan goes back
					if !slices.Equal(got, want) || !slices.Equal(again, want) {
						t.Fatalf("%s, %d workers, bfloat16 %v, %+v: not the product of B widened", ctx.Name, ctx.Pool.Workers(), brain, s)
					}
				}
			}
		}
	}
}

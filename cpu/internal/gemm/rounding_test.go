package gemm

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/doob-diffusion/doob/cpu/internal/kern"
)

// With a B of bfloat16 and a context that rounds, C is the product of A rounded to bfloat16: within the error of its sums, and with the same bits on all
// instruction sets that have it and with any number of workers. Shapes and factors that do not go give the bits of the product with B widened.
func TestRounding(t *testing.T) {
	for _, spec := range []Spec{
		{M: 1, N: 1, K: 2}, {M: 5, N: 64, K: 10}, {M: 100, N: 33, K: 130}, {M: 17, N: 40, K: 1500}, {M: 2, N: 320, K: 32}, {M: 130, N: 64, K: 64},
		{M: 13, N: 65, K: 150, LDA: 151, LDB: 180, LDC: 70},
		{M: 13, N: 65, K: 151}, {M: 13, N: 65, K: 150, LDB: 181}, {M: 4, N: 20, K: 30, Batch: []Axis{{Size: 6, A: 120, B: 600, C: 80}}}, // these do not go
	} {
		spec.TransB = true
		r := rand.New(rand.NewPCG(1, 2))
		p := newProblem(r, spec, true, true)
		g, err := Prepare(spec)
		if err != nil {
			t.Fatal(err)
		}
		rounds := spec.K%2 == 0 && spec.LDB%2 == 0 && spec.Batch == nil
		if g.Rounds() != rounds {
			t.Fatalf("%+v: rounds %v", spec, !rounds)
		}
		var first []float32
		for _, plain := range contexts(t, 1, 3) {
			if plain.Brain == nil {
				continue
			}
			ctx := kern.NewRoundingContext(plain.Table, plain.Pool)
			b, wide := halves(rand.New(rand.NewPCG(3, 4)), ctx.Table, len(p.b), true)
			got := slices.Clone(p.c)
			g.RunWith(ctx, got, p.a, b, p.bias, p.residual)
			if !rounds {
				want := slices.Clone(p.c)
				g.Run(ctx, want, p.a, wide, p.bias, p.residual)
				if !slices.Equal(got, want) {
					t.Fatalf("%s, %+v: not the product of B widened", ctx.Name, spec)
				}
				continue
			}
			if first == nil {
				first = got
				s := g.spec
				for i := range s.M {
					a := make([]uint16, s.K)
					ctx.Brain.Round(&a[0], &p.a[i*s.LDA], s.K)
					for j := range s.N {
						want, magnitude := float64(p.bias[j])+float64(p.residual[i*s.LDC+j]), 2.0
						for k := range s.K {
							term := float64(math.Float32frombits(uint32(a[k])<<16)) * float64(wide[j*s.LDB+k])
							want, magnitude = want+term, magnitude+math.Abs(term)
						}
						// Sums of 1024 terms at most, and those of the chunks.
						if d := math.Abs(float64(got[i*s.LDC+j]) - want); !(d <= float64(min(s.K, 1400)+5)*0x1p-24*magnitude) {
							t.Fatalf("%s, %+v: C[%d,%d] is %g, want %g", ctx.Name, spec, i, j, got[i*s.LDC+j], want)
						}
					}
				}
			}
			if !slices.Equal(got, first) {
				t.Fatalf("%s, %d workers, %+v: other bits than those of the first instruction set", ctx.Name, ctx.Pool.Workers(), spec)
			}
			again, want := slices.Clone(p.c), slices.Clone(p.c)
			g.RunWith(ctx, again, p.a, kern.Numbers{Single: wide}, p.bias, p.residual) // a B of float32 is not concerned
			g.Run(plain, want, p.a, wide, p.bias, p.residual)
			if !slices.Equal(again, want) {
				t.Fatalf("%s, %+v: a product in float32 is another one", ctx.Name, spec)
			}
			if a, packed := g.SharedRounding(ctx.Gemm.NR); cap(ctx.Rounding.Shared(0)) > packed+64 || a != spec.M*spec.K/2 {
				t.Errorf("%s, %+v: %d and %d floats of scratch memory are said, %d are taken for B", ctx.Name, spec, a, packed, cap(ctx.Rounding.Shared(0)))
			}
		}
	}
}

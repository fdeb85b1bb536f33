package conv

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/doob-diffusion/doob/cpu/internal/kern"
)

// Weights of 16 bits give what they give when they are widened first, bit for bit, by every way of computing a convolution.
func TestHalfIsWidenedExactly(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	specs := []Spec{
		{Batch: 2, H: 9, W: 7, Ci: 40, Kh: 3, Kw: 3, Co: 70, PadTop: 1, PadBottom: 1, PadLeft: 1, PadRight: 1, Method: Direct},
		{Batch: 2, H: 9, W: 7, Ci: 40, Kh: 3, Kw: 3, Co: 70, StrideH: 2, StrideW: 2, PadBottom: 1, PadRight: 1},
		{Batch: 2, H: 17, W: 14, Ci: 130, Kh: 3, Kw: 3, Co: 70, PadTop: 1, PadBottom: 1, PadLeft: 1, PadRight: 1, Method: Winograd},
		{Batch: 2, H: 9, W: 6, Ci: 130, Kh: 3, Kw: 3, Co: 150, PadTop: 1, PadBottom: 1, PadLeft: 1, PadRight: 1, Method: Streamed},
		{Batch: 1, H: 16, W: 16, Ci: 20, Kh: 3, Kw: 3, Co: 9, PadTop: 1, PadBottom: 1, PadLeft: 1, PadRight: 1, Method: Winograd},
		{Batch: 2, H: 8, W: 8, Ci: 4, Kh: 3, Kw: 3, Co: 50, PadTop: 1, PadBottom: 1, PadLeft: 1, PadRight: 1, Method: Direct}, // gathered
		{Batch: 2, H: 8, W: 8, Ci: 64, Kh: 3, Kw: 3, Co: 4, PadTop: 1, PadBottom: 1, PadLeft: 1, PadRight: 1, Method: Direct}, // spread
		{Batch: 2, H: 8, W: 8, Ci: 64, Kh: 1, Kw: 1, Co: 40},
		{Batch: 1, H: 28, W: 28, Ci: 3, Kh: 14, Kw: 14, Co: 40, StrideH: 14, StrideW: 14},
	}
	for _, ctx := range contexts(t, 1, 3) {
		for _, spec := range specs {
			for _, brain := range []bool{false, true} {
				h, wd := spec.Out()
				x, dy := random(r, spec.Batch*spec.H*spec.W*spec.Ci), random(r, spec.Batch*h*wd*spec.Co)
				bias, residual := random(r, spec.Co), random(r, len(dy))
				w := kern.Numbers{Half: make([]uint16, spec.Kh*spec.Kw*spec.Ci*spec.Co), Brain: brain}
				for i := range w.Half {
					w.Half[i] = uint16(r.IntN(2)<<15 | r.IntN(0x4000))
				}
				wide := make([]float32, len(w.Half))
				ctx.Widen(wide, w)
				c, err := Prepare(spec)
				if err != nil {
					t.Fatal(err)
				}
				y, want := make([]float32, len(dy)), make([]float32, len(dy))
				dx, wantGrad := make([]float32, len(x)), make([]float32, len(x))
				c.Forward(ctx, want, x, wide, bias, residual)
				c.ForwardWith(ctx, y, x, w, bias, residual)
				c.InputGrad(ctx, wantGrad, dy, wide)
				c.InputGradWith(ctx, dx, dy, w)
				if !slices.Equal(y, want) || !slices.Equal(dx, wantGrad) {
					t.Fatalf("%s, %d workers, bfloat16 %v, %+v: y or dx is not that of weights widened", ctx.Name, ctx.Pool.Workers(), brain, spec)
				}
			}
		}
	}
}

package conv

import (
	"math/rand/v2"
	"testing"

	"github.com/doob-diffusion/doob/cpu/internal/kern"
)

// The scratch memory that a convolution is said to take is what it takes, within a few lines and never less.
func TestShared(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, ctx := range contexts(t, 1, 2) {
		for _, spec := range []Spec{
			{Batch: 2, H: 16, W: 16, Ci: 40, Kh: 3, Kw: 3, Co: 70, PadTop: 1, PadBottom: 1, PadLeft: 1, PadRight: 1, Method: Winograd},
			{Batch: 2, H: 16, W: 16, Ci: 40, Kh: 3, Kw: 3, Co: 70, PadTop: 1, PadBottom: 1, PadLeft: 1, PadRight: 1, Method: Streamed},
			{Batch: 2, H: 9, W: 9, Ci: 100, Kh: 3, Kw: 3, Co: 70, PadTop: 1, PadBottom: 1, PadLeft: 1, PadRight: 1, Method: Direct},
			{Batch: 2, H: 9, W: 9, Ci: 40, Kh: 3, Kw: 3, Co: 70, StrideH: 2, StrideW: 2, PadBottom: 1, PadRight: 1},
			{Batch: 2, H: 16, W: 16, Ci: 64, Kh: 3, Kw: 3, Co: 3, PadTop: 1, PadBottom: 1, PadLeft: 1, PadRight: 1, Method: Direct},
			{Batch: 2, H: 8, W: 8, Ci: 64, Kh: 1, Kw: 1, Co: 40},
		} {
			f := newReference(r, spec)
			c, err := Prepare(spec)
			if err != nil {
				t.Fatal(err)
			}
			fresh := kern.NewContext(ctx.Table, ctx.Pool)
			c.Forward(fresh, make([]float32, len(f.y)), f.x, f.w, nil, nil)
			c.InputGrad(fresh, make([]float32, len(f.dx)), f.dy, f.w)
			got, want := cap(fresh.Shared(0)), c.Shared(ctx.Gemm.NR)
			if got > want || got < want*3/4 {
				t.Errorf("%s, %+v: %d floats are taken, said are %d", ctx.Name, spec, got, want)
			}
		}
	}
}

// No convolution of Stable Diffusion's size takes more than 48 MB for transformed or packed weights, and a program has that memory once.
func TestSharedOfLargeConvolutions(t *testing.T) {
	for _, s := range []struct{ side, in, out int }{
		{64, 320, 320}, {64, 960, 320}, {64, 640, 640}, {32, 640, 640}, {32, 1280, 640}, {32, 1920, 640}, {32, 1280, 1280}, {16, 1280, 1280}, {16, 2560, 1280}, {8, 2560, 1280},
	} {
		for batch := 1; batch <= 2; batch++ {
			c, err := Prepare(Spec{Batch: batch, H: s.side, W: s.side, Ci: s.in, Co: s.out, Kh: 3, Kw: 3, PadTop: 1, PadBottom: 1, PadLeft: 1, PadRight: 1})
			if err != nil {
				t.Fatal(err)
			}
			if bytes := 4 * c.Shared(32); bytes > 48<<20 {
				t.Errorf("%d→%d channels on %d²: %d MB", s.in, s.out, s.side, bytes>>20)
			}
		}
	}
}

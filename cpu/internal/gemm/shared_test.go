package gemm

import (
	"math/rand/v2"
	"testing"

	"github.com/doob-diffusion/doob/cpu/internal/kern"
)

// A product takes no more scratch memory than it says.
func TestShared(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, ctx := range contexts(t, 1, 2) {
		for _, spec := range []Spec{{M: 100, N: 70, K: 90}, {M: 100, N: 70, K: 90, TransB: true}, {M: 70, N: 90, K: 5000, TransA: true}} {
			p := newProblem(r, spec, false, false)
			g, err := Prepare(spec)
			if err != nil {
				t.Fatal(err)
			}
			fresh := kern.NewContext(ctx.Table, ctx.Pool)
			g.Run(fresh, p.c, p.a, p.b, nil, nil)
			got, want := cap(fresh.Shared(0)), g.Shared(ctx.Gemm.NR)
			if got > want || !spec.TransA && got < want {
				t.Errorf("%s, %+v: %d floats are taken, said are %d", ctx.Name, spec, got, want)
			}
		}
	}
}

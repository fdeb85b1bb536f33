package cpu

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"unsafe"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
)

// A kernel that panics in a part of the work, on whatever goroutine that is, is the error of that execution. Everything
// works afterwards, and at the same time for others.
func TestPanicIsAnError(t *testing.T) {
	const n = 1 << 20
	for _, workers := range []int{1, 2, 8} {
		b, err := New(fmt.Sprint("generic,workers=", workers))
		if err != nil {
			t.Fatal(err)
		}
		defer b.Finalize()
		// The kernel for exponentials stops at the number 13.
		table := *b.table
		var stopped atomic.Int32
		exp := table.Vec.Exp
		table.Vec.Exp = func(dst, a *float32, n int) {
			for _, x := range unsafe.Slice(a, n) {
				if x == 13 {
					stopped.Add(1)
					panic("thirteen")
				}
			}
			exp(dst, a, n)
		}
		b.table = &table
		builder := b.Builder("exp")
		f := builder.Main()
		x, err := f.Parameter("x", shapes.Make(dtypes.Float32, n), nil)
		if err != nil {
			t.Fatal(err)
		}
		y, err := f.Exp(x)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Return([]compute.Value{y}, nil); err != nil {
			t.Fatal(err)
		}
		program, err := builder.Compile()
		if err != nil {
			t.Fatal(err)
		}
		for round := range 6 {
			flat := make([]float32, n)
			bad := round%2 == 1
			if bad {
				flat[[]int{0, n / 2, n - 1}[round/2]] = 13
			}
			in, err := b.BufferFromFlatData(0, flat, shapes.Make(dtypes.Float32, n))
			if err != nil {
				t.Fatal(err)
			}
			donate := round > 2
			before := stopped.Load()
			out, err := program.Execute([]compute.Buffer{in}, []bool{donate}, 0)
			switch {
			case bad && (err == nil || !strings.Contains(err.Error(), "thirteen")):
				t.Errorf("%d workers, round %d: error %v, want that of the kernel", workers, round, err)
			case bad && stopped.Load() == before:
				t.Errorf("%d workers, round %d: the kernel did not panic", workers, round)
			case !bad && err != nil:
				t.Errorf("%d workers, round %d: %v", workers, round, err)
			case !bad:
				flat, err := out[0].Data()
				if err != nil {
					t.Fatal(err)
				}
				for i, v := range flat.([]float32) {
					if v != 1 {
						t.Fatalf("%d workers, round %d: element %d is %g", workers, round, i, v)
					}
				}
			}
			if _, err := in.Data(); (err != nil) != donate {
				t.Errorf("%d workers, round %d: donated %t, but the input has error %v", workers, round, donate, err)
			}
		}
	}
}

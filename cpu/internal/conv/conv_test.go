package conv

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/doob-diffusion/doob/cpu/internal/kern"
	"github.com/doob-diffusion/doob/cpu/internal/pool"
)

// contexts returns a context per instruction set and number of workers.
func contexts(t testing.TB, workers ...int) (list []*kern.Context) {
	for _, n := range workers {
		p := pool.New(n)
		t.Cleanup(p.Close)
		for _, table := range kern.Tables() {
			list = append(list, kern.NewContext(table, p))
		}
	}
	return list
}

func random(r *rand.Rand, n int) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(r.NormFloat64())
	}
	return v
}

// reference holds the operands of a convolution and its results in float64.
type reference struct {
	spec                     Spec
	x, w, dy, bias, residual []float32
	y, dx, dw                []float64
	terms                    [3]float64 // the longest sums
}

func newReference(r *rand.Rand, spec Spec) *reference {
	s := spec
	if err := s.check(); err != nil {
		panic(err)
	}
	oh, ow := s.Out()
	f := &reference{spec: spec}
	f.x, f.w = random(r, s.Batch*s.H*s.W*s.Ci), random(r, s.Kh*s.Kw*s.Ci*s.Co)
	f.dy, f.residual = random(r, s.Batch*oh*ow*s.Co), random(r, s.Batch*oh*ow*s.Co)
	f.bias = random(r, s.Co)
	f.y, f.dx, f.dw = make([]float64, len(f.dy)), make([]float64, len(f.x)), make([]float64, len(f.w))
	f.terms = [3]float64{float64(s.Kh * s.Kw * s.Ci), float64(s.Kh * s.Kw * s.Co), float64(s.Batch * oh * ow)}
	for b := range s.Batch {
		for i := range oh {
			for j := range ow {
				for k := range s.Kh {
					for l := range s.Kw {
						h, w := i*s.StrideH+k*s.DilationH-s.PadTop, j*s.StrideW+l*s.DilationW-s.PadLeft
						if h < 0 || h >= s.H || w < 0 || w >= s.W {
							continue
						}
						for c := range s.Ci {
							xi, wi, yi := ((b*s.H+h)*s.W+w)*s.Ci+c, ((k*s.Kw+l)*s.Ci+c)*s.Co, ((b*oh+i)*ow+j)*s.Co
							for o := range s.Co {
								f.y[yi+o] += float64(f.x[xi]) * float64(f.w[wi+o])
								f.dx[xi] += float64(f.dy[yi+o]) * float64(f.w[wi+o])
								f.dw[wi+o] += float64(f.x[xi]) * float64(f.dy[yi+o])
							}
						}
					}
				}
			}
		}
	}
	return f
}

// compare fails if an element is further from the reference than rounding explains: the operands are standard normal, so
// a sum of n terms has magnitude √n, and its error grows like n in the worst case and like √n in fact. It returns the
// relative root-mean-square error.
func compare(t testing.TB, name string, got []float32, want []float64, terms float64) float64 {
	t.Helper()
	var square, norm float64
	bound := 0x1p-24 * (terms + 8) * 4
	for i, v := range got {
		miss := math.Abs(float64(v) - want[i])
		if !(miss <= bound) {
			t.Fatalf("%s: element %d is %v, expected %v ± %.1e", name, i, v, want[i], bound)
		}
		square += miss * miss
		norm += want[i] * want[i]
	}
	return math.Sqrt(square / max(norm, math.SmallestNonzeroFloat64))
}

// run computes the convolution and its gradients in all contexts. It returns the worst relative errors of y, dx and dw.
func (f *reference) run(t testing.TB, list []*kern.Context) (worst [3]float64) {
	t.Helper()
	results := map[string][][]float32{}
	sum := make([]float64, len(f.y))
	for _, ctx := range list {
		name := fmt.Sprintf("%s, %d workers, %+v", ctx.Name, ctx.Pool.Workers(), f.spec)
		c, err := Prepare(f.spec)
		if err != nil {
			t.Fatal(name, err)
		}
		poison := func(n int) []float32 { return slices.Repeat([]float32{float32(math.NaN())}, n) }
		y, z, dx, dw := poison(len(f.y)), poison(len(f.y)), poison(len(f.dx)), poison(len(f.dw))
		c.Forward(ctx, y, f.x, f.w, nil, nil)
		c.Forward(ctx, z, f.x, f.w, f.bias, f.residual)
		c.InputGrad(ctx, dx, f.dy, f.w)
		c.KernelGrad(ctx, dw, f.x, f.dy)
		all := [][]float32{y, dx, dw, z}
		if first, ok := results[ctx.Name]; ok {
			for i, v := range all {
				if !slices.Equal(v, first[i]) {
					t.Fatalf("%s: another %s than with another number of workers", name, []string{"y", "dx", "dw", "y + bias + residual"}[i])
				}
			}
			continue
		}
		results[ctx.Name] = all
		worst[0] = max(worst[0], compare(t, name+": y", y, f.y, f.terms[0]))
		worst[1] = max(worst[1], compare(t, name+": dx", dx, f.dx, f.terms[1]))
		worst[2] = max(worst[2], compare(t, name+": dw", dw, f.dw, f.terms[2]))
		for i := range sum {
			sum[i] = f.y[i] + float64(f.bias[i%len(f.bias)]) + float64(f.residual[i])
		}
		compare(t, name+": y + bias + residual", z, sum, f.terms[0])
	}
	return worst
}

func TestShapes(t *testing.T) {
	list := contexts(t, 1, 2, 8)
	r := rand.New(rand.NewPCG(1, 2))
	pick := func(v ...int) int { return v[r.IntN(len(v))] }
	for range 250 {
		s := Spec{
			Method: Direct,
			Batch:  pick(0, 1, 1, 2, 3, 13), H: pick(0, 1, 2, 3, 5, 7, 8, 13), W: pick(1, 2, 4, 7, 9, 16),
			Ci: pick(0, 1, 1, 2, 3, 8, 16, 17, 33), Co: pick(0, 1, 1, 3, 8, 17, 33, 48),
			Kh: pick(1, 1, 2, 3, 3, 4, 5), Kw: pick(1, 1, 2, 3, 3, 4, 5),
			StrideH: pick(0, 1, 1, 2, 3), StrideW: pick(1, 1, 2, 3),
			PadTop: pick(0, 0, 1, 2, 5, -1), PadBottom: pick(0, 1, 2, -2), PadLeft: pick(0, 0, 1, 2, 4, -1), PadRight: pick(0, 1, 2, -1),
			DilationH: pick(0, 1, 1, 2, 3), DilationW: pick(0, 1, 1, 2),
		}
		newReference(r, s).run(t, list)
	}
}

func TestLarge(t *testing.T) {
	if testing.Short() {
		t.Skip("large convolutions")
	}
	var native []*kern.Context
	for _, ctx := range contexts(t, 1, 2, 8) {
		if ctx.Name != "generic" {
			native = append(native, ctx)
		}
	}
	r := rand.New(rand.NewPCG(3, 4))
	for _, s := range []Spec{
		{Batch: 2, H: 14, W: 14, Ci: 64, Co: 64, Kh: 3, Kw: 3, PadTop: 1, PadBottom: 1, PadLeft: 1, PadRight: 1},
		{Batch: 24, H: 4, W: 4, Ci: 96, Co: 64, Kh: 3, Kw: 3, PadTop: 1, PadBottom: 1, PadLeft: 1, PadRight: 1},
		{Batch: 2, H: 7, W: 7, Ci: 256, Co: 256, Kh: 3, Kw: 3, PadTop: 1, PadBottom: 1, PadLeft: 1, PadRight: 1},
		{Batch: 4, H: 16, W: 16, Ci: 64, Co: 96, Kh: 3, Kw: 3, PadBottom: 1, PadRight: 1, StrideH: 2, StrideW: 2},
		{Batch: 2, H: 65, W: 65, Ci: 3, Co: 32, Kh: 3, Kw: 3, PadTop: 1, PadBottom: 1, PadLeft: 1, PadRight: 1},
		{Batch: 2, H: 28, W: 28, Ci: 32, Co: 1, Kh: 3, Kw: 3, PadTop: 1, PadBottom: 1, PadLeft: 1, PadRight: 1},
		{Batch: 3, H: 9, W: 9, Ci: 200, Co: 100, Kh: 1, Kw: 1},
		{Batch: 3, H: 9, W: 9, Ci: 900, Co: 40, Kh: 1, Kw: 2},
	} {
		s.Method = Direct
		worst := newReference(r, s).run(t, native)
		t.Logf("%+v: y %.1e, dx %.1e, dw %.1e", s, worst[0], worst[1], worst[2])
		for i, what := range []string{"y", "dx", "dw"} {
			if worst[i] > 6e-7 {
				t.Errorf("%+v: relative rms error of %s is %.1e, expected at most 6e-7", s, what, worst[i])
			}
		}
	}
}

func TestPrepareErrors(t *testing.T) {
	good := Spec{Batch: 1, H: 4, W: 4, Ci: 1, Co: 1, Kh: 3, Kw: 3}
	for i, change := range []func(*Spec){
		func(s *Spec) { s.Batch = -1 }, func(s *Spec) { s.H = -1 }, func(s *Spec) { s.W = -1 }, func(s *Spec) { s.Ci = -1 },
		func(s *Spec) { s.Co = -1 }, func(s *Spec) { s.Kh = 0 }, func(s *Spec) { s.Kw = -2 }, func(s *Spec) { s.StrideH = -1 },
		func(s *Spec) { s.DilationW = -1 }, func(s *Spec) { s.Method = 9 }, func(s *Spec) { s.H, s.W, s.Ci = 1<<15, 1<<15, 8 },
		func(s *Spec) { s.Method, s.Kh = Winograd, 5 },
	} {
		s := good
		change(&s)
		if _, err := Prepare(s); err == nil {
			t.Errorf("change %d, %+v: no error", i, s)
		}
	}
	if _, err := Prepare(good); err != nil {
		t.Error(err)
	}
}

func TestAllocates(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for _, s := range []Spec{
		{Batch: 8, H: 14, W: 14, Ci: 32, Co: 64, Kh: 3, Kw: 3, PadTop: 1, PadBottom: 1, PadLeft: 1, PadRight: 1},
		{Batch: 8, H: 14, W: 14, Ci: 3, Co: 64, Kh: 3, Kw: 3, StrideH: 2, StrideW: 2},
		{Batch: 8, H: 14, W: 14, Ci: 64, Co: 64, Kh: 1, Kw: 1},
	} {
		s.Method = Direct
		f := newReference(r, s)
		y, dx, dw := make([]float32, len(f.y)), make([]float32, len(f.dx)), make([]float32, len(f.dw))
		for _, ctx := range contexts(t, 2) {
			c, err := Prepare(s)
			if err != nil {
				t.Fatal(err)
			}
			run := func() {
				c.Forward(ctx, y, f.x, f.w, f.bias, f.residual)
				c.InputGrad(ctx, dx, f.dy, f.w)
				c.KernelGrad(ctx, dw, f.x, f.dy)
			}
			run()
			if n := testing.AllocsPerRun(3, run); n > 0 {
				t.Errorf("%s, %+v: %v allocations, expected none", ctx.Name, s, n)
			}
		}
	}
}

func FuzzConv(f *testing.F) {
	f.Add([]byte{1, 5, 5, 3, 4, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1})
	f.Add([]byte{2, 8, 7, 17, 1, 2, 4, 2, 3, 3, 1, 0, 2, 1, 2})
	f.Add([]byte{13, 3, 3, 16, 33, 3, 3, 1, 1, 1, 1, 1, 1, 0, 0})
	list := contexts(f, 1, 3)
	f.Fuzz(func(t *testing.T, v []byte) {
		if len(v) < 15 {
			return
		}
		at := func(i, n int) int { return int(v[i]) % n }
		s := Spec{
			Batch: at(0, 14), H: at(1, 12), W: at(2, 12), Ci: at(3, 40), Co: at(4, 40), Kh: at(5, 6), Kw: at(6, 6),
			StrideH: at(7, 4), StrideW: at(8, 4), PadTop: at(9, 7) - 2, PadBottom: at(10, 7) - 2, PadLeft: at(11, 7) - 2, PadRight: at(12, 7) - 2,
			DilationH: at(13, 4), DilationW: at(14, 4), Method: Direct,
		}
		if _, err := Prepare(s); err != nil {
			if s.Kh > 0 && s.Kw > 0 {
				t.Fatal(err)
			}
			return
		}
		newReference(rand.New(rand.NewPCG(uint64(v[0]), uint64(v[1]))), s).run(t, list)
	})
}

package gemm

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

// problem is a product with its operands; the slices are as short as the layout permits.
type problem struct {
	spec                    Spec
	c, a, b, bias, residual []float32
}

func random(r *rand.Rand, n int) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(r.NormFloat64())
	}
	return v
}

func newProblem(r *rand.Rand, spec Spec, bias, residual bool) *problem {
	p := &problem{spec: spec}
	s := spec
	if err := s.check(); err != nil {
		panic(err)
	}
	extent := func(rows, columns, ld int, distance func(Axis) int) int {
		if rows == 0 || columns == 0 || s.batches() == 0 {
			return 0
		}
		n := (rows-1)*ld + columns
		for _, axis := range s.Batch {
			n += (axis.Size - 1) * distance(axis)
		}
		return n
	}
	ar, ac, br, bc := s.M, s.K, s.K, s.N
	if s.TransA {
		ar, ac = ac, ar
	}
	if s.TransB {
		br, bc = bc, br
	}
	p.a = random(r, extent(ar, ac, s.LDA, func(x Axis) int { return x.A }))
	p.b = random(r, extent(br, bc, s.LDB, func(x Axis) int { return x.B }))
	n := extent(s.M, s.N, s.LDC, func(x Axis) int { return x.C })
	p.c = random(r, n)
	if bias {
		p.bias = random(r, s.N)
	}
	if residual {
		p.residual = random(r, n)
	}
	return p
}

// verify compares c with a sum in float64. It returns the relative root-mean-square error.
func (p *problem) verify(t testing.TB, name string, c, before []float32) float64 {
	t.Helper()
	s := p.spec
	if err := s.check(); err != nil {
		t.Fatal(err)
	}
	written := make([]bool, len(c))
	var square, norm float64
	for batch := range s.batches() {
		oa, ob, oc := s.origin(batch)
		for i := range s.M {
			for j := range s.N {
				var want, magnitude float64
				for k := range s.K {
					ia, ib := oa+i*s.LDA+k, ob+k*s.LDB+j
					if s.TransA {
						ia = oa + k*s.LDA + i
					}
					if s.TransB {
						ib = ob + j*s.LDB + k
					}
					term := float64(p.a[ia]) * float64(p.b[ib])
					want, magnitude = want+term, magnitude+math.Abs(term)
				}
				at := oc + i*s.LDC + j
				if p.bias != nil {
					want += float64(p.bias[j])
					magnitude += math.Abs(float64(p.bias[j]))
				}
				if p.residual != nil {
					want += float64(p.residual[at])
					magnitude += math.Abs(float64(p.residual[at]))
				}
				written[at] = true
				miss := math.Abs(float64(c[at]) - want)
				if bound := 0x1p-24 * float64(s.K+4) * magnitude; !(miss <= bound) {
					t.Fatalf("%s: C[%d: %d, %d] is %v, expected %v ± %.1e", name, batch, i, j, c[at], want, bound)
				}
				square += miss * miss
				norm += want * want
			}
		}
	}
	for i, w := range written {
		if !w && c[i] != before[i] {
			t.Fatalf("%s: wrote C's float %d, which is in no row", name, i)
		}
	}
	return math.Sqrt(square / max(norm, math.SmallestNonzeroFloat64))
}

// run computes the problem in all contexts and checks that the number of workers makes no difference.
func (p *problem) run(t testing.TB, list []*kern.Context) (worst float64) {
	t.Helper()
	results := map[string][]float32{}
	for _, ctx := range list {
		name := fmt.Sprintf("%s, %d workers, %+v, bias %v, residual %v", ctx.Name, ctx.Pool.Workers(), p.spec, p.bias != nil, p.residual != nil)
		g, err := Prepare(p.spec)
		if err != nil {
			t.Fatal(err)
		}
		c := slices.Clone(p.c)
		g.Run(ctx, c, p.a, p.b, p.bias, p.residual)
		if first, ok := results[ctx.Name]; !ok {
			results[ctx.Name] = c
			worst = max(worst, p.verify(t, name, c, p.c))
		} else if !slices.Equal(first, c) {
			t.Fatalf("%s: another result than with another number of workers", name)
		}
		if p.residual != nil { // accumulate in place, and a second run of the same value
			c := slices.Clone(p.residual)
			g.Run(ctx, c, p.a, p.b, p.bias, c)
			at := 0
			s := p.spec
			_ = s.check()
			for batch := range s.batches() {
				_, _, oc := s.origin(batch)
				for i := range s.M {
					for j := range s.N {
						at = oc + i*s.LDC + j
						if c[at] != results[ctx.Name][at] {
							t.Fatalf("%s: accumulation in place differs at %d: %v, expected %v", name, at, c[at], results[ctx.Name][at])
						}
					}
				}
			}
		}
	}
	return worst
}

func TestRunShapes(t *testing.T) {
	list := contexts(t, 1, 2, 8)
	r := rand.New(rand.NewPCG(1, 2))
	sizes := []int{0, 1, 2, 3, 5, 8, 13, 16, 17, 31, 32, 33, 48, 65, 100}
	pick := func() int { return sizes[r.IntN(len(sizes))] }
	for i := range 400 {
		spec := Spec{M: pick(), N: pick(), K: pick(), TransA: i&1 != 0, TransB: i&2 != 0}
		if i&4 != 0 {
			spec.LDA, spec.LDB, spec.LDC = max(spec.M, spec.K)+r.IntN(4), max(spec.N, spec.K)+r.IntN(4), spec.N+r.IntN(4)
		}
		if i%7 == 0 {
			// [batch, row, head, column], as in attention.
			heads := 1 + r.IntN(3)
			wa, wb := max(spec.M, spec.K), max(spec.N, spec.K)
			spec.LDA, spec.LDB, spec.LDC = heads*wa, heads*wb, heads*spec.N
			spec.Batch = []Axis{{r.IntN(4), wa * heads * wa, wb * heads * wb, spec.M * heads * spec.N}, {heads, wa, wb, spec.N}}
		}
		newProblem(r, spec, i&8 != 0, i&16 != 0).run(t, list)
	}
}

// Shapes that are divided into several parts, chunks and splits.
func TestRunLarge(t *testing.T) {
	if testing.Short() {
		t.Skip("large products")
	}
	var native []*kern.Context
	for _, ctx := range contexts(t, 1, 2, 8) {
		if ctx.Name != "generic" {
			native = append(native, ctx)
		}
	}
	r := rand.New(rand.NewPCG(3, 4))
	for _, spec := range []Spec{
		{M: 129, N: 512, K: 512},
		{M: 300, N: 77, K: 1200},
		{M: 3, N: 2000, K: 512},
		{M: 64, N: 2, K: 5000, TransA: true},
		{M: 70, N: 70, K: 5000, TransA: true},
		{M: 512, N: 256, K: 200, TransA: true},
		{M: 200, N: 300, K: 400, TransB: true},
		{M: 200, N: 300, K: 400, TransA: true, TransB: true},
		{M: 250, N: 300, K: 1024}, // rows of A that are moved
		{M: 30, N: 257, K: 1000, LDA: 2048, TransB: true, Batch: []Axis{{3, 30 * 2048, 257 * 1000, 30 * 257}}},
		{M: 50, N: 50, K: 64, TransB: true, Batch: []Axis{{40, 3200, 3200, 2500}}},
		{M: 50, N: 50, K: 1024, Batch: []Axis{{3, 51200, 51200, 2500}}},
		{M: 64, N: 64, K: 50, TransA: true, Batch: []Axis{{40, 3200, 3200, 4096}}},
	} {
		for _, extras := range []bool{false, true} {
			// One accumulator per element over at most 512 terms, and normal operands: 1.5e-7·√512/… stays below this.
			if worst := newProblem(r, spec, extras, extras).run(t, native); worst > 6e-7 {
				t.Errorf("%+v: relative rms error %.1e, expected at most 6e-7", spec, worst)
			} else {
				t.Logf("%+v: %.1e", spec, worst)
			}
		}
	}
}

func TestPrepareErrors(t *testing.T) {
	for _, spec := range []Spec{
		{M: -1, N: 1, K: 1},
		{M: 2, N: 2, K: 3, LDA: 2},
		{M: 2, N: 2, K: 3, LDB: 1},
		{M: 2, N: 2, K: 3, LDC: 1},
		{M: 2, N: 2, K: 3, TransA: true, LDA: 1},
		{M: 2, N: 2, K: 3, TransB: true, LDB: 2},
		{M: 2, N: 2, K: 3, Batch: []Axis{{-1, 0, 0, 0}}},
		{M: 2, N: 2, K: 3, Batch: []Axis{{2, 0, 0, 0}}},
	} {
		if _, err := Prepare(spec); err == nil {
			t.Errorf("%+v: no error", spec)
		}
	}
}

func TestRunAllocates(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for _, spec := range []Spec{
		{M: 100, N: 100, K: 700},
		{M: 100, N: 100, K: 700, TransB: true},
		{M: 100, N: 100, K: 1500, TransA: true},
		{M: 130, N: 600, K: 1024},
		{M: 30, N: 30, K: 32, Batch: []Axis{{64, 960, 960, 900}}},
	} {
		for _, ctx := range contexts(t, 2) {
			p := newProblem(r, spec, true, true)
			g, err := Prepare(spec)
			if err != nil {
				t.Fatal(err)
			}
			run := func() { g.Run(ctx, p.c, p.a, p.b, p.bias, p.residual) }
			run()
			if n := testing.AllocsPerRun(3, run); n > 0 {
				t.Errorf("%s, %+v: %v allocations, expected none", ctx.Name, spec, n)
			}
		}
	}
}

func FuzzGemm(f *testing.F) {
	f.Add(uint8(3), uint8(5), uint8(7), uint8(0), uint8(0), uint8(1))
	f.Add(uint8(33), uint8(1), uint8(129), uint8(7), uint8(1), uint8(2))
	f.Add(uint8(0), uint8(65), uint8(0), uint8(3), uint8(2), uint8(3))
	list := contexts(f, 1, 3)
	f.Fuzz(func(t *testing.T, m, n, k, flags, pad, batch uint8) {
		spec := Spec{M: int(m), N: int(n), K: int(k), TransA: flags&1 != 0, TransB: flags&2 != 0}
		if pad > 0 {
			spec.LDA, spec.LDB, spec.LDC = max(spec.M, spec.K)+int(pad), max(spec.N, spec.K)+int(pad), spec.N+int(pad)
			spec.Batch = []Axis{{int(batch) % 4, 1, 2, (spec.M + 1) * spec.LDC}}
		}
		r := rand.New(rand.NewPCG(uint64(m), uint64(n)))
		newProblem(r, spec, flags&4 != 0, flags&8 != 0).run(t, list)
	})
}

package vec

import (
	"fmt"

	"github.com/doob-diffusion/doob/cpu/internal/kern"
)

// AdamWSpec is the size of a parameter and the constants of its optimiser.
type AdamWSpec struct {
	Size                         int
	Beta1, Beta2, Epsilon, Decay float64
}

// AdamW is a prepared step of Adam with decoupled weight decay, in one pass over its operands:
//
//	g = gradScale·grad,  m1 = β₁·m + (1−β₁)·g,  v1 = β₂·v + (1−β₂)·g²,
//	p1 = p − rate·(m1·fix1/(√(v1·fix2) + ε) + decay·p),
//
// where fix1 = 1/(1−β₁ᵗ) and fix2 = 1/(1−β₂ᵗ) correct the bias of step t.
type AdamW struct {
	size                      int
	coefficients              kern.AdamW
	ctx                       *kern.Context
	p1, m1, v1, p, grad, m, v []float32
	step                      func(part, worker int)
}

// PrepareAdamW takes the constants.
func PrepareAdamW(spec AdamWSpec) (*AdamW, error) {
	if spec.Size < 0 {
		return nil, fmt.Errorf("vec: AdamW of %d values", spec.Size)
	}
	a := &AdamW{size: spec.Size, coefficients: kern.AdamW{
		Epsilon: float32(spec.Epsilon), Decay: float32(spec.Decay),
		Beta1: float32(spec.Beta1), OneMinusBeta1: float32(1 - spec.Beta1),
		Beta2: float32(spec.Beta2), OneMinusBeta2: float32(1 - spec.Beta2),
	}}
	a.step = a.stepPart
	return a, nil
}

// Step computes p1, m1 and v1, which may be p, m and v.
func (a *AdamW) Step(ctx *kern.Context, p1, m1, v1, p, grad, m, v []float32, rate, fix1, fix2, gradScale float32) {
	for _, operand := range [...][]float32{p1, m1, v1, p, grad, m, v} {
		check("an operand of AdamW", operand, a.size)
	}
	c := &a.coefficients
	c.Rate, c.Fix1, c.Fix2, c.GradScale = rate, fix1, fix2, gradScale
	a.ctx, a.p1, a.m1, a.v1, a.p, a.grad, a.m, a.v = ctx, p1, m1, v1, p, grad, m, v
	run(ctx, ceil(a.size, grain), a.size, a.step)
	a.ctx, a.p1, a.m1, a.v1, a.p, a.grad, a.m, a.v = nil, nil, nil, nil, nil, nil, nil, nil
}

func (a *AdamW) stepPart(part, _ int) {
	at, end := span(part, grain, a.size)
	a.ctx.Vec.AdamW(&a.p1[at], &a.m1[at], &a.v1[at], &a.p[at], &a.grad[at], &a.m[at], &a.v[at], &a.coefficients, end-at)
}

// EMA is a prepared exponential moving average: value + decay·(average − value).
type EMA struct {
	size                int
	ctx                 *kern.Context
	dst, average, value []float32
	decay               float32
	step                func(part, worker int)
}

// PrepareEMA takes the number of values.
func PrepareEMA(size int) (*EMA, error) {
	if size < 0 {
		return nil, fmt.Errorf("vec: moving average of %d values", size)
	}
	e := &EMA{size: size}
	e.step = e.stepPart
	return e, nil
}

// Step computes dst, which may be the average or the value.
func (e *EMA) Step(ctx *kern.Context, dst, average, value []float32, decay float32) {
	check("the result of a moving average", dst, e.size)
	check("the average", average, e.size)
	check("the value of a moving average", value, e.size)
	e.ctx, e.dst, e.average, e.value, e.decay = ctx, dst, average, value, decay
	run(ctx, ceil(e.size, grain), e.size, e.step)
	e.ctx, e.dst, e.average, e.value = nil, nil, nil, nil
}

func (e *EMA) stepPart(part, _ int) {
	at, end := span(part, grain, e.size)
	e.ctx.Vec.Lerp(&e.dst[at], &e.average[at], &e.value[at], e.decay, end-at)
}

// SumSquares is a prepared sum of the squares of all values of some tensors, whose root is the global norm. Pieces are
// summed in float32, and added to each other in float64.
type SumSquares struct {
	sizes   []int
	values  int
	pieces  []piece
	sums    []float32
	ctx     *kern.Context
	tensors [][]float32
	part    func(part, worker int)
}

type piece struct{ tensor, from, to int }

// PrepareSumSquares takes the number of values of each tensor.
func PrepareSumSquares(sizes ...int) (*SumSquares, error) {
	s := &SumSquares{sizes: append([]int(nil), sizes...)}
	for i, size := range sizes {
		if size < 0 {
			return nil, fmt.Errorf("vec: sum of squares of %d values", size)
		}
		for at := 0; at < size; at += grain {
			s.pieces = append(s.pieces, piece{i, at, min(at+grain, size)})
		}
		s.values += size
	}
	s.sums = make([]float32, len(s.pieces))
	s.part = func(part, _ int) {
		p := s.pieces[part]
		s.sums[part] = s.ctx.Vec.SumSquares(&s.tensors[p.tensor][p.from], p.to-p.from)
	}
	return s, nil
}

// Run returns Σ x² over all values of the tensors.
func (s *SumSquares) Run(ctx *kern.Context, tensors [][]float32) float64 {
	if len(tensors) != len(s.sizes) {
		panic(fmt.Sprintf("vec: sum of squares of %d tensors, expected %d", len(tensors), len(s.sizes)))
	}
	for i, tensor := range tensors {
		check("a tensor of the sum of squares", tensor, s.sizes[i])
	}
	s.ctx, s.tensors = ctx, tensors
	run(ctx, len(s.pieces), s.values, s.part)
	s.ctx, s.tensors = nil, nil
	var sum float64
	for _, v := range s.sums {
		sum += float64(v)
	}
	return sum
}

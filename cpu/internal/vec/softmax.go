package vec

import (
	"fmt"
	"math"

	"github.com/doob-diffusion/doob/cpu/internal/kern"
)

// Softmax is a prepared softmax over the last axis of x [rows, n]: y_j = exp(s·x_j)/Σ_k exp(s·x_k), where s is the Scale.
// Exponents are taken relative to the largest of a row, so that nothing overflows.
type Softmax struct {
	// Scale multiplies x: 1 as prepared, 1/√d for the scores of attention.
	Scale float32

	rows, n, block               int
	ctx                          *kern.Context
	dst, x, y                    []float32
	forward, backward, logarithm func(part, worker int)
}

// PrepareSoftmax divides the work.
func PrepareSoftmax(rows, n int) (*Softmax, error) {
	if rows < 0 || n < 0 {
		return nil, fmt.Errorf("vec: softmax of shape [%d, %d]: expected dimensions of at least 0", rows, n)
	}
	s := &Softmax{Scale: 1, rows: rows, n: n, block: max(1, grain/max(1, n))}
	s.forward, s.backward, s.logarithm = s.forwardPart, s.backwardPart, s.logarithmPart
	return s, nil
}

// Forward computes y [rows, n] from x [rows, n]. y may be x.
func (s *Softmax) Forward(ctx *kern.Context, y, x []float32) {
	check("y of softmax", y, s.rows*s.n)
	check("x of softmax", x, s.rows*s.n)
	s.run(ctx, s.forward, y, x, nil)
}

// Backward computes dx = s·y·(dy − Σ_k dy_k·y_k), the gradient of Σ dy·y, from dy and the result y. dx may be dy or y.
func (s *Softmax) Backward(ctx *kern.Context, dx, dy, y []float32) {
	check("dx of softmax", dx, s.rows*s.n)
	check("dy of softmax", dy, s.rows*s.n)
	check("y of softmax", y, s.rows*s.n)
	s.run(ctx, s.backward, dx, dy, y)
}

// LogSumExp computes dst_i = log Σ_k exp(s·x_ik), dst [rows].
func (s *Softmax) LogSumExp(ctx *kern.Context, dst, x []float32) {
	check("the result of log-sum-exp", dst, s.rows)
	check("x of log-sum-exp", x, s.rows*s.n)
	s.run(ctx, s.logarithm, dst, x, nil)
}

func (s *Softmax) run(ctx *kern.Context, part func(part, worker int), dst, x, y []float32) {
	if s.n == 0 {
		for i := range dst { // LogSumExp of nothing
			dst[i] = float32(math.Inf(-1))
		}
		return
	}
	s.ctx, s.dst, s.x, s.y = ctx, dst, x, y
	run(ctx, ceil(s.rows, s.block), s.rows*s.n, part)
	s.ctx, s.dst, s.x, s.y = nil, nil, nil, nil
}

// exponentials sets y_j = exp(s·x_j − m) for the largest s·x_j m; it returns m and the sum.
func (s *Softmax) exponentials(y, x []float32) (m float32, sum float64) {
	v := &s.ctx.Vec
	if s.Scale != 1 {
		for at := 0; at < s.n; at += call {
			v.MulS(&y[at], &x[at], s.Scale, min(call, s.n-at))
		}
		x = y
	}
	m = v.MaxReduce(&x[0], min(call, s.n))
	for at := call; at < s.n; at += call {
		m = max(m, v.MaxReduce(&x[at], min(call, s.n-at)))
	}
	for at := 0; at < s.n; at += call {
		sum += float64(v.ExpSum(&y[at], &x[at], m, min(call, s.n-at)))
	}
	return m, sum
}

func (s *Softmax) forwardPart(part, _ int) {
	first, last := span(part, s.block, s.rows)
	for row := first; row < last; row++ {
		y, x := s.dst[row*s.n:(row+1)*s.n], s.x[row*s.n:(row+1)*s.n]
		_, sum := s.exponentials(y, x)
		for at := 0; at < s.n; at += call {
			s.ctx.Vec.MulS(&y[at], &y[at], float32(1/sum), min(call, s.n-at))
		}
	}
}

func (s *Softmax) backwardPart(part, _ int) {
	v := &s.ctx.Vec
	first, last := span(part, s.block, s.rows)
	for row := first; row < last; row++ {
		dx, dy, y := s.dst[row*s.n:(row+1)*s.n], s.x[row*s.n:(row+1)*s.n], s.y[row*s.n:(row+1)*s.n]
		var dot float64
		for at := 0; at < s.n; at += call {
			dot += float64(v.Dot(&dy[at], &y[at], min(call, s.n-at)))
		}
		for at := 0; at < s.n; at += call {
			n := min(call, s.n-at)
			v.SoftmaxGrad(&dx[at], &dy[at], &y[at], float32(dot), n)
			if s.Scale != 1 {
				v.MulS(&dx[at], &dx[at], s.Scale, n)
			}
		}
	}
}

func (s *Softmax) logarithmPart(part, worker int) {
	scratch := s.ctx.Scratch(worker, s.n)
	first, last := span(part, s.block, s.rows)
	for row := first; row < last; row++ {
		m, sum := s.exponentials(scratch, s.x[row*s.n:(row+1)*s.n])
		s.dst[row] = float32(float64(m) + math.Log(sum))
	}
}

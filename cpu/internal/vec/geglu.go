package vec

import (
	"fmt"

	"github.com/doob-diffusion/doob/cpu/internal/kern"
)

// GEGLU is a prepared gate y = value·GELU(gate) [rows, n] of x [rows, 2n], whose rows have the values first and then the gates.
type GEGLU struct {
	rows, n, block    int
	ctx               *kern.Context
	y, x, dy, dx      []float32
	forward, backward func(part, worker int)
}

// PrepareGEGLU divides the work.
func PrepareGEGLU(rows, n int) (*GEGLU, error) {
	if rows < 0 || n < 0 {
		return nil, fmt.Errorf("vec: GEGLU of shape [%d, %d]: expected dimensions of at least 0", rows, 2*n)
	}
	g := &GEGLU{rows: rows, n: n, block: max(1, grain/max(1, 2*n))}
	g.forward, g.backward = g.forwardPart, g.backwardPart
	return g, nil
}

// Forward computes y [rows, n] from x [rows, 2n].
func (g *GEGLU) Forward(ctx *kern.Context, y, x []float32) {
	check("y of GEGLU", y, g.rows*g.n)
	check("x of GEGLU", x, 2*g.rows*g.n)
	g.ctx, g.y, g.x = ctx, y, x
	run(ctx, ceil(g.rows, g.block), len(x), g.forward)
	g.ctx, g.y, g.x = nil, nil, nil
}

// Backward computes dx [rows, 2n], the gradient of Σ dy·y, from dy [rows, n] and x. dx may be x.
func (g *GEGLU) Backward(ctx *kern.Context, dx, dy, x []float32) {
	check("dx of GEGLU", dx, 2*g.rows*g.n)
	check("dy of GEGLU", dy, g.rows*g.n)
	check("x of GEGLU", x, 2*g.rows*g.n)
	g.ctx, g.dx, g.dy, g.x = ctx, dx, dy, x
	run(ctx, ceil(g.rows, g.block), len(x), g.backward)
	g.ctx, g.dx, g.dy, g.x = nil, nil, nil, nil
}

// stretch is how many values of a row are done before the next: what they take stays in the first-level cache.
const stretch = 1024

func (g *GEGLU) forwardPart(part, _ int) {
	v := &g.ctx.Vec
	first, last := span(part, g.block, g.rows)
	for row := first; row < last; row++ {
		y, value, gate := g.y[row*g.n:], g.x[2*row*g.n:], g.x[(2*row+1)*g.n:]
		for at := 0; at < g.n; at += stretch {
			n := min(stretch, g.n-at)
			v.GELU(&y[at], &gate[at], n)
			v.Mul(&y[at], &y[at], &value[at], n)
		}
	}
}

// backwardPart computes dvalue = dy·GELU(gate) and dgate = dy·value·GELU'(gate).
func (g *GEGLU) backwardPart(part, worker int) {
	v := &g.ctx.Vec
	scratch := g.ctx.Scratch(worker, stretch)
	first, last := span(part, g.block, g.rows)
	for row := first; row < last; row++ {
		dy, value, gate := g.dy[row*g.n:], g.x[2*row*g.n:], g.x[(2*row+1)*g.n:]
		dvalue, dgate := g.dx[2*row*g.n:], g.dx[(2*row+1)*g.n:]
		for at := 0; at < g.n; at += stretch {
			n := min(stretch, g.n-at)
			v.Mul(&scratch[0], &dy[at], &value[at], n)
			v.GELU(&dvalue[at], &gate[at], n)
			v.Mul(&dvalue[at], &dvalue[at], &dy[at], n)
			v.GELUGrad(&dgate[at], &scratch[0], &gate[at], n)
		}
	}
}

package vec

import (
	"fmt"
	"math"

	"github.com/doob-diffusion/doob/cpu/internal/kern"
)

// LayerNorm is a prepared normalisation of every row of x [rows, n],
//
//	y = (x − mean x)/√(var x + ε)·scale + bias
//
// with the biased variance; scale and bias are [n].
type LayerNorm struct {
	rows, n           int
	epsilon           float64
	block             int // rows of a part
	ctx               *kern.Context
	y, x, scale, bias []float32
	dx, dy, sums      []float32 // sums is what the parts have of dscale and dbias, [parts, 2, n]
	forward, backward func(part, worker int)
}

// PrepareLayerNorm divides the work.
func PrepareLayerNorm(rows, n int, epsilon float64) (*LayerNorm, error) {
	if rows < 1 || n < 1 {
		return nil, fmt.Errorf("vec: layer norm of shape [%d, %d]: expected positive dimensions", rows, n)
	}
	if !(epsilon >= 0) {
		return nil, fmt.Errorf("vec: layer norm with ε = %g: expected a number of at least 0", epsilon)
	}
	const parts = 64 // at most: each has sums of its own
	l := &LayerNorm{rows: rows, n: n, epsilon: epsilon, block: max(1, grain/n, ceil(rows, parts))}
	l.forward, l.backward = l.forwardPart, l.backwardPart
	return l, nil
}

// Forward computes y from x, both [rows, n], and scale and bias [n]. y may be x.
func (l *LayerNorm) Forward(ctx *kern.Context, y, x, scale, bias []float32) {
	check("y of layer norm", y, l.rows*l.n)
	check("x of layer norm", x, l.rows*l.n)
	check("scale of layer norm", scale, l.n)
	check("bias of layer norm", bias, l.n)
	l.ctx, l.y, l.x, l.scale, l.bias = ctx, y, x, scale, bias
	run(ctx, ceil(l.rows, l.block), len(x), l.forward)
	l.end()
}

// Backward computes dx [rows, n], dscale and dbias [n], the gradients of Σ dy·y. dx may be dy or x.
func (l *LayerNorm) Backward(ctx *kern.Context, dx, dscale, dbias, dy, x, scale []float32) {
	check("dx of layer norm", dx, l.rows*l.n)
	check("dy of layer norm", dy, l.rows*l.n)
	check("x of layer norm", x, l.rows*l.n)
	check("scale of layer norm", scale, l.n)
	check("dscale of layer norm", dscale, l.n)
	check("dbias of layer norm", dbias, l.n)
	parts := ceil(l.rows, l.block)
	l.ctx, l.dx, l.dy, l.x, l.scale, l.sums = ctx, dx, dy, x, scale, ctx.Shared(parts*2*l.n)
	run(ctx, parts, len(x), l.backward)
	clear(dscale)
	clear(dbias)
	l.accumulate(dscale, l.sums, parts)
	l.accumulate(dbias, l.sums[l.n:], parts)
	l.end()
}

func (l *LayerNorm) end() {
	l.ctx, l.y, l.x, l.scale, l.bias, l.dx, l.dy, l.sums = nil, nil, nil, nil, nil, nil, nil, nil
}

// accumulate adds a row of every part.
func (l *LayerNorm) accumulate(to, sums []float32, parts int) {
	for at := 0; at < l.n; at += call / 64 {
		l.ctx.Vec.AccumulateRows(&to[at], &sums[at], min(call/64, l.n-at), parts, 2*l.n)
	}
}

// unit sets u = (x − mean x)/√(var x + ε) and returns the reciprocal of that root. The mean is taken off before squares are
// summed: the difference of two large sums would have no digits left.
func (l *LayerNorm) unit(u, x []float32) (inverse float32) {
	v, n := &l.ctx.Vec, len(x)
	mean := float64(v.Sum(&x[0], n)) / float64(n)
	v.AddS(&u[0], &x[0], float32(-mean), n)
	variance := float64(v.SumSquares(&u[0], n)) / float64(n)
	inverse = float32(1 / math.Sqrt(variance+l.epsilon))
	v.MulS(&u[0], &u[0], inverse, n)
	return inverse
}

func (l *LayerNorm) forwardPart(part, _ int) {
	first, last := span(part, l.block, l.rows)
	for row := first; row < last; row++ {
		y, x := l.y[row*l.n:][:l.n], l.x[row*l.n:][:l.n]
		l.unit(y, x)
		l.ctx.Vec.MulAdd(&y[0], &y[0], &l.scale[0], &l.bias[0], l.n)
	}
}

// backwardPart computes, with u the unit of x and means over a row,
//
//	dbias = Σ dy,   dscale = Σ dy·u,   du = dy·scale,   dx = (du − mean du − u·mean(du·u))/√(var x + ε)
func (l *LayerNorm) backwardPart(part, worker int) {
	v, n := &l.ctx.Vec, l.n
	scratch := l.ctx.Scratch(worker, 2*lines(n))
	u, du := scratch[:n], scratch[lines(n):][:n]
	sums := l.sums[part*2*n:][:2*n]
	clear(sums)
	dscale, dbias := sums[:n], sums[n:]
	first, last := span(part, l.block, l.rows)
	for row := first; row < last; row++ {
		dx, dy, x := l.dx[row*n:][:n], l.dy[row*n:][:n], l.x[row*n:][:n]
		inverse := l.unit(u, x)
		v.MulAdd(&dscale[0], &dy[0], &u[0], &dscale[0], n)
		v.Add(&dbias[0], &dy[0], &dbias[0], n)
		v.Mul(&du[0], &dy[0], &l.scale[0], n)
		mean, slope := v.Sum(&du[0], n)/float32(n), v.Dot(&du[0], &u[0], n)/float32(n)
		v.AddS(&du[0], &du[0], -mean, n)
		v.Axpy(&dx[0], &u[0], &du[0], -slope, n)
		v.MulS(&dx[0], &dx[0], inverse, n)
	}
}

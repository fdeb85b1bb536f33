package measure

import (
	"github.com/doob-diffusion/doob/cpu/internal/attention"
	"github.com/doob-diffusion/doob/cpu/internal/kern"
	"github.com/doob-diffusion/doob/cpu/internal/vec"
)

// Attention is softmax(q·kᵀ/√Dim)·v of q [Batch, Queries, Heads, Dim] and k, v [Batch, Keys, Heads, Dim].
type Attention struct {
	Batch, Queries, Keys, Heads, Dim int
	// Causal lets a query see the keys up to its own only.
	Causal bool
	// Gradients computes those of q, k and v too.
	Gradients bool
}

// Prepare returns one computation of the attention, of random numbers.
func (a Attention) Prepare() (step func(), err error) {
	ctx, err := newContext()
	if err != nil {
		return nil, err
	}
	prepared, err := attention.Prepare(attention.Spec{Batch: a.Batch, Queries: a.Queries, Keys: a.Keys, Heads: a.Heads, Dim: a.Dim, Causal: a.Causal})
	if err != nil {
		return nil, err
	}
	long, short := a.Batch*a.Queries*a.Heads*a.Dim, a.Batch*a.Keys*a.Heads*a.Dim
	q, k, v, dy := random(long, 1), random(short, 2), random(short, 3), random(long, 4)
	sums := kern.Aligned(a.Batch * a.Heads * a.Queries)
	y, dq, dk, dv := kern.Aligned(long), kern.Aligned(long), kern.Aligned(short), kern.Aligned(short)
	return func() {
		prepared.Forward(ctx, y, sums, q, k, v, nil)
		if a.Gradients {
			prepared.Backward(ctx, dq, dk, dv, nil, dy, y, sums, q, k, v, nil)
		}
	}, nil
}

// LayerNorm is the normalisation of every row of [Rows, Width].
type LayerNorm struct {
	Rows, Width int
	// Gradients computes those of x, scale and bias too.
	Gradients bool
}

// Prepare returns one computation of the normalisation, of random numbers.
func (l LayerNorm) Prepare() (step func(), err error) {
	ctx, err := newContext()
	if err != nil {
		return nil, err
	}
	prepared, err := vec.PrepareLayerNorm(l.Rows, l.Width, 1e-5)
	if err != nil {
		return nil, err
	}
	x, dy, scale, bias := random(l.Rows*l.Width, 1), random(l.Rows*l.Width, 2), random(l.Width, 3), random(l.Width, 4)
	y, dx, dscale, dbias := kern.Aligned(l.Rows*l.Width), kern.Aligned(l.Rows*l.Width), kern.Aligned(l.Width), kern.Aligned(l.Width)
	return func() {
		prepared.Forward(ctx, y, x, scale, bias)
		if l.Gradients {
			prepared.Backward(ctx, dx, dscale, dbias, dy, x, scale)
		}
	}, nil
}

// GEGLU is value·GELU(gate) [Rows, Width] of [Rows, 2·Width].
type GEGLU struct {
	Rows, Width int
	// Gradients computes that of x too.
	Gradients bool
}

// Prepare returns one computation of the gate, of random numbers.
func (g GEGLU) Prepare() (step func(), err error) {
	ctx, err := newContext()
	if err != nil {
		return nil, err
	}
	prepared, err := vec.PrepareGEGLU(g.Rows, g.Width)
	if err != nil {
		return nil, err
	}
	x, dy := random(2*g.Rows*g.Width, 1), random(g.Rows*g.Width, 2)
	y, dx := kern.Aligned(g.Rows*g.Width), kern.Aligned(2*g.Rows*g.Width)
	return func() {
		prepared.Forward(ctx, y, x)
		if g.Gradients {
			prepared.Backward(ctx, dx, dy, x)
		}
	}, nil
}

// Package op names the coarse tensor operations that doob's networks and optimiser are made of. Each is a plain graph
// function; a backend that knows the name may run its own kernel instead, without the callers noticing.
package op

import (
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"
)

// SiLU returns x·σ(x), elementwise (Elfwing et al. 2018; "swish").
func SiLU(x *graph.Node) *graph.Node { return graph.Mul(x, graph.Logistic(x)) }

// AdamW returns the updated parameter and moments of one decoupled-weight-decay Adam step (Loshchilov & Hutter 2019).
// Rate is the learning rate and fix1, fix2 are the bias corrections 1/(1−β₁ᵏ), 1/(1−β₂ᵏ) of step k: three scalars that
// the caller computes on the host, so that the schedule is not part of the compiled graph.
func AdamW(p, grad, m, v, rate, fix1, fix2 *graph.Node, beta1, beta2, epsilon, decay float64) (p1, m1, v1 *graph.Node) {
	m1 = graph.Add(graph.MulScalar(m, beta1), graph.MulScalar(grad, 1-beta1))
	v1 = graph.Add(graph.MulScalar(v, beta2), graph.MulScalar(graph.Square(grad), 1-beta2))
	step := graph.Div(graph.Mul(m1, fix1), graph.AddScalar(graph.Sqrt(graph.Mul(v1, fix2)), epsilon))
	if decay > 0 {
		step = graph.Add(step, graph.MulScalar(p, decay))
	}
	return graph.Sub(p, graph.Mul(step, rate)), m1, v1
}

// ClipByGlobalNorm scales all gradients by one factor so that their joint Euclidean norm is at most limit
// (Pascanu et al. 2013). It returns the scaled gradients and the norm before scaling.
func ClipByGlobalNorm(grads []*graph.Node, limit float64) ([]*graph.Node, *graph.Node) {
	var square *graph.Node
	for _, grad := range grads {
		s := graph.ReduceAllSum(graph.Square(grad))
		if square == nil {
			square = s
		} else {
			square = graph.Add(square, s)
		}
	}
	norm := graph.Sqrt(square)
	scale := graph.MinScalar(graph.Div(graph.Scalar(norm.Graph(), norm.DType(), limit), graph.AddScalar(norm, 1e-12)), 1)
	out := make([]*graph.Node, len(grads))
	for i, grad := range grads {
		out[i] = graph.Mul(grad, scale)
	}
	return out, norm
}

// EMA returns decay·average + (1−decay)·value.
func EMA(average, value, decay *graph.Node) *graph.Node {
	return graph.Add(value, graph.Mul(decay, graph.Sub(average, value)))
}

// Sinusoids returns the time embedding of Ho et al. (2020), [batch, dim], of t [batch] in [0,1]: sines and cosines of
// 1000·t at dim/2 frequencies that fall geometrically from 1 to 1e-4.
func Sinusoids(t *graph.Node, dim int) *graph.Node {
	half := dim / 2
	g, dtype := t.Graph(), t.DType()
	index := graph.Iota(g, shapes.Make(dtype, 1, half), 1)
	frequency := graph.Exp(graph.MulScalar(index, -9.210340371976184/float64(max(half-1, 1))))
	phase := graph.Mul(graph.MulScalar(graph.InsertAxes(t, -1), 1000), frequency)
	return graph.Concatenate([]*graph.Node{graph.Sin(phase), graph.Cos(phase)}, -1)
}

package op

import "github.com/gomlx/gomlx/core/graph"

// AdamW returns the updated parameter and moments of one decoupled-weight-decay Adam step (Loshchilov & Hutter 2019) on
// the gradient times scale:
//
//	m ← β₁·m + (1−β₁)·g,   v ← β₂·v + (1−β₂)·g²,   p ← p − rate·(fix1·m/(√(fix2·v) + ε) + decay·p),   g = scale·grad
//
// Rate is the learning rate and fix1, fix2 are the bias corrections 1/(1−β₁ᵏ), 1/(1−β₂ᵏ) of step k: scalars that the
// caller computes on the host, so that the schedule is not part of the compiled graph. The scale, a scalar too, clips
// the gradient. If it is not positive, which includes NaN, the step is void: p, m and v stay as they are, whatever the
// gradient is.
func AdamW(p, grad, m, v, rate, fix1, fix2, scale *graph.Node, beta1, beta2, epsilon, decay float64) (p1, m1, v1 *graph.Node) {
	out := function{
		name: name("adamw", "p", beta1, "q", beta2, "e", epsilon, "w", decay),
		body: func(in []*graph.Node) []*graph.Node {
			p, grad, m, v, rate, fix1, fix2, scale := in[0], in[1], in[2], in[3], in[4], in[5], in[6], in[7]
			times := func(x *graph.Node, c float64) *graph.Node { return graph.Mul(x, number(x, c)) }
			g := graph.Mul(grad, scale)
			m1 := graph.Add(times(m, beta1), times(g, 1-beta1))
			v1 := graph.Add(times(v, beta2), times(graph.Mul(g, g), 1-beta2))
			step := graph.Div(graph.Mul(m1, fix1), graph.Add(graph.Sqrt(graph.Mul(v1, fix2)), number(p, epsilon)))
			if decay > 0 {
				step = graph.Add(step, times(p, decay))
			}
			p1 := graph.Sub(p, graph.Mul(step, rate))
			taken := graph.GreaterThan(scale, number(scale, 0))
			return []*graph.Node{graph.Where(taken, p1, p), graph.Where(taken, m1, m), graph.Where(taken, v1, v)}
		},
	}.call(p, grad, m, v, rate, fix1, fix2, scale)
	return out[0], out[1], out[2]
}

// GlobalNorm returns the joint Euclidean norm of all gradients, by which they are clipped (Pascanu et al. 2013).
func GlobalNorm(grads []*graph.Node) *graph.Node {
	return graph.Sqrt(function{
		name: "sum_squares",
		body: func(in []*graph.Node) []*graph.Node {
			total := graph.ReduceAllSum(graph.Mul(in[0], in[0]))
			for _, x := range in[1:] {
				total = graph.Add(total, graph.ReduceAllSum(graph.Mul(x, x)))
			}
			return []*graph.Node{total}
		},
	}.call(grads...)[0])
}

// EMA returns decay·average + (1−decay)·value.
func EMA(average, value, decay *graph.Node) *graph.Node {
	return function{
		name: "ema",
		body: func(in []*graph.Node) []*graph.Node {
			average, value, decay := in[0], in[1], in[2]
			return []*graph.Node{graph.Add(value, graph.Mul(decay, graph.Sub(average, value)))}
		},
	}.call(average, value, decay)[0]
}

package op

import "github.com/gomlx/gomlx/core/graph"

// SiLU returns x·σ(x), elementwise (Elfwing et al. 2018; "swish").
func SiLU(x *graph.Node) *graph.Node { return elementwise("silu", silu, siluSlope, x) }

// elementwise is f of x, with the derivative slope.
func elementwise(op string, f, slope func(x *graph.Node) *graph.Node, x *graph.Node) *graph.Node {
	return function{
		name: op,
		body: func(in []*graph.Node) []*graph.Node { return []*graph.Node{f(in[0])} },
		gradient: func(in []*graph.Node, _, dy *graph.Node) []*graph.Node {
			return function{
				name: op + "_grad",
				body: func(in []*graph.Node) []*graph.Node { return []*graph.Node{graph.Mul(in[0], slope(in[1]))} },
			}.call(dy, in[0])
		},
	}.call(x)[0]
}

func silu(x *graph.Node) *graph.Node { return graph.Mul(x, graph.Logistic(x)) }

// siluSlope returns the derivative σ(x) + x·σ(x)·σ(−x).
func siluSlope(x *graph.Node) *graph.Node {
	σ := graph.Logistic(x)
	return graph.Add(σ, graph.Mul(graph.Mul(x, σ), graph.Logistic(graph.Neg(x))))
}

// Softmax returns exp(x)/Σ exp(x), the sum being over the last axis.
func Softmax(x *graph.Node) *graph.Node {
	return function{
		name: "softmax",
		body: func(in []*graph.Node) []*graph.Node { return []*graph.Node{softmax(in[0])} },
		gradient: func(_ []*graph.Node, y, dy *graph.Node) []*graph.Node {
			return function{
				name: "softmax_grad",
				body: func(in []*graph.Node) []*graph.Node { return []*graph.Node{softmaxGradient(in[0], in[1])} },
			}.call(dy, y)
		},
	}.call(x)[0]
}

func softmax(x *graph.Node) *graph.Node {
	e := graph.Exp(graph.Sub(x, graph.ReduceAndKeep(x, graph.ReduceMax, -1)))
	return graph.Div(e, sum(e, -1))
}

// softmaxGradient returns y·(dy − Σ y·dy) for y = softmax(x).
func softmaxGradient(dy, y *graph.Node) *graph.Node {
	return graph.Mul(y, graph.Sub(dy, sum(graph.Mul(y, dy), -1)))
}

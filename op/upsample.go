package op

import "github.com/gomlx/gomlx/core/graph"

// Upsample repeats every pixel of x [batch, height, width, channels] factor times in both directions (nearest
// neighbour): [batch, factor·height, factor·width, channels].
func Upsample(x *graph.Node, factor int) *graph.Node {
	d := x.Shape().Dimensions
	return function{
		name: name("upsample", "f", factor),
		body: func(in []*graph.Node) []*graph.Node {
			split := graph.Reshape(in[0], d[0], d[1], 1, d[2], 1, d[3])
			return []*graph.Node{graph.Reshape(graph.BroadcastToDims(split, d[0], d[1], factor, d[2], factor, d[3]),
				d[0], d[1]*factor, d[2]*factor, d[3])}
		},
		gradient: func(_ []*graph.Node, _, dy *graph.Node) []*graph.Node {
			return function{
				name: name("upsample_grad", "f", factor),
				body: func(in []*graph.Node) []*graph.Node {
					return []*graph.Node{graph.ReduceSum(graph.Reshape(in[0], d[0], d[1], factor, d[2], factor, d[3]), 2, 4)}
				},
			}.call(dy)
		},
	}.call(x)[0]
}

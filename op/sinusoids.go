package op

import (
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"
)

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

package sd

import (
	"math"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/op"
)

// timeEmbedding returns the embedding [batch, 4·widths[0]] of timesteps t [batch], whole numbers from 0 to 999: a perceptron of their sinusoidal
// features, with SiLU behind it, as all residual blocks take it.
func (b backbone) timeEmbedding(m Modules, t *graph.Node) *graph.Node {
	h := op.SiLU(m.linear("time_embedding.linear_1", b.timeFeatures(t, b.widths[0])))
	return op.SiLU(m.linear("time_embedding.linear_2", h))
}

// timeFeatures returns cosines and sines [batch, width] of t·10000^(−i/(half−freqShift)), i from 0 to half−1, half = width/2.
func (b backbone) timeFeatures(t *graph.Node, width int) *graph.Node {
	half := width / 2
	frequencies := make([]float32, half)
	for i := range frequencies {
		frequencies[i] = float32(math.Exp(-math.Log(10000) * float64(i) / (float64(half) - b.freqShift)))
	}
	g := t.Graph()
	phase := graph.Mul(graph.InsertAxes(graph.ConvertDType(t, dtypes.Float32), 1), graph.InsertAxes(graph.Const(g, frequencies), 0))
	waves := []*graph.Node{graph.Sin(phase), graph.Cos(phase)}
	if b.cosineFirst {
		waves[0], waves[1] = waves[1], waves[0]
	}
	return graph.Concatenate(waves, -1)
}
